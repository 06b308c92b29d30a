"""The whole examination: of this machine, or of a cluster that it belongs to or can reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.doctor.cluster import cluster_findings, outside_findings, remote_findings
from sweep.doctor.finding import Finding, merged, problem
from sweep.doctor.site import Site, examine

if TYPE_CHECKING:
    from sweep.orchestration.cluster import ClusterError
    from sweep.spec.schema import Space

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
    if address is not None and address.startswith(("http://", "https://")):
        yield from _from_outside(_submitted(spec, overrides), address)
        return
    from sweep.tracking.store import tracking_uri

    space = None
    if spec is not None:
        from sweep.spec.load import load_space

        space = load_space(spec, overrides)
    site = Site(folder, tracking_uri(folder, space.tracking.uri if space else None), space)
    with ExitStack() as stack:
        if address is not None:
            from sweep.orchestration.cluster import ClusterError
            from sweep.orchestration.connect import connected

            try:
                site.cluster = stack.enter_context(connected(address))
            except ClusterError as error:
                yield _unconnected(error)
                return
            yield from _named(cluster_findings(site.cluster))
        yield from examine(site)


def _from_outside(space: Space | None, address: str) -> Iterator[Finding]:
    """Yield what is found from here, and then what the doctor finds on the cluster."""
    from sweep.orchestration.cluster import Cluster, ClusterError

    try:
        cluster = Cluster(address)
        yield from _named(outside_findings(cluster))
    except ClusterError as error:
        yield _unconnected(error)
        return
    for finding in remote_findings(cluster, space):
        yield finding if finding.check else replace(finding, check=RAY)


def _submitted(spec: Path | None, overrides: tuple[str, ...]) -> Space | None:
    """Return a search space that can be submitted.

    Raises:
        SpecError: it is wrong, or reaches further than one that is submitted may.
    """
    if spec is None:
        return None
    from sweep.spec.confined import check_confined
    from sweep.spec.document import read_document
    from sweep.spec.load import check_space

    document = read_document(spec, overrides)
    check_confined(document)
    return check_space(document)


def _unconnected(error: ClusterError) -> Finding:
    return replace(problem(error.text, error.remedy), check=RAY)


def _named(findings: Iterator[Finding]) -> Iterator[Finding]:
    for finding in merged(findings):
        yield replace(finding, check=RAY)
