"""Ray where there is no cluster: whether one starts here, as `sweep run` starts one.

It takes seconds, and comes last. That it really starts says more than any look at what it needs:
ports, shared memory, the length of its folder's name, a machine's name that can be looked up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import metadata

from sweep.doctor.finding import Finding, ok, problem
from sweep.doctor.site import Site, check
from sweep.orchestration.packed import code_digest

ANSWER_SECONDS = 30.0


@check("Ray", seconds=7.0)
def look(site: Site) -> Iterator[Finding]:
    """Start a Ray of this machine's own, and let it run a function."""
    if site.cluster is not None:
        return  # `sweep.doctor.cluster` says what is to be said of it
    from sweep.orchestration.cluster import ClusterError
    from sweep.orchestration.connect import connected
    from sweep.orchestration.nodes import ask_nodes

    began = time.monotonic()
    try:
        with connected(None) as own:
            (answer,) = ask_nodes(own.alive, code_digest, seconds=ANSWER_SECONDS)
    except ClusterError as error:
        yield problem(error.text, error.remedy)
        return
    if answer.problem:
        yield problem(
            f"Ray starts here, but its workers do not: {answer.problem}",
            "see the log in /tmp/ray/session_latest/logs",
        )
        return
    seconds = time.monotonic() - began
    (node,) = own.alive
    gpus = f" and {node.gpus:g} GPU{'s' * (node.gpus != 1)}" if node.gpus else ""
    yield ok(
        f"Ray {metadata.version('ray')} starts here, with {node.cpus:g} CPU cores{gpus}, and ran "
        f"a function: {seconds:.1f} s"
    )
