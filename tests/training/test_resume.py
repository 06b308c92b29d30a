"""A trial that was stopped and resumed ends like one that never was, to the last bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweep.spec.trial import Trial
from sweep.training.loop import EpochReport, train, train_epochs

from .parts import (
    CPU,
    Capricious,
    Killed,
    Scripted,
    assert_same_end,
    last_file,
    measured,
    outcome,
    run,
    trial,
)

ELA = {"attention": "ela", "hyperparameters": {"num_groups": 4}, "sites": ("bn",)}


def stopped(given: Trial, folder: Path, after: int) -> list[EpochReport]:
    """Train some epochs, then stop as if the process had ended; return what was reported."""
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        reports.append(epoch)
        if epoch.epoch == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(given, report=report, checkpoint_dir=folder, device=CPU)
    # Whatever another process would have drawn before it goes on:
    random.seed(after)
    np.random.seed(after)
    torch.manual_seed(after)
    return reports


TRIALS: dict[str, dict[str, Any]] = {
    "sgd": {"recipe": {"nesterov": True, "warmup_epochs": 1.5, "label_smoothing": 0.1}},
    "attention": ELA,
    "accumulate": {"recipe": {"accumulate": 2}},
    "adamw": {"recipe": {"optimizer": "adamw", "lr": 0.01, "decay_norm_and_bias": False}},
    "one_cycle": {"recipe": {"schedule": "one_cycle", "warmup_epochs": 1.0}},
    "step": {"recipe": {"schedule": "step", "milestones": [1, 2]}},
    "bf16": {"recipe": {"precision": "bf16"}},
    "fp16": {"recipe": {"precision": "fp16"}},
    "channels_last": {"recipe": {"channels_last": True}, **ELA},
    "loss, last": {"recipe": {"evaluate": "last"}, "metric": "loss"},
}


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("name", TRIALS)
def test_a_resumed_trial_ends_like_one_that_never_stopped(
    tmp_path: Path, name: str, after: int
) -> None:
    given = trial(**TRIALS[name])
    expected, expected_reports = run(given, tmp_path / "whole")
    before = stopped(given, tmp_path / "parts", after)
    assert measured(before) == measured(expected_reports[:after])

    result, reports = run(given, tmp_path / "parts")
    assert reports[:after] == before  # reported again, times included
    assert measured(reports) == measured(expected_reports)
    assert outcome(result) == outcome(expected)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    seconds = sum(report.metrics["epoch_seconds"] for report in reports)
    assert result.metrics["train_seconds"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("backbone", "attention"), [("mobilenet_v2", {}), ("resnet18", {"attention": "ca"})]
)
def test_so_do_real_backbones(tmp_path: Path, backbone: str, attention: dict[str, Any]) -> None:
    """MobileNetV2 drops out; CA has batch norms of its own."""
    sites = ("layer1", "layer2.0.bn2") if attention else ()
    given = trial(
        {"epochs": 2, "batch_size": 16}, backbone=backbone, sites=sites, subset=32, **attention
    )
    expected, expected_reports = run(given, tmp_path / "whole")
    stopped(given, tmp_path / "parts", 1)
    result, reports = run(given, tmp_path / "parts")
    assert measured(reports) == measured(expected_reports)
    assert outcome(result) == outcome(expected)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("call", [1, 2, 4, 6, 9])
def test_an_epoch_that_was_cut_short_is_trained_again(tmp_path: Path, call: int) -> None:
    """Three batches make an epoch: killed in the first, second and third one."""
    given = trial(task="capricious", **ELA)
    Capricious.calls, Capricious.at, Capricious.value = 0, 0, None
    expected, expected_reports = run(given, tmp_path / "whole")
    Capricious.calls, Capricious.at = 0, call
    with pytest.raises(Killed):
        run(given, tmp_path / "parts")
    result, reports = run(given, tmp_path / "parts")
    assert measured(reports) == measured(expected_reports)
    assert outcome(result) == outcome(expected)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_patience_goes_on_where_it_was(tmp_path: Path) -> None:
    given = trial({"epochs": 10}, task="scripted", patience=3)
    script = [0.1, 0.5, 0.4, 0.4, 0.4, 0.9, 0.9]
    Scripted.script = list(script)
    expected, expected_reports = run(given, tmp_path / "whole")
    assert (expected.epochs, expected.best_epoch) == (5, 2)
    Scripted.script = list(script)
    stopped(given, tmp_path / "parts", 4)
    result, reports = run(given, tmp_path / "parts")
    assert measured(reports) == measured(expected_reports)
    assert outcome(result) == outcome(expected)


def test_a_trial_that_is_done_only_reports(tmp_path: Path) -> None:
    given = trial(**ELA)
    result, reports = run(given, tmp_path)
    before = last_file(tmp_path).stat()
    again, reports_again = run(given, tmp_path)
    assert again == result
    assert reports_again == reports
    after = last_file(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_stopped_twice(tmp_path: Path) -> None:
    given = trial(**ELA)
    expected, expected_reports = run(given, tmp_path / "whole")
    stopped(given, tmp_path / "parts", 1)
    stopped(given, tmp_path / "parts", 2)
    result, reports = run(given, tmp_path / "parts")
    assert measured(reports) == measured(expected_reports)
    assert outcome(result) == outcome(expected)


def test_epoch_by_epoch_is_the_same_training(tmp_path: Path) -> None:
    given = trial(**ELA)
    expected, expected_reports = run(given, tmp_path / "whole")
    epochs = train_epochs(given, checkpoint_dir=tmp_path / "parts", device=CPU)
    reports = [next(epochs), next(epochs)]
    epochs.close()
    epochs = train_epochs(given, checkpoint_dir=tmp_path / "parts", device=CPU)
    assert [next(epochs), next(epochs)] == reports
    reports.append(next(epochs))
    with pytest.raises(StopIteration) as end:
        next(epochs)
    assert measured(reports) == measured(expected_reports)
    assert outcome(end.value.value) == outcome(expected)


def test_an_epoch_is_saved_before_it_is_reported(tmp_path: Path) -> None:
    epochs = train_epochs(trial(), checkpoint_dir=tmp_path, device=CPU)
    for number in (1, 2, 3):
        next(epochs)
        state = torch.load(last_file(tmp_path), weights_only=True)
        assert [epoch["epoch"] for epoch in state["history"]] == list(range(1, number + 1))
