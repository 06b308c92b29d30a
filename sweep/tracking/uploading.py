"""The files of a report, put where MLflow's pages show them: at the parent run of the sweep."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sweep.errors import UserError, first_line
from sweep.tracking.store import check_artifacts, open_client, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

REPORT = PurePosixPath("report")
"""Folder among the artifacts of a parent run."""


class UploadError(UserError):
    """The store did not take the report, or not alone; its files are where they were written."""

    exit_code = 1


def upload_report(uri: str, parent_id: str, folder: Path, paths: Collection[Path]) -> None:
    """Put a report in the place of the one that a parent run has.

    What the earlier one had, and this one has not, goes last: there is a whole report throughout.

    Args:
        uri: of the MLflow store.
        parent_id: run id of the sweep's parent run.
        folder: that the report was written to.
        paths: its files, somewhere below ``folder``.

    Raises:
        UploadError: the store does not answer, cannot be written to, or keeps its artifacts where
            it was copied from; or it has the report, beside files of the one before.
    """
    shown = without_password(uri)
    files = {REPORT / path.relative_to(folder).as_posix(): path for path in paths}
    with _failing(f"the report is in {folder}, but MLflow did not take it ({shown})"):
        client = open_client(uri)
        check_artifacts(client, uri, parent_id)
        for place, path in files.items():
            client.log_artifact(parent_id, str(path), str(place.parent))
    with _failing(
        f"MLflow has the report ({shown}), but files of the one before could not be deleted"
    ):
        stale = [place for place in _files(client, parent_id, REPORT) if place not in files]
        _delete(client, uri, parent_id, stale)


@contextmanager
def _failing(problem: str) -> Iterator[None]:
    """Say what the problem is, whatever goes wrong: a store of artifacts may fail in any way."""
    try:
        yield
    except Exception as error:
        raise UploadError(f"{problem}: {without_password(first_line(error))}") from None


def _files(client: MlflowClient, run_id: str, folder: PurePosixPath) -> Iterator[PurePosixPath]:
    for found in client.list_artifacts(run_id, str(folder)):
        if found.is_dir:
            yield from _files(client, run_id, PurePosixPath(found.path))
        else:
            yield PurePosixPath(found.path)


def _delete(client: MlflowClient, uri: str, run_id: str, places: list[PurePosixPath]) -> None:
    """Delete artifacts, which the client has no request for."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    artifacts: Any = get_artifact_repository(client.get_run(run_id).info.artifact_uri, uri)
    for place in places:
        artifacts.delete_artifacts(str(place))
