"""Two attempts at one trial at once, where the lock between them does not hold."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from sweep.ledger import Ledger, Share
from sweep.lock import Lock
from sweep.orchestration import attempt as module
from sweep.orchestration.attempt import Job, Outcome, attempt
from sweep.training.loop import EpochReport, TrialResult
from tests.test_ledger import ID, TRIAL, metrics


def trained(*_: object, **__: object) -> Generator[EpochReport, None, TrialResult]:
    """Train without a model."""
    for epoch in (1, 2):
        yield EpochReport(epoch, metrics(epoch))
    return TrialResult({"test_top1": 0.5}, epochs=2, best_epoch=2)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(Lock, "take", lambda lock: True)  # as of NFS whose lease was lost
    monkeypatch.setattr(module, "train_epochs", trained)
    monkeypatch.setattr(module, "_fvcore", lambda trial: {})
    monkeypatch.setattr(module, "environment", lambda device: {})
    return Job(TRIAL, str(tmp_path), Share(1, 0.0), workers=0, keep="none")


def end_of(epochs: Generator[EpochReport, None, Outcome]) -> Outcome:
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def test_the_one_that_was_begun_last_goes_on(job: Job, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first, second = attempt(job), attempt(job, "10.0.0.2")
    assert [next(first).epoch, next(second).epoch] == [1, 1]
    outcome = end_of(first)
    assert (outcome.kind, outcome.metrics) == ("transient", {})
    assert "another attempt" in outcome.reason
    assert [line.epoch for line in ledger.journal(ID)] == [1]
    outcome = end_of(second)
    assert outcome == Outcome({"test_top1": 0.5})
    assert outcome.node.endswith(" (10.0.0.2)")
    assert [e["event"] for e in ledger.history(ID)] == ["begin", "begin", "finish"]
    assert ledger.is_done(ID)


def test_failure_of_the_one_before_is_not_that_of_the_trial(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Generator[EpochReport, None, TrialResult]:
        yield EpochReport(1, metrics(1))
        raise FileNotFoundError("epoch-0001.pt")

    ledger = Ledger(tmp_path)
    first, second = attempt(job), attempt(job)
    monkeypatch.setattr(module, "train_epochs", fails)
    next(first)
    monkeypatch.setattr(module, "train_epochs", trained)
    next(second)
    assert end_of(first).kind == "transient"
    assert ledger.entry(ID).state == "running"
    assert not ledger.failure_path(ID).exists()
    end_of(second)
    assert ledger.is_done(ID)
