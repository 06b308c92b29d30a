"""What trials of these tests are made of: backbones of a millisecond, and tasks that misbehave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sweep.models.base import Backbone, Stem
from sweep.registry import ATTENTION
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Trial
from sweep.tasks.base import Meter
from sweep.tasks.classification import Classification
from sweep.training.loop import EpochReport, TrialResult, train

CPU = torch.device("cpu")

TIMES = {"epoch_seconds", "images_per_second", "train_seconds"}
"""Metrics that no two runs share."""


class Tiny(nn.Module):
    """Two convolutions, batch norm and dropout: everything that carries state from step to step."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)  # (B, 8, H/2, W/2)
        self.bn = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 16, 3, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        x = self.body(x).relu().mean(dim=(2, 3))
        out: Tensor = self.head(self.dropout(x))
        return out


class Exact(nn.Module):
    """In float64, and each image on its own: no batch norm, nothing random."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8 * 4 * 4, num_classes)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(x.double()).tanh().flatten(1))
        return out


def _tiny(num_classes: int, stem: Stem) -> nn.Module:
    return Tiny(num_classes)


def _exact(num_classes: int, stem: Stem) -> nn.Module:
    return Exact(num_classes)


TINY = Backbone(_tiny, lambda model: {"block_last_bn": ("bn",)}, "block_last_bn")
EXACT = Backbone(_exact, lambda model: {}, "block_last_bn")


class Scripted(Classification):
    """Validation measures what ``script`` says, one entry after the other.

    The loop makes a meter for training and one for validation in turn.
    """

    script: ClassVar[list[float]] = []

    def __init__(self, num_classes: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__(num_classes, label_smoothing=label_smoothing)
        self.meters = 0

    def meter(self, device: torch.device) -> Meter:
        self.meters += 1
        real = super().meter(device)
        return _ScriptedMeter(self.script.pop(0)) if self.meters % 2 == 0 else real


class _ScriptedMeter:
    def __init__(self, value: float) -> None:
        self.value = value

    def update(self, outputs: Any, targets: Any) -> None:
        pass

    def compute(self) -> dict[str, float]:
        return {"top1": self.value, "top5": 1.0, "loss": self.value}


class Killed(BaseException):
    """What ends a process in the middle of an epoch."""


class Capricious(Classification):
    """At the given number of a call of ``loss``, counted from 1, something happens to it."""

    at: ClassVar[int] = 0
    value: ClassVar[float | None] = None
    """The loss is multiplied by it; None kills the process."""
    calls: ClassVar[int] = 0

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        type(self).calls += 1
        loss = super().loss(outputs, targets)
        if self.calls == self.at:
            if self.value is None:
                raise Killed
            loss = loss * self.value
        return loss


def trial(
    recipe: dict[str, Any] | None = None,
    *,
    backbone: str = "tiny",
    attention: str = "none",
    hyperparameters: dict[str, Any] | None = None,
    sites: tuple[str, ...] = (),
    subset: int = 64,
    **fields: Any,
) -> Trial:
    """A trial on 8x8 digits: ``subset`` images to train on, 50 to validate with, 360 to test."""
    given = ATTENTION[attention].Config(**(hyperparameters or {}))
    settings = {"image_size": 8, "subset": subset, "val_size": 50}
    values: dict[str, Any] = {
        "task": "classification",
        "dataset": "digits",
        "dataset_settings": settings,
        "dataset_content": settings,
        "num_classes": 10,
        "backbone": BackboneChoice(name=backbone, stem="cifar"),
        "placement": "own" if sites else "none",
        "sites": sites,
        "attention": attention,
        "preset": None,
        "hyperparameters": given.model_dump(),
        "nondefault": tuple(hyperparameters or {}),
        "plugins": (),
        "on_indivisible": "refuse",
        "recipe": Recipe(**{"epochs": 3, "batch_size": 24, "lr": 0.05, **(recipe or {})}),
        "patience": None,
        "metric": "top1",
        "seed": 0,
    }
    # By way of JSON, as a trial reaches the process that trains it.
    return Trial.model_validate_json(Trial(**{**values, **fields}).model_dump_json())


def run(given: Trial, folder: Path) -> tuple[TrialResult, list[EpochReport]]:
    """Train a trial and return its result and all that it reported."""
    reports: list[EpochReport] = []
    result = train(given, report=reports.append, checkpoint_dir=folder, device=CPU)
    return result, reports


def measured(reports: Sequence[EpochReport]) -> list[tuple[int, dict[str, float]]]:
    """Return what reports say but for the times."""
    return [(report.epoch, untimed(report.metrics)) for report in reports]


def untimed(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def outcome(result: TrialResult) -> tuple[dict[str, float], int, int]:
    return untimed(result.metrics), result.epochs, result.best_epoch


def last_file(folder: Path) -> Path:
    """Return the file of the newest epoch in a folder of checkpoints."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return folder / str(manifest["epochs"][0]["last"]["file"])


def weights(folder: Path) -> dict[str, Tensor]:
    """Return the model's weights in the last checkpoint of a trial."""
    state: dict[str, Tensor] = torch.load(last_file(folder), weights_only=True)["model"]
    return state


def assert_same_end(one: Path, other: Path) -> None:
    """Compare all of the last checkpoints of two trials but the times: weights, optimizer, ..."""
    states = [torch.load(last_file(folder), weights_only=True) for folder in (one, other)]
    for state in states:
        state["history"] = [
            (epoch["epoch"], untimed(epoch["metrics"])) for epoch in state["history"]
        ]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
