"""The recipes of the papers: what is printed, and the steps that their epochs stand for."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.spec.recipes import PRESETS, Recipe

PRINTED: dict[str, dict[str, Any]] = {
    # ELA 4.1, the paragraph on ResNets
    "ela_resnet": {
        "optimizer": "sgd",
        "weight_decay": 1e-4,
        "momentum": 0.99,
        "epochs": 90,
        "lr": 0.1,
        "gamma": 0.1,
        "milestones": (30, 60),
    },
    # the same, with the momentum of He et al. (2016), section 3.4
    "he2016_resnet": {"weight_decay": 1e-4, "momentum": 0.9, "epochs": 90, "batch_size": 256},
    # ELA 4.1, the paragraph on MobileNetV2
    "ela_mobilenet_v2": {
        "batch_size": 256,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 4e-5,
        "schedule": "cosine",
        "lr": 0.025,
        "epochs": 200,
    },
    # EMA 4.1
    "ema_cifar": {"momentum": 0.9, "weight_decay": 4e-5, "batch_size": 128, "epochs": 200},
    # ELA 4.3, Pascal VOC2007
    "ela_yolox": {
        "optimizer": "sgd",
        "lr": 0.02,
        "schedule": "cosine",
        "weight_decay": 0.0005,
        "momentum": 0.937,
        "batch_size": 16,
        "epochs": 72,
    },
    # ELA 4.3, MS COCO
    "ela_yolof": {
        "optimizer": "sgd",
        "batch_size": 16,
        "lr": 0.003,
        "epochs": 12,
        "milestones": (8, 11),
        "gamma": 0.1,
    },
    # ELA 4.4
    "ela_deeplabv3": {"batch_size": 12, "lr": 0.025, "schedule": "poly"},
    # EMA 4.2
    "ema_yolov5s": {"epochs": 300, "batch_size": 48},
    "ema_yolov5x": {"epochs": 300},
}


def test_every_preset_is_here() -> None:
    assert set(PRINTED) == set(PRESETS)


@pytest.mark.parametrize("name", PRINTED)
def test_a_preset_has_what_its_paper_prints(name: str) -> None:
    recipe = Recipe.model_validate(PRESETS[name])
    assert {field: getattr(recipe, field) for field in PRINTED[name]} == PRINTED[name]


@pytest.mark.parametrize(("name", "batch"), [("ema_yolov5s", 48), ("ema_yolov5x", 5)])
def test_yolov5_steps_as_by_the_sum_of_the_losses_of_about_64_images(name: str, batch: int) -> None:
    recipe = Recipe.model_validate(PRESETS[name])
    batches = max(1, round(64 / batch))  # of 5 images, 13: their gradients are added
    assert (recipe.batch_size, recipe.accumulate) == (batches * batch, batches)
    # A step is lr (gradient of the sum + decay * weight) there, with lr 0.01 and a decay of 5e-4
    # for 64 images, in proportion for others; here the gradient is that of the mean.
    assert recipe.lr == pytest.approx(0.01 * recipe.batch_size)
    decay = 5e-4 * recipe.batch_size / 64
    assert recipe.lr * recipe.weight_decay == pytest.approx(0.01 * decay)


def test_the_epochs_of_deeplabv3_are_40_000_steps() -> None:
    recipe = Recipe.model_validate(PRESETS["ela_deeplabv3"])
    images = 10_582 - 500  # of train_aug; those held out choose the epoch
    assert recipe.epochs * images / recipe.batch_size == pytest.approx(40_000, rel=0.01)


def test_the_warm_up_of_yolof_is_1_500_steps() -> None:
    recipe = Recipe.model_validate(PRESETS["ela_yolof"])
    images = 117_266 - 5_000  # those with boxes; those held out choose the epoch
    assert recipe.warmup_epochs * images / recipe.batch_size == pytest.approx(1_500, rel=0.005)


def test_yolof_is_trained_with_flips_alone() -> None:
    changed = {name for name, fields in PRESETS.items() if "augmentation" in fields}
    assert changed == {"ela_yolof"}
    assert Recipe.model_validate(PRESETS["ela_yolof"]).augmentation == "flip"
