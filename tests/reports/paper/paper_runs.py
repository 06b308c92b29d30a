"""Runs of planned trials, described as sweep.tracking.delivery does: as records, or in MLflow."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from spec.spaces import space_of

from sweep.plan import make_plan
from sweep.spec.trial import Trial
from sweep.tracking import names
from sweep.tracking.delivery import run_params
from sweep.tracking.reading import RunRecord
from sweep.tracking.store import open_client


def trials(folder: Path, **space: str) -> list[Trial]:
    """Return the trials of a small space with some fields changed."""
    return [planned.trial for planned in make_plan(space_of(folder, **space)).trials]


def run_record(trial: Trial, **metrics: float) -> RunRecord:
    """Return the finished run of a trial as it is read back."""
    params = {key: str(value) for key, value in run_params(trial).items()}
    return RunRecord(trial.trial_id, "1", "a run", "FINISHED", params, metrics, {})


class Runs:
    """A store in a folder, to which runs are added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._client: MlflowClient = open_client(self.uri)
        location = (folder / "artifacts").as_uri()
        self._experiment = self._client.create_experiment("runs", artifact_location=location)

    def add(
        self, metrics: dict[str, float], status: str = "FINISHED", adjusted: str = "", **space: str
    ) -> None:
        """Add the run of each trial of a small space."""
        for trial in trials(self.folder, **space):
            tags = {
                names.KIND: "trial",
                names.TRIAL_ID: trial.trial_id,
                names.ADJUSTED: adjusted,
                names.DEVICE: "CPU x86_64, 1 threads",
            }
            run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
            self._client.log_batch(
                run_id,
                metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()],
                params=[Param(key, str(value)) for key, value in run_params(trial).items()],
            )
            self._client.set_terminated(run_id, status)
