"""Sizes of checkpoints against the files that trials write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep.models.build import model_of
from sweep.training import checkpoint
from sweep.training.footprint import PER_TENSOR, Footprint, checkpoint_bytes, disk_estimate
from sweep.training.optim import make_optimizer

from .parts import CPU, run, trial

MOBILENET = {"backbone": "mobilenet_v2", "subset": 16}


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"momentum": 0.0},
        {"optimizer": "adamw", "lr": 0.001},
        {"decay_norm_and_bias": False, "nesterov": True, "channels_last": True},
    ],
)
def test_the_files_of_a_trial_are_as_large_as_said(tmp_path: Path, recipe: dict[str, Any]) -> None:
    given = trial({"epochs": 1, "batch_size": 8, **recipe}, **MOBILENET)
    run(given, tmp_path)
    footprint = checkpoint_bytes(given)
    assert size(tmp_path / "epoch-0001.pt") == pytest.approx(footprint.last, rel=0.03)
    assert size(tmp_path / "best-0001.pt") == pytest.approx(footprint.best, rel=0.03)


def test_attention_counts(tmp_path: Path) -> None:
    small = {"attention": "ela", "hyperparameters": {"num_groups": 8}, "sites": ("bn",)}
    plain, given = checkpoint_bytes(trial()), checkpoint_bytes(trial(**small))
    # A convolution of 8 channels, 7 wide, in 8 groups, and weight and bias of a norm: 72 numbers
    # in 3 tensors, each with its momentum.
    assert given.best - plain.best == 72 * 4 + 3 * PER_TENSOR
    assert given.last - plain.last == 2 * (72 * 4 + 3 * PER_TENSOR)


def size(path: Path) -> int:
    return path.stat().st_size


def test_no_trial_has_more_than_that_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every epoch is the best; the folder is looked at just before it is cleared.
    most: list[int] = []
    commit = checkpoint.Checkpoints._commit

    def watched(self: checkpoint.Checkpoints, entries: Any) -> None:
        most.append(sum(map(size, self.folder.glob("*.pt"))))
        commit(self, entries)

    monkeypatch.setattr(checkpoint.Checkpoints, "_commit", watched)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    given = trial(**MOBILENET)
    model = model_of(given).to(CPU)
    optimizer = make_optimizer(model, given.recipe)
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone()
    optimizer.step()
    for epoch in range(1, 5):
        checkpoints.save_best(epoch, model.state_dict())
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoints.save_last(epoch, {**state, "best_epoch": epoch})
    assert max(most) == pytest.approx(checkpoint_bytes(given).running, rel=0.03)


def test_what_a_sweep_needs_at_once() -> None:
    trials = [trial(seed=seed) for seed in range(3)] + [trial({"momentum": 0.0})]
    with_momentum, without = checkpoint_bytes(trials[0]), checkpoint_bytes(trials[3])
    assert without.last == without.best == with_momentum.best
    best, last = with_momentum.best, with_momentum.last
    assert with_momentum.running == 3 * (last + best)
    assert disk_estimate(trials, 2, "none") == 2 * 3 * (last + best)
    assert disk_estimate(trials, 2, "best") == 2 * 3 * (last + best) + 2 * best
    assert disk_estimate(trials, 2, "last") == 2 * 3 * (last + best) + (last + best) + 2 * best
    assert disk_estimate(trials, 9, "none") == 3 * 3 * (last + best) + 3 * 2 * best
    assert disk_estimate([], 2, "best") == 0


def test_what_is_left_of_a_finished_trial() -> None:
    footprint = Footprint(last=20, best=10)
    assert [footprint.kept(keep) for keep in ("none", "best", "last")] == [0, 10, 30]
