"""From MLflow to plain data: a study, and its learning curves, as the store's database holds them.

All numbers of a report are in the database: it can be made where the working folder has moved, or
on another machine. Only a text that is shown beside them is an artifact, which may be missing.
Nothing is written here, and no store is created by looking for one.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweep.errors import UserError
from sweep.registry import nearest
from sweep.spec.schema import NAME
from sweep.tracking import names
from sweep.tracking.store import answering, fetching, find_runs, open_client, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


Curve = tuple[tuple[int, float], ...]
"""(epoch, value), in the order of the epochs; a value that is not finite is there as such."""


UNKNOWN = '{"count": 1, "items": []}'
"""Of a study that does not say what it refused: the list is not complete."""


@dataclass(frozen=True)
class RunRecord:
    """One run, as MLflow holds it; metrics are the latest values."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    """MLflow's: RUNNING, FINISHED, FAILED, ..."""
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """A combination of a study's grid that cannot exist."""

    label: str
    backbone: str
    reason: str


@dataclass(frozen=True)
class StudyRecord:
    """A study: its parent run, and the runs of the trials that its grid has now."""

    study: str
    parent: RunRecord
    trials: tuple[RunRecord, ...]
    refused: tuple[Refusal, ...]
    refused_complete: bool
    """False if the list was too long for the store, and its end is missing."""
    measurements: tuple[RunRecord, ...] = ()
    """Of what models cost, in the order they were made; those of other studies' models too."""
    limits: tuple[str, ...] = ()
    """What its source does not have of it, in sentences; a store has everything."""


def read_study(uri: str, study: str) -> StudyRecord:
    """Read a study.

    Args:
        uri: of the MLflow store.
        study: name of the sweep.

    Raises:
        UserError: there is no such store, it does not answer, or it has no such study; the message
            names the studies that it has.
    """
    check_store(uri)
    with answering(uri):
        client = open_client(uri)
        parents = _parents(client)
        if study not in parents:
            raise UserError(_unknown(study, sorted(parents), uri))
        trials = _runs(client, f"tags.`{names.per_sweep(names.MEMBER, study)}` = 'yes'")
        measured = f"tags.`{names.KIND}` = 'cost' AND attributes.status = 'FINISHED'"
        measurements = _runs(client, measured)
    return study_record(parents[study], trials, measurements)


def study_record(
    parent: RunRecord,
    trials: Iterable[RunRecord],
    measurements: Iterable[RunRecord] = (),
    limits: tuple[str, ...] = (),
) -> StudyRecord:
    """Return the study of a parent run and of the trials that its grid has now.

    Raises:
        UserError: its name is none that a sweep can have, such as a path: a report is written to
            the folder of that name.
    """
    study = parent.tags[names.STUDY]
    if not re.fullmatch(NAME, study):
        raise UserError(f"run {parent.run_id} is of a sweep {study!r}, which is no sweep's name")
    refused, complete = _refusals(parent.tags.get(names.REFUSED, UNKNOWN))
    return StudyRecord(
        study,
        parent,
        tuple(trials),
        refused,
        complete,
        tuple(measurements),
        limits,
    )


def read_text(uri: str, run_id: str, name: str) -> str | None:
    """Read a text that a run has as an artifact; None if it has none where the store looks for it.

    Raises:
        UserError: it cannot be fetched, or is no text.
    """
    with TemporaryDirectory() as folder, fetching(run_id):
        client = open_client(uri)
        if name not in [artifact.path for artifact in client.list_artifacts(run_id)]:
            return None
        path = client.download_artifacts(run_id, name, folder)
        return Path(path).read_text(encoding="utf-8")


def read_finished(uri: str) -> tuple[RunRecord, ...]:
    """Read the runs of all finished trials, of all studies; none if there is no such sqlite store.

    Raises:
        UserError: the store does not answer, or is none.
    """
    path = _sqlite_file(uri)
    if path is not None and not path.exists():
        return ()
    check_store(uri)
    query = f"tags.`{names.KIND}` = 'trial' AND attributes.status = 'FINISHED'"
    with answering(uri):
        return tuple(_runs(open_client(uri), query))


def read_curves(uri: str, run_ids: Iterable[str], key: str) -> Mapping[str, Curve]:
    """Read what a metric was after every epoch.

    A run that has logged an epoch more than once, as one that was cut off may have, has the value
    that was logged last; one without the metric has an empty curve.

    Args:
        uri: of the MLflow store.
        run_ids: of the runs.
        key: of the metric ("val_top1").

    Raises:
        UserError: there is no such store, or it does not answer.
    """
    check_store(uri)
    with answering(uri):
        client = open_client(uri)
        return {run_id: _curve(client, run_id, key) for run_id in run_ids}


def check_store(uri: str) -> None:
    """Refuse an sqlite store that is not there; opening it would create it.

    Raises:
        UserError: there is no file, or it is not a store.
    """
    path = _sqlite_file(uri)
    if path is None:
        return
    if not path.is_file():
        raise UserError(f"there is no MLflow store at {path}; `sweep run` makes one")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'")
            known = found.fetchone() is not None
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} cannot be read as an MLflow store: {error}") from None
    if not known:
        raise UserError(f"{path} is not an MLflow store: it has no table of experiments")


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _parents(client: MlflowClient) -> dict[str, RunRecord]:
    """Return the parent run of every study; of several the one that started last."""
    runs = _runs(client, f"tags.`{names.KIND}` = 'sweep'")
    return {run.tags[names.STUDY]: run for run in runs if names.STUDY in run.tags}


def _runs(client: MlflowClient, query: str) -> list[RunRecord]:
    """Return all runs of all experiments that a query finds, in the order they were started."""
    return [_record(run) for run in sorted(find_runs(client, query), key=_started)]


def _started(run: Run) -> int:
    return int(run.info.start_time)


def _record(run: Run) -> RunRecord:
    return RunRecord(
        run_id=str(run.info.run_id),
        experiment_id=str(run.info.experiment_id),
        name=str(run.info.run_name),
        status=str(run.info.status),
        params=dict(run.data.params),
        metrics={key: unclipped(value) for key, value in run.data.metrics.items()},
        tags=dict(run.data.tags),
    )


def _curve(client: MlflowClient, run_id: str, key: str) -> Curve:
    history = sorted(client.get_metric_history(run_id, key), key=lambda point: point.timestamp)
    return tuple(sorted({int(point.step): unclipped(point.value) for point in history}.items()))


def unclipped(value: float) -> float:
    """Return an infinite number as such; MLflow's databases hold the largest finite one for it."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _refusals(text: str) -> tuple[tuple[Refusal, ...], bool]:
    """Return the refused combinations, and whether these are all."""
    stored = json.loads(text)
    return tuple(Refusal(*item) for item in stored["items"]), stored["count"] == len(
        stored["items"]
    )


def _unknown(study: str, known: list[str], uri: str) -> str:
    store = without_password(uri)
    if not known:
        return f"{store} has no study yet; `sweep run` makes one"
    guess = nearest(study, known)
    hint = f"; did you mean {guess!r}?" if guess else "."
    return f"no study {study!r} in {store}{hint} Known: {', '.join(known)}"
