"""Whether clocks agree: a trial counts as given up when its last heartbeat is old."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.site import Site, check
from sweep.tracking.handover import STALE_SECONDS
from sweep.tracking.health import UnfitStoreError, greet, is_server

MOST_SECONDS = STALE_SECONDS / 2
"""More than that, and a trial that is in training looks as if it was given up."""
WORTH_SAYING = STALE_SECONDS / 10
"""Seconds; what ran when, in two logs, is not clear any more."""
REMEDY = "let NTP set it: `timedatectl set-ntp true`, or chrony"


def now() -> float:
    """Return what the clock here says."""
    return time.time()


def outside(moment: float, before: float, after: float) -> float:
    """Return by how many seconds a clock is ahead (or behind, negative) at least.

    Args:
        moment: what it said.
        before: what ours said when it was asked.
        after: what ours said when the answer was here.
    """
    return max(0.0, moment - after) - max(0.0, before - moment)


def judge(ahead: float, whose: str, node: str = "") -> Finding | None:
    """Return what is to be said of a clock that is so many seconds ahead of ours."""
    if abs(ahead) <= WORTH_SAYING:
        return None
    where = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the one here"
    text = f"{whose} clock is {where}"
    if abs(ahead) > MOST_SECONDS:
        return problem(f"{text}: trials would count as given up in training", REMEDY, node)
    return warning(text, REMEDY, node)


@check("clock", seconds=0.3)
def look(site: Site) -> Iterator[Finding]:
    """Compare the clocks of nodes and of the MLflow server with the one here."""
    compared = []
    if site.cluster is not None:
        site.ask(now)  # a process starts for it; the next answer comes at once
        before = now()
        told = site.ask(now)
        after = now()
        for one in told:
            if said := judge(outside(one.value, before, after), "its", one.node):
                yield said
        compared.append(f"{len(told)} node{'s' * (len(told) != 1)}")
    if is_server(site.uri):
        try:
            ahead = greet(site.uri).ahead
        except UnfitStoreError:
            ahead = None  # the check of MLflow says so
        if ahead is not None:
            if said := judge(ahead, "the MLflow server's"):
                yield said
            compared.append("the MLflow server")
    if compared:
        yield ok(f"compared with {' and '.join(compared)}")
