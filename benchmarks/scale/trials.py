"""Trials that look like those of a sweep, without a model or data behind them."""

from __future__ import annotations

from typing import Any

from sweep.ledger import Share
from sweep.plan import Cost, PlannedTrial
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Trial
from sweep.tracking.records import TrialRecord

SHARE = Share(cpus=1, gpus=1.0)
MEASURES = ("train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr", "epoch_seconds")
METRICS = dict.fromkeys((*MEASURES, "images_per_second", "peak_memory_gib"), 0.5)
"""Of an epoch of classification on a GPU."""
COST = Cost(params_true=11_180_000, params_thop_like=11_180_000, params_no_norm=11_170_000, macs=1)


def trials(count: int) -> list[Trial]:
    """Return trials that differ in their seed alone."""
    first = Trial(
        task="classification",
        dataset="cifar10",
        dataset_settings={"root": "/data/cifar10", "image_size": 32},
        dataset_content={"name": "cifar10", "image_size": 32},
        num_classes=10,
        backbone=BackboneChoice(name="resnet18", stem="cifar"),
        placement="residual",
        sites=tuple(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)),
        attention="ela",
        preset="B",
        hyperparameters={"kernel_size": 7, "groups": 16, "num_norm_groups": 16},
        nondefault=("groups",),
        plugins=(),
        on_indivisible="refuse",
        recipe=Recipe(epochs=60),
        patience=None,
        metric="top1",
        seed=0,
    )
    return [first.model_copy(update={"seed": seed}) for seed in range(count)]


def planned(trial: Trial) -> PlannedTrial:
    """Return a trial of a plan."""
    return PlannedTrial(trial=trial, label="ELA-B", status="planned", reason="", cost=COST)


def record_of(trial: Trial) -> TrialRecord:
    """Return what MLflow is told of a trial beforehand."""
    return TrialRecord(trial, "ELA-B", COST.model_dump())


def result() -> dict[str, Any]:
    """Return what a trial leaves when it is done."""
    names = ("test_loss", "test_top1", "test_top5", "best_val_top1", "train_seconds")
    environment = {f"version_{number}": "1.2.3" for number in range(12)}
    return {
        "metrics": dict.fromkeys(names, 0.5),
        "epochs": 60,
        "best_epoch": 58,
        "fvcore": {"macs": 1, "unsupported": []},
        "environment": {"device": "a GPU", **environment},
    }
