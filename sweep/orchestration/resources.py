"""How much of a machine, or of the nodes of a cluster, a trial gets."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Protocol

from sweep.errors import UserError
from sweep.ledger import Share
from sweep.plan import Plan
from sweep.spec.schema import Resources, Space

ROUNDING = 1e-9
"""Of one over a part of a GPU: a third must count as three."""


class Room(Protocol):
    """What one machine has; a trial runs on one, and never on parts of two."""

    @property
    def cpus(self) -> float:
        """CPU cores."""

    @property
    def gpus(self) -> float:
        """GPUs."""


class NoRoomError(UserError, ValueError):
    """A trial asks for more than any machine has; it would wait for ever."""


def share(resources: Resources, rooms: Sequence[Room]) -> Share:
    """Return what a trial gets.

    Args:
        resources: what the search space asks for.
        rooms: the machines that there are, at least one.

    Raises:
        NoRoomError: the space asks for more than any of them has.
    """
    cpus, gpus = (max(getattr(room, kind) for room in rooms) for kind in ("cpus", "gpus"))
    wanted = (1.0 if gpus else 0.0) if resources.gpus == "auto" else resources.gpus
    if resources.cpus > cpus:
        raise NoRoomError(
            f"resources.cpus = {resources.cpus}: {_there_are(cpus, 'CPU cores', rooms)}; "
            f"run with resources.cpus={int(cpus)} or fewer"
        )
    if wanted > gpus:
        raise NoRoomError(
            f"resources.gpus = {wanted:g}: {_there_are(gpus, 'GPUs', rooms)}; "
            "run with resources.gpus=auto to use what there is"
        )
    given = Share(resources.cpus, wanted)
    if not any(fits(given, room) for room in rooms):
        beside = max(room.cpus for room in rooms if room.gpus >= wanted)
        raise NoRoomError(
            f"resources.cpus = {resources.cpus}: no node with a GPU has more than {beside:g} CPU "
            f"cores; run with resources.cpus={int(beside)} or fewer, or with resources.gpus=0"
        )
    return given


def slots(given: Share, packed: Collection[float], rooms: Sequence[Room]) -> int:
    """Return how many trials with such a share fit at once.

    Args:
        given: what a trial gets.
        packed: the parts of a GPU that trials need instead, where they were measured; the least
            counts.
        rooms: the machines that there are.
    """
    part = min(packed, default=given.gpus)
    fitting = (min(int(room.cpus / given.cpus), _on_gpus(part, room)) for room in rooms)
    return max(1, int(sum(fitting)))


def _on_gpus(part: float, room: Room) -> float:
    """Return how many trials the GPUs of a machine hold; Ray splits no part over two of them."""
    if not part:
        return math.inf
    if part >= 1:
        return int(room.gpus / part)
    return int(room.gpus) * int(1 / part + ROUNDING)


def allotment(resources: Resources, given: Share, rooms: Sequence[Room]) -> str:
    """Return what was decided for the trials of a sweep on a cluster, in words."""
    nodes = f"{len(rooms)} node{'s' * (len(rooms) != 1)}"
    if resources.gpus == "auto" and not given.gpus:
        return (
            f"on {nodes}, none of them with a GPU now: {given.text} a trial; GPUs that come later "
            "are not used by this run"
        )
    return f"on {nodes}: {given.text} a trial"


def fits(given: Share, room: Room) -> bool:
    """Tell whether a machine has what a trial gets."""
    return given.cpus <= room.cpus and given.gpus <= room.gpus


def _there_are(count: float, what: str, rooms: Sequence[Room]) -> str:
    if len(rooms) == 1:
        return f"there are {count:g} {what}"
    return f"no node of the cluster has more than {count:g} {what}"


def checkpoint_room(
    space: Space, plan: Plan, packed: Collection[float], rooms: Sequence[Room]
) -> tuple[int, int]:
    """Return the most bytes that checkpoints take at once, and how many trials run at once.

    Args:
        space: that was planned.
        plan: its plan.
        packed: as for ``slots``.
        rooms: the machines that there are.
    """
    from sweep.training.footprint import disk_estimate

    try:
        room = slots(share(space.resources, rooms), packed, rooms)
    except NoRoomError:
        room = 1  # it is to run on another machine
    at_once = min(room, space.resources.max_concurrent or room)
    trials = (planned.trial for planned in plan.runnable)
    return disk_estimate(trials, at_once, space.general.keep_checkpoints), at_once
