from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch

from sweep.ledger import Share
from sweep.orchestration.attempt import Outcome
from sweep.orchestration.run import Summary, Where, run_sweep, running
from sweep.plan import Plan, PlannedTrial, make_plan
from sweep.spec.load import load_space
from sweep.study import Study
from sweep.tracking.store import open_client
from sweep.training.loop import EpochReport

SPACE = """
study: {study}
question: Does it run?
dataset: {{name: digits, subset: 48, val_size: 32}}
backbones: [mobilenet_v2]
attention:
  - none
  - {{name: ela, preset: L}}
  - {{name: ema, factor: 16}}
  - {{name: ca, reduction: 16}}
recipe: {{epochs: 2, batch_size: 16, lr: 0.01, schedule: constant}}
resources: {{cpus: 1, gpus: 0, max_concurrent: 1}}
"""


@pytest.fixture(autouse=True)
def _plain_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # Ray's workers yield to everything else by default, and so to the other half of the tests.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path) -> Path:
    """A working folder with an empty store."""
    working = tmp_path / "sweeps"
    working.mkdir()
    shutil.copy(empty_store, working / "mlflow.db")
    return working


@dataclass
class Recorder:
    """A listener that remembers, and may act on an epoch."""

    on_epoch: Callable[[str, EpochReport], None] = lambda trial_id, report: None
    on_shortage: Callable[[], object] = lambda: None
    found: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    epochs: list[tuple[str, int]] = field(default_factory=list)
    shortages: list[Share] = field(default_factory=list)
    delivering: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def planned(self, planned: PlannedTrial) -> None:
        self.found.append(planned.trial.trial_id)

    def started(self, trial_id: str) -> None:
        self.starts.append(trial_id)

    def retrying(self, trial_id: str, reason: str, seconds: float) -> None:
        self.retries.append((trial_id, reason))

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        self.epochs.append((trial_id, report.epoch))
        self.on_epoch(trial_id, report)

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        self.outcomes[trial_id] = outcome

    def waiting(self, share: Share) -> None:
        self.shortages.append(share)
        self.on_shortage()

    def undelivered(self, problem: str) -> None:
        self.delivering.append(problem)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def stopping(self) -> None:
        self.asked = True


@dataclass(frozen=True)
class Run:
    """One call of ``run_sweep`` and what came of it."""

    plan: Plan
    summary: Summary
    recorder: Recorder


@pytest.fixture
def run(tmp_path: Path, folder: Path) -> Callable[..., Run]:
    """Run a space with overrides; ``runner`` and ``recorder`` can be given."""

    def go(
        *overrides: str,
        study: str = "small",
        runner: Literal["ray", "inline"] = "inline",
        where: Where | None = None,
        recorder: Recorder | None = None,
        text: str = SPACE,
        into: Path = folder,
    ) -> Run:
        path = tmp_path / f"{study}.yaml"
        path.write_text(text.format(study=study))
        space = load_space(path, overrides)
        plan = make_plan(space) if space.search.method == "grid" else None
        listener = recorder or Recorder()
        with running(Study(into, study), wait=False, tell=print):
            summary = run_sweep(
                space, plan, "key", into, where=where or Where(runner), listener=listener
            )
        return Run(summary.plan, summary, listener)

    return go
