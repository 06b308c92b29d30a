"""Where MLflow keeps the runs, and how it is opened."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sweep.errors import UserError, first_line
from sweep.lock import Lock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList


Entity = TypeVar("Entity")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported

PAGE = 1000
"""Runs or experiments that MLflow returns at once."""
GIVE_UP_SOON = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""What a server does not take now is kept and sent later; MLflow would insist for minutes."""

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""A line for every run, or a bar for every file, would go into the display."""

CREATION_SECONDS = 60.0
"""How long another process may take to make the tables of an sqlite store."""


def tracking_uri(folder: Path, uri: str | None = None) -> str:
    """Return the MLflow store of a working folder.

    In this order: ``uri`` (the search space's), $MLFLOW_TRACKING_URI, sqlite in the folder.
    """
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or own_store(folder)


def without_password(text: str) -> str:
    """Return a store's address, or a text that may quote one, without user names and passwords."""
    return re.sub(r"://[^/?#\s]*@", "://", text)


def own_store(folder: Path) -> str:
    """Return the sqlite store that a working folder has to itself."""
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


def artifact_root(folder: Path) -> Path:
    """Return where the sqlite store of a working folder keeps artifacts."""
    return folder.absolute() / "mlartifacts"


def check_artifacts(client: MlflowClient, uri: str, run_id: str) -> None:
    """Refuse to write artifacts to an sqlite store that was copied or moved with its folder.

    The database names in full where they lie, and that is still the place it was copied from.

    Raises:
        FileNotFoundError: the run's artifacts lie beside the store, and it looks elsewhere.
    """
    if not uri.startswith("sqlite:///"):
        return
    location = urlsplit(str(client.get_run(run_id).info.artifact_uri))
    place = Path(url2pathname(location.path))  # .../mlartifacts/STUDY/RUN/artifacts
    beside = artifact_root(_database(uri).parent).joinpath(*place.parts[-3:])
    if location.scheme == "file" and beside.exists() and beside.resolve() != place.resolve():
        raise FileNotFoundError(
            f"the store was copied or moved; its artifacts are still at {place}"
        )


def open_client(uri: str) -> MlflowClient:
    """Return a client; creates or migrates an sqlite store, without MLflow's own output.

    One process at a time: two that made the tables of one database would get in each other's way.

    Raises:
        TimeoutError: another process is at it for too long.
    """
    for name, value in (GIVE_UP_SOON | QUIET).items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # importing mlflow sets its own levels
        logging.getLogger(name).setLevel(logging.ERROR)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    database = _database(uri)
    lock = Lock(database.with_name(f"{database.name}.lock"))
    if not lock.wait(CREATION_SECONDS):
        raise TimeoutError(f"{database} is opened by another command: {lock.holder()}")
    try:
        return MlflowClient(tracking_uri=uri)
    finally:
        lock.release()


def _database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def experiment_id(client: MlflowClient, study: str, folder: Path, uri: str) -> str:
    """Return the experiment of a sweep, created if it is new."""
    experiment = client.get_experiment_by_name(study)
    if experiment is not None:
        return str(experiment.experiment_id)
    local = uri.startswith("sqlite:///")
    location = (artifact_root(folder) / study).as_uri() if local else None
    return str(client.create_experiment(study, artifact_location=location))


def find_runs(client: MlflowClient, query: str) -> Iterator[Run]:
    """Yield all runs of all experiments that a query finds."""
    experiments = [
        experiment.experiment_id
        for experiment in _pages(
            lambda t: client.search_experiments(max_results=PAGE, page_token=t)
        )
    ]
    yield from _pages(
        lambda t: client.search_runs(experiments, query, max_results=PAGE, page_token=t)
    )


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn what a store answers with while the context is open into one clear message.

    Raises:
        UserError: it does not take or give what is asked for.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        reason = without_password(first_line(error))
        if "error code 401" in reason:  # MLflow has no class of its own for it
            raise UserError(
                f"{without_password(uri)} does not accept the user name and password (401): set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of the server"
            ) from None
        asked, unreached, _ = reason.partition(" failed with exception")
        if unreached:  # behind it is the library's account of how often it tried
            reason = f"{asked} reached nothing; look whether the server runs"
        raise UserError(f"{without_password(uri)} does not answer: {reason}") from None


@contextmanager
def fetching(run_id: str) -> Iterator[None]:
    """Turn whatever keeps a run's artifacts from being fetched into one clear message.

    They may lie anywhere (S3, WebDAV, ...), and what reaches them fails in its own way: a library
    that is not installed, credentials that are missing, a name that is not known. The store's
    password is not in the message: reports show it.

    Raises:
        UserError: they cannot be fetched.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {without_password(first_line(error))}"
        raise UserError(f"artifacts of run {run_id} cannot be fetched: {reason}") from None


def _pages(search: Callable[[str | None], PagedList[Entity]]) -> Iterator[Entity]:
    """Yield what a search finds, page after page; it is given the token of each page."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page
