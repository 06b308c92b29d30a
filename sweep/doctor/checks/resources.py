"""Whether a node has room for a trial of the search space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweep.doctor.finding import Finding, ok, problem
from sweep.doctor.site import Site, check
from sweep.orchestration.machine import this_machine
from sweep.orchestration.resources import NoRoomError, Room, share, slots


@check("resources", seconds=0.2)
def look(site: Site) -> Iterator[Finding]:
    """Compare what a trial asks for with what each node has; a trial runs on one node."""
    if site.space is None:
        return
    rooms: Sequence[Room] = site.nodes or [this_machine()]
    wanted = site.space.resources
    try:
        given = share(wanted, rooms)
    except NoRoomError as error:
        text, _, remedy = str(error).partition("; ")
        yield problem(text, remedy or "ask for less, or start a larger node")
        return
    room = slots(given, (), rooms)
    at_once = min(room, wanted.max_concurrent or room)
    asks = f"a trial asks for {given.cpus} CPU core{'s' * (given.cpus > 1)}"
    asks += f" and {given.gpus:g} GPU" if given.gpus else " and no GPU"
    yield ok(f"{asks}: {at_once} at once")
