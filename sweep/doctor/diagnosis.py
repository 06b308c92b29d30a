"""The whole examination: of this machine, or of a cluster that it belongs to or can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sweep.doctor.cluster import cluster_findings, outside_findings
from sweep.doctor.finding import Finding, merged, problem
from sweep.doctor.site import Site, examine

RAY = "Ray"
"""What the findings on a cluster as a whole are printed under."""


def diagnose(
    spec: Path | None, overrides: tuple[str, ...], folder: Path, address: str | None
) -> Iterator[Finding]:
    """Yield what is found, as soon as it is.

    Args:
        spec: a search space to look for what it needs; or None.
        overrides: of its fields.
        folder: the working folder.
        address: of a Ray cluster; None is this machine alone.

    Raises:
        SpecError: the search space is wrong.
        UserError: the address is none.
    """
    from sweep.tracking.store import tracking_uri

    space, uri = None, None
    if spec is not None:
        from sweep.spec.load import load_space

        space = load_space(spec, overrides)
        uri = space.tracking.uri
    if address is not None and address.startswith(("http://", "https://")):
        yield from _named(outside_findings(address))
        return
    site = Site(folder, tracking_uri(folder, uri), space)
    with ExitStack() as stack:
        if address is not None:
            from sweep.orchestration.connect import ConnectionFailedError, connected

            try:
                site.cluster = stack.enter_context(connected(address))
            except ConnectionFailedError as error:
                yield replace(problem(str(error), error.remedy), check=RAY)
                return
            yield from _named(cluster_findings(site.cluster))
        yield from examine(site)


def _named(findings: Iterator[Finding]) -> Iterator[Finding]:
    for finding in merged(findings):
        yield replace(finding, check=RAY)
