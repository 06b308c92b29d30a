"""Whether a node has room for a trial of the search space."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sweep.doctor.finding import Finding, ok, problem
from sweep.doctor.site import Site, check
from sweep.orchestration.resources import NoRoomError, share, slots


@check("resources", seconds=0.2)
def look(site: Site) -> Iterator[Finding]:
    """Compare what a trial asks for with what each node has; a trial runs on one node."""
    if site.space is None:
        return
    rooms = [(node.cpus, node.gpus) for node in site.nodes] or [_here()]
    wanted = site.space.resources
    cpus, gpus = max(room[0] for room in rooms), max(room[1] for room in rooms)
    try:
        given = share(wanted, cpus=cpus, gpus=gpus)
    except NoRoomError as error:
        most = f" (the most of any of {len(rooms)} nodes)" if site.cluster else ""
        text, _, remedy = str(error).partition("; ")
        yield problem(f"{text}{most}", remedy)
        return
    fit = [room for room in rooms if room[0] >= given.cpus and room[1] >= given.gpus]
    asks = f"a trial asks for {given.cpus} CPU core{'s' * (given.cpus > 1)}"
    asks += f" and {given.gpus:g} GPU" if given.gpus else " and no GPU"
    if not fit:
        remedy = f"ask for less by resources.cpus, or start a node with {given.gpus:g} GPU"
        yield problem(f"{asks}; no node has both", f"{remedy} and {given.cpus} cores")
        return
    room = sum(slots(given, cpus=c, gpus=g) for c, g in fit)
    at_once = min(room, wanted.max_concurrent or room)
    where = f" on {len(fit)} of {len(rooms)} nodes" if site.cluster else ""
    yield ok(f"{asks}: {at_once} at once{where}")


def _here() -> tuple[float, float]:
    import torch

    return float(os.cpu_count() or 1), float(torch.cuda.device_count())
