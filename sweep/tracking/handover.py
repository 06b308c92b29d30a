"""What a trial's run says to the other working folders that use the same store.

Whose it is, whether its trial is in training there now, and, once the trial is finished, all that
another ledger needs of it. Of several runs of one trial the one that began first stands; every
folder can tell that by itself, and comes to the same run.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sweep.durable import read_record, write_record
from sweep.ledger import JournalLine, Ledger
from sweep.spec.trial import Trial
from sweep.tracking import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STALE_SECONDS = 300.0
"""After so long without a heartbeat a trial counts as given up; where its time alone can tell,
clocks may differ by half of it."""


@dataclass(frozen=True)
class Finished:
    """A trial that was trained to its end, as its run has it."""

    run_id: str
    trial: Trial
    journal: tuple[JournalLine, ...]
    result: dict[str, Any]
    ended: float
    """Seconds since the epoch."""


def owner_tags(folder_id: str) -> dict[str, str]:
    """Return the tags of a run that a folder makes."""
    return {
        names.FOLDER: folder_id,
        names.HOST: platform.node(),
        names.HEARTBEAT: str(time.time()),
    }


def is_foreign(run: Run, folder_id: str) -> bool:
    """Tell whether another folder than this one writes a run."""
    return bool(run.data.tags.get(names.FOLDER, folder_id) != folder_id)


def may_write(client: MlflowClient, run: Run) -> bool:
    """Tell whether this account may write a run, by writing what the run has already."""
    try:
        client.set_tag(run.info.run_id, names.TRIAL_ID, run.data.tags[names.TRIAL_ID])
    except Exception as error:
        if not is_refusal(error):
            raise
        return False
    return True


def is_refusal(error: Exception) -> bool:
    """Tell whether an error is MLflow's that this account may not do what it asked for."""
    return getattr(error, "error_code", "") == "PERMISSION_DENIED"


def heartbeat(run: Run) -> float:
    """Return when a run's trial was last seen in training, in seconds since the epoch, or 0."""
    if run.info.status != "RUNNING":
        return 0.0
    return float(run.data.tags.get(names.HEARTBEAT, 0.0))


def is_recent(beat: float) -> bool:
    """Tell whether a trial with such a heartbeat is in training."""
    return time.time() - beat < STALE_SECONDS


def by_age(runs: Iterable[Run]) -> list[Run]:
    """Return the runs of one trial, or parent runs of one sweep: first the one that stands."""
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def log_finished(client: MlflowClient, run_id: str, ledger: Ledger, trial_id: str) -> None:
    """Write to a finished trial's run what another ledger needs of it."""
    trial = ledger.trial(trial_id)
    record = {
        "trial": trial.model_dump(mode="json") if trial else None,
        "journal": [vars(line) for line in ledger.journal(trial_id)],
        "result": ledger.result(trial_id),
        "ended": ledger.entry(trial_id).ended,
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / names.FINISHED_RECORD
        write_record(path, record)
        client.log_artifact(run_id, str(path))


def fetch_finished(client: MlflowClient, run: Run) -> Finished | None:
    """Return what ``log_finished`` wrote.

    None if it is not there, or damaged, or of another version, or of another trial than the run
    says: this folder then trains the trial itself.
    """
    try:
        with TemporaryDirectory() as folder:
            path = client.download_artifacts(run.info.run_id, names.FINISHED_RECORD, folder)
            record = read_record(Path(path))
        if record is None:
            return None
        trial = Trial.model_validate(record["trial"])
        if trial.trial_id != run.data.tags[names.TRIAL_ID]:  # as this version computes it
            return None
        journal = tuple(JournalLine(**line) for line in record["journal"])
        result, ended = dict(record["result"]), float(record["ended"])
        return Finished(run.info.run_id, trial, journal, result, ended)
    except Exception:  # whatever is wrong with it, or with the store that keeps it
        return None
