"""MLflow: that the store answers, takes runs and artifacts, and is of a version that fits."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from sweep.doctor.checks.disk import existing
from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.mounts import mount_of
from sweep.doctor.site import Site, check
from sweep.tracking.health import (
    UnfitStoreError,
    check_database,
    database_file,
    greet,
    is_server,
    round_trip,
)
from sweep.tracking.store import without_password

NETWORK = ("nfs", "ceph", "lustre", "gpfs", "beegfs", "fuse.")


@check("MLflow", seconds=5.0)
def look(site: Site) -> Iterator[Finding]:
    """Look whether the store of the working folder, or of the search space, can be used."""
    try:
        yield from _server(site.uri) if is_server(site.uri) else _database(site)
    except UnfitStoreError as error:
        yield problem(str(error), error.remedy)


def _server(uri: str) -> Iterator[Finding]:
    server = greet(uri)
    ours = metadata.version("mlflow")
    if server.version.split(".")[:2] != ours.split(".")[:2]:
        yield warning(
            f"the server is MLflow {server.version}, here is {ours}",
            "run the same version on both sides: the image of deploy has the server's, too",
        )
    round_trip(uri)
    yield ok(
        f"{without_password(uri)} (MLflow {server.version}) takes a run and an artifact, and gives "
        "them back"
    )


def _database(site: Site) -> Iterator[Finding]:
    path = database_file(site.uri)
    if site.cluster is not None and path is not None:
        yield warning(
            "runs go to an sqlite file, which is for one machine",
            "let MLFLOW_TRACKING_URI name an MLflow server",
        )
    mount = mount_of(existing(path.absolute())) if path is not None else None
    if mount is not None and (mount.is_lossy or mount.kind.startswith(NETWORK)):
        yield warning(
            f"the sqlite file {path} lies on {mount.kind}, where two writers can damage it",
            "let MLFLOW_TRACKING_URI name an MLflow server",
        )
    if path is not None and not path.exists():
        yield ok(f"{path} is made by the first run")
        return
    check_database(site.uri)
    yield ok(f"{without_password(site.uri)} answers, and is of this version")
