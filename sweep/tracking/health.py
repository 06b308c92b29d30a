"""Whether an MLflow store can be used: told in one sentence, with what to do.

A server is asked to take a run and an artifact, and to give them back. MLflow deletes runs softly,
and each would stay until `mlflow gc`: each account has one experiment with one run for it, whose
tag is written anew each time, and whose artifact is deleted. A store that is a database alone is
not written to.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweep.errors import UserError, first_line
from sweep.tracking.reading import check_store
from sweep.tracking.store import open_client, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 5.0
"""That a server may take for one answer."""
EXPERIMENT, RUN, ARTIFACT = "sweep-doctor", "round trip", "probe.txt"
DESCRIPTION = "`sweep doctor` writes here, and reads it back. Nothing of it is a result."
LOCKED_SECONDS = 3.0

WHERE = "see that it runs, and that MLFLOW_TRACKING_URI (or the space's tracking.uri) names it"
WHO = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of the server"
RIGHTS = "ask the server's administrator for the permission EDIT, or for another account"
LOG = "look at the log of the MLflow server"
ARTIFACTS = (
    "look at the log of the MLflow server: its --artifacts-destination, the bucket, "
    "the keys, and --serve-artifacts"
)


class UnfitStoreError(UserError):
    """A store that cannot be used; with what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True)
class Server:
    """What an MLflow server says of itself."""

    version: str
    ahead: float | None
    """Seconds that its clock is ahead of ours at least; None if it does not tell the time."""


def is_server(uri: str) -> bool:
    """Tell whether a store is reached through an MLflow server."""
    return uri.startswith(("http://", "https://"))


def database_file(uri: str) -> Path | None:
    """Return the file of an sqlite store; None of any other."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def greet(uri: str) -> Server:
    """Ask an MLflow server for its version and for the time.

    Raises:
        UnfitStoreError: it does not answer, or does not let us in, or is no MLflow server.
    """
    import mlflow.utils.rest_utils  # noqa: F401  # takes seconds, which are not the server's

    shown = without_password(uri)
    _reach(uri)
    before = time.time()
    response = _get(uri, "/version")
    after = time.time()
    status = int(response.status_code)
    if status in (401, 403):
        raise _refused(shown, status)
    if status >= 500:
        raise UnfitStoreError(f"{shown} answers with error {status}", LOG)
    version = str(response.text).strip()
    if status != 200 or not version[:1].isdigit():
        raise UnfitStoreError(f"{shown} answers, but not as an MLflow server does", WHERE)
    return Server(version, _ahead(response.headers.get("Date"), before, after))


def round_trip(uri: str) -> None:
    """Write to a run and read it back; upload an artifact, download and delete it.

    Raises:
        UnfitStoreError: one of it does not work.
    """
    shown, word = without_password(uri), f"{time.time():.3f}"
    client = open_client(uri)
    with _explained(shown, "does not take a run", LOG):
        run_id = _probe_run(client)
        client.set_tag(run_id, "checked", word)
        back = client.get_run(run_id).data.tags.get("checked")
    if back != word:
        raise UnfitStoreError(f"{shown} does not give back what was written", LOG)
    with _explained(shown, "does not take an artifact", ARTIFACTS), TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT
        path.write_text(word, encoding="utf-8")
        client.log_artifact(run_id, str(path))
        path.unlink()
        fetched = client.download_artifacts(run_id, ARTIFACT, folder)
        if Path(fetched).read_text(encoding="utf-8") != word:
            raise UnfitStoreError(f"{shown} does not give back the artifact it took", ARTIFACTS)
        _delete_artifact(client, run_id, uri)


def check_database(uri: str) -> None:
    """Look whether a store that is a database answers, can be written, and is of this version.

    Raises:
        UnfitStoreError: it is not.
    """
    shown = without_password(uri)
    try:
        check_store(uri)
    except UserError as error:
        remedy = "move the file away: the first run makes a new store; or name another by --dir"
        raise UnfitStoreError(str(error), remedy) from None
    path = database_file(uri)
    if path is not None:
        _check_writable(path)
    else:
        _connect(uri)
    with _explained(shown, "does not answer", "look at the log of the database", uri):
        open_client(uri).search_experiments(max_results=1)


def _probe_run(client: MlflowClient) -> str:
    """Return the run that is written to, made if there is none."""
    # Whoever makes an experiment owns it: others may not be allowed to write there.
    name = "-".join(filter(None, (EXPERIMENT, os.environ.get("MLFLOW_TRACKING_USERNAME"))))
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        tags = {"mlflow.note.content": DESCRIPTION}
        experiment_id = str(client.create_experiment(name, tags=tags))
    else:
        experiment_id = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
    found = client.search_runs([experiment_id], max_results=1)
    if found:
        return str(found[0].info.run_id)
    run_id = str(client.create_run(experiment_id, run_name=RUN).info.run_id)
    client.set_terminated(run_id)
    return run_id


def _delete_artifact(client: MlflowClient, run_id: str, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    artifacts = get_artifact_repository(client.get_run(run_id).info.artifact_uri, tracking_uri=uri)
    artifacts.delete_artifacts(ARTIFACT)  # type: ignore[no-untyped-call]


def _reach(uri: str) -> None:
    """Connect, and no more: what is wrong is clear then, where a client would only try again.

    Raises:
        UnfitStoreError: it cannot be reached.
    """
    parts = urlsplit(uri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except socket.gaierror:
        text = f"{without_password(uri)}: no machine is known as {host!r} here"
        raise UnfitStoreError(text, WHERE) from None
    except OSError as error:
        reason = "nobody listens there" if isinstance(error, ConnectionRefusedError) else str(error)
        raise UnfitStoreError(f"{without_password(uri)}: {reason}", WHERE) from None


def _get(uri: str, path: str) -> Any:
    """Ask a server with the credentials that MLflow uses.

    Raises:
        UnfitStoreError: it does not answer.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        return http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            path,
            "GET",
            max_retries=0,
            timeout=SECONDS,
            raise_on_status=False,
        )
    except (MlflowException, OSError) as error:
        text, shown = str(error), without_password(uri)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            raise UnfitStoreError(
                f"{shown}: its certificate is signed by nobody that is trusted here",
                "let MLFLOW_TRACKING_SERVER_CERT_PATH name the certificate of the lab's authority",
            ) from None
        if "WRONG_VERSION_NUMBER" in text or "SSLError" in text:
            raise UnfitStoreError(
                f"{shown} does not speak TLS", "write http:// instead, or another port"
            ) from None
        if "timed out" in text.lower():
            raise UnfitStoreError(f"{shown} does not answer within {SECONDS:g} s", LOG) from None
        reason = without_password(first_line(error))
        raise UnfitStoreError(f"{shown} does not answer: {reason}", WHERE) from None


