"""More epochs of a trial, trained: what went on from a shorter trial is what the start gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.ledger import Ledger
from tests.orchestration.conftest import Run

Runner = Callable[..., Run]

KEPT = ("attention=[{name: ela, preset: L}]", "keep_checkpoints=last")
SPEED = ("train_seconds", "epoch_seconds", "images_per_second")


def measured(folder: Path, trial_id: str) -> list[dict[str, Any]]:
    """Return the metrics of every epoch and of the end, without those of the clock."""
    ledger = Ledger(folder)
    result = ledger.result(trial_id)
    assert result is not None
    of_epochs = [{"epoch": line.epoch, **line.metrics} for line in ledger.journal(trial_id)]
    return [
        {name: value for name, value in metrics.items() if name not in SPEED}
        for metrics in (*of_epochs, result["metrics"])
    ]


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
    whole = run(*KEPT, *schedule, "recipe.epochs=2", into=tmp_path / "whole")
    (shorter,), (trial_id,) = ([p.trial.trial_id for p in r.plan.trials] for r in (short, long))
    assert long.summary.ran == 1
    assert [p.trial.trial_id for p in whole.plan.trials] == [trial_id]
    assert measured(folder, trial_id) == measured(tmp_path / "whole", trial_id)
    log = Ledger(folder).log_path(trial_id)
    assert (log.exists() and shorter in log.read_text()) == continues
    trained = {epoch for _, epoch in long.recorder.epochs}
    assert trained == {1, 2}  # an epoch that was gone on from is reported too


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
