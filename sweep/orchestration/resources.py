"""How much of a machine a trial gets."""

from __future__ import annotations

from collections.abc import Collection

from sweep.errors import UserError
from sweep.ledger import Share
from sweep.spec.schema import Resources


class NoRoomError(UserError, ValueError):
    """A trial asks for more than the machine or cluster has; it would wait for ever."""


def share(resources: Resources, *, cpus: float, gpus: float) -> Share:
    """Return what a trial gets on a machine or cluster with so many CPU cores and GPUs.

    Raises:
        NoRoomError: the space asks for more than there is.
    """
    wanted = (1.0 if gpus else 0.0) if resources.gpus == "auto" else resources.gpus
    if resources.cpus > cpus:
        raise NoRoomError(
            f"resources.cpus = {resources.cpus}: there are {cpus:g} CPU cores; "
            f"run with resources.cpus={int(cpus)} or fewer"
        )
    if wanted > gpus:
        raise NoRoomError(
            f"resources.gpus = {wanted:g}: there are {gpus:g} GPUs; "
            "run with resources.gpus=auto to use what there is"
        )
    return Share(resources.cpus, wanted)


def slots(given: Share, packed: Collection[float] = (), *, cpus: float, gpus: float) -> int:
    """Return how many trials with such a share fit on a machine or cluster at once.

    Args:
        given: what a trial gets.
        packed: the parts of a GPU that trials need instead, where they were measured; the least
            counts.
        cpus: CPU cores that there are.
        gpus: GPUs that there are.
    """
    part = min(packed, default=given.gpus)
    by_gpu = int(gpus / part) if part else None
    by_cpu = int(cpus / given.cpus)
    return max(1, by_cpu if by_gpu is None else min(by_cpu, by_gpu))