def _ahead(date: str | None, before: float, after: float) -> float | None:
    """Return how far a clock that shows whole seconds is ahead at least; behind is negative."""
    try:
        moment = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    return max(0.0, moment - after) - max(0.0, before - moment - 1)


def _refused(shown: str, status: int) -> UnfitStoreError:
    if status == 403:
        return UnfitStoreError(f"{shown} does not allow this account to (403)", RIGHTS)
    if os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return UnfitStoreError(f"{shown} does not accept the user name and password (401)", WHO)
    return UnfitStoreError(f"{shown} asks for a user name and a password (401)", WHO)


@contextmanager
def _explained(shown: str, what: str, remedy: str, uri: str = "") -> Iterator[None]:
    """Turn whatever a store answers with into one sentence, and what to do.

    Raises:
        UnfitStoreError: it does.
    """
    try:
        yield
    except UnfitStoreError:
        raise
    except Exception as error:  # of MLflow, requests, SQLAlchemy, or what keeps artifacts
        text = str(error)
        for status in (401, 403):
            if f"error code {status}" in text or "PERMISSION_DENIED" in text:
                raise _refused(shown, 403 if "PERMISSION_DENIED" in text else status) from None
        if "out-of-date database schema" in text:
            raise UnfitStoreError(
                f"{shown} was made by another version of MLflow",
                f"back it up, then run `mlflow db upgrade {without_password(uri) or 'URI'}`",
            ) from None
        reason = f"{type(error).__name__}: {without_password(first_line(error))}"
        raise UnfitStoreError(f"{shown} {what}: {reason}", remedy) from None


def _check_writable(path: Path) -> None:
    """Take the lock that every write of sqlite takes, and let go of it.

    Raises:
        UnfitStoreError: it cannot be taken.
    """
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.DatabaseError as error:
        remedy = "let the user who runs this write it and its folder; end what keeps it locked"
        raise UnfitStoreError(f"{path} cannot be written: {error}", remedy) from None


def _connect(uri: str) -> None:
    """Connect to a database once: MLflow would try for minutes.

    Raises:
        UnfitStoreError: it does not answer.
    """
    import sqlalchemy

    shown = without_password(uri)
    try:
        engine = sqlalchemy.create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        raise UnfitStoreError(
            f"{shown}: there is no driver {error.name!r} here",
            "write postgresql+pg8000://, and install sweep[server]",
        ) from None
    except Exception as error:  # each driver has errors of its own
        reason = without_password(first_line(error))
        raise UnfitStoreError(f"{shown} does not answer: {reason}", WHERE) from None
