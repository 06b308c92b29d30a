"""More epochs of a trial, trained: what went on from a shorter trial is what the start gives."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from sweep.devices import Stretch
from sweep.ledger import Ledger
from sweep.orchestration.attempt import _continue
from sweep.profiling.environment import processor
from sweep.spec.trial import Trial
from sweep.training.loop import train
from tests.orchestration.conftest import Run

Runner = Callable[..., Run]

KEPT = ("attention=[{name: ela, preset: L}]", "keep_checkpoints=last")
SPEED = ("train_seconds", "epoch_seconds", "images_per_second")

Metrics = dict[str, float]


def without_clock(epochs: Iterable[Metrics]) -> list[Metrics]:
    return [{k: v for k, v in metrics.items() if k not in SPEED} for metrics in epochs]


def measured(ledger: Ledger, trial_id: str) -> list[Metrics]:
    """Return the metrics of every epoch and of the end."""
    result = ledger.result(trial_id)
    assert result is not None
    return without_clock([*(e.metrics for e in ledger.journal(trial_id)), result["metrics"]])


def from_the_start(trial: Trial, folder: Path) -> list[Metrics]:
    """Return the same of a training that knows of no other."""
    torch.set_num_threads(1)
    epochs: list[Metrics] = []
    result = train(
        trial,
        report=lambda report: epochs.append(report.metrics),
        checkpoint_dir=folder,
        device=torch.device("cpu"),
    )
    return without_clock([*epochs, result.metrics])


@pytest.mark.parametrize(
    ("schedule", "continues"),
    [
        (("recipe.schedule=constant",), True),
        (("recipe.schedule=step", "recipe.milestones=[1]"), True),
        (("recipe.schedule=cosine",), False),
    ],
)
def test_more_epochs_are_those_of_training_from_the_start(
    run: Runner, folder: Path, tmp_path: Path, schedule: tuple[str, ...], continues: bool
) -> None:
    short = run(*KEPT, *schedule, "recipe.epochs=1")
    long = run(*KEPT, *schedule, "recipe.epochs=2")
    (shorter,), (longer,) = ([p.trial for p in r.plan.trials] for r in (short, long))
    assert long.summary.ran == 1
    ledger = Ledger(folder)
    assert measured(ledger, longer.trial_id) == from_the_start(longer, tmp_path / "start")
    assert [epoch for _, epoch in long.recorder.epochs] == [1, 2]  # those of before are told too
    (device,) = {line.device for line in ledger.journal(shorter.trial_id)}
    assert {line.device for line in ledger.journal(longer.trial_id)} == {device} != {""}
    log = ledger.log_path(longer.trial_id)
    assert (log.exists() and shorter.trial_id in log.read_text()) == continues


def test_a_shorter_trial_that_lost_its_checkpoint_meanwhile_costs_its_epochs_only(
    run: Runner, folder: Path
) -> None:
    short = run(*KEPT, "recipe.epochs=1")
    (shorter,) = (p.trial.trial_id for p in short.plan.trials)
    for path in Ledger(folder).checkpoint_folder(shorter).glob("epoch-*.pt"):
        path.unlink()  # after the manifest was read
    long = run(*KEPT, "recipe.epochs=2")
    (trial_id,) = (p.trial.trial_id for p in long.plan.trials)
    assert long.summary.done == 1
    assert f"starts anew: trial {shorter}" in Ledger(folder).log_path(trial_id).read_text()


def test_who_looks_at_the_shorter_trial_costs_none_of_its_epochs(run: Runner, folder: Path) -> None:
    short = run(*KEPT, "recipe.epochs=1")
    (shorter,) = (p.trial.trial_id for p in short.plan.trials)
    ledger = Ledger(folder)
    with ledger.training(shorter).path.open("a") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)  # as a heartbeat's look
        threading.Timer(0.5, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        _continue(shorter, "longer", ledger)
    assert (
        f"goes on from the checkpoint of trial {shorter}" in ledger.log_path("longer").read_text()
    )


def test_epochs_of_a_shorter_trial_stay_those_of_its_device(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*KEPT, "recipe.epochs=1")
    monkeypatch.setattr("sweep.orchestration.attempt.device_text", lambda device: "GPU X, 8 GiB")
    long = run(*KEPT, "recipe.epochs=2")
    (trial_id,) = (p.trial.trial_id for p in long.plan.trials)
    first, second = Ledger(folder).trained_on(trial_id)
    assert first == Stretch(processor(), 1, 1)
    assert second == Stretch("GPU X, 8 GiB", 2, 2)
