"""A segment of a population ends where it should, and goes on from its parent and nothing else."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch

from sweep.spec.trial import Segment, Trial
from sweep.training.checkpoint import Checkpoints
from sweep.training.loop import LostParentError

from .parts import CPU, assert_same_end, last_file, measured, outcome, run, trial

RECIPE = {"epochs": 4, "schedule": "cosine"}


def segment(until: int, parent: Trial | None = None, **recipe: float) -> Trial:
    given = Segment(until=until, parent=parent.trial_id if parent else None)
    return trial({**RECIPE, **recipe}, segment=given)


def test_segments_of_one_recipe_are_the_training_in_one_go(tmp_path: Path) -> None:
    expected, expected_reports = run(trial(RECIPE), tmp_path / "whole")
    first = segment(1)
    parts = [first, segment(3, first), segment(4, segment(3, first))]
    for number, part in enumerate(parts):
        if number:
            own = Checkpoints(tmp_path / str(number))
            own.copy(tmp_path / str(number - 1))
        result, reports = run(part, tmp_path / str(number))
        Checkpoints(tmp_path / str(number)).reduce("last")
        assert measured(reports) == measured(expected_reports[: part.until])
        assert result.epochs == part.until
        assert any(name.startswith("test_") for name in result.metrics) is not part.partial
        assert result.metrics["best_val_top1"] == max(r.metrics["val_top1"] for r in reports)
    assert outcome(result) == outcome(expected)
    assert_same_end(tmp_path / "whole", tmp_path / "2")


def test_a_segment_has_its_own_recipe_and_its_parents_momentum(tmp_path: Path) -> None:
    first = segment(1)
    run(first, tmp_path / "first")
    second = segment(2, first, lr=0.02, weight_decay=0.01, momentum=0.5)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    _, reports = run(second, tmp_path / "second")
    rates = [report.metrics["lr"] for report in reports]
    assert rates == pytest.approx([0.05, 0.02 * (1 + math.cos(math.pi / 4)) / 2])
    state = torch.load(last_file(tmp_path / "second"), weights_only=True)
    (group,) = state["optimizer"]["param_groups"]
    assert (group["initial_lr"], group["weight_decay"], group["momentum"]) == (0.02, 0.01, 0.5)
    assert state["scheduler"]["base_lrs"] == [0.02]


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_without_its_parent_a_segment_does_not_start_anew(tmp_path: Path, damage: str) -> None:
    first = segment(1)
    run(first, tmp_path)
    if damage == "gone":
        Checkpoints(tmp_path).reduce("none")
    else:
        last_file(tmp_path).write_bytes(b"")
    assert not Checkpoints(tmp_path).intact()
    with pytest.raises(LostParentError, match=f"the last state of trial {first.trial_id}, from"):
        run(segment(2, first), tmp_path)
    assert Checkpoints(tmp_path).load_last(CPU) is None
