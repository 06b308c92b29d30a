from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.ledger import Ledger, Share
from sweep.tracking import names
from sweep.tracking.delivery import Delivery
from sweep.tracking.records import SweepRecord, TrialRecord
from sweep.tracking.store import find_runs, open_client
from tests.test_ledger import TRIAL, finish

SHARE = Share(cpus=1, gpus=0.0)
RESULT = {
    "metrics": {"test_top1": 0.5},
    "epochs": 2,
    "best_epoch": 2,
    "fvcore": {"macs": None, "unsupported": []},
    "environment": {"device": "CPU"},
}
TRIALS = [TRIAL.model_copy(update={"seed": seed}) for seed in range(3)]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:
    """A store that belongs to no working folder."""
    (tmp_path / "server").mkdir()
    shutil.copy(empty_database, tmp_path / "server" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"


@dataclass
class Folder:
    """A working folder and its delivery to a store, run by hand."""

    path: Path
    uri: str
    study: str = "small"
    ledger: Ledger = field(init=False)
    delivery: Delivery = field(init=False)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.path)
        self.anew()

    def anew(self) -> None:
        """Begin another run of the sweep."""
        trials = tuple(TrialRecord(trial, "ELA-B", {"macs": 5}) for trial in TRIALS)
        sweep = SweepRecord(self.study, "Why?", "top1", {}, {"plan.json": "{}"}, trials)
        self.delivery = Delivery(sweep, self.ledger, self.uri, self.said.append)

    def train(self, *epochs: int, seed: int = 0) -> None:
        """Measure epochs; the second one is the last."""
        trial = TRIALS[seed]
        self.ledger.begin(trial, SHARE)
        for epoch in epochs:
            self.ledger.record(trial.trial_id, epoch, {"val_top1": epoch / 10})
        if 2 in epochs:
            finish(self.ledger, trial.trial_id, RESULT)

    def deliver(self, seed: int = 0, *, closing: bool = False) -> None:
        self.delivery.notify(TRIALS[seed].trial_id)
        self.delivery._deliver_pending(closing)


def runs(uri: str, kind: str = "trial") -> list:
    return list(find_runs(MlflowClient(tracking_uri=uri), f"tags.`{names.KIND}` = '{kind}'"))


def steps(uri: str, run_id: str, key: str = "val_top1") -> list[int]:
    return [m.step for m in MlflowClient(tracking_uri=uri).get_metric_history(run_id, key)]
