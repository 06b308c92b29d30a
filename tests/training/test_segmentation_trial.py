"""Segmentation through the training loop: against a plain loop, and with DeepLabV3 and ELA."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor, nn
from torch.nn import functional as F

from sweep.data import voc_segmentation
from sweep.data.voc_segmentation import VOC2012Aug
from sweep.models.base import Backbone
from sweep.models.placement import policy_sites
from sweep.registry import BACKBONES
from sweep.spec.trial import BackboneChoice, Trial
from sweep.tasks.segmentation import Segmentation
from sweep.training.loading import make_loader
from sweep.training.seeding import seed_everything
from tests.data.formats import write_voc2012

from .parts import CPU, run, trial, weights

TRAIN = [f"2007_{number:06d}" for number in range(8)]
VAL = [f"2009_{number:06d}" for number in range(2)]
METRICS = ("miou", "pixel_accuracy", "loss")


class Pixelwise(nn.Module):
    """In float64, and each image on its own: no batch norm, nothing random."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, num_classes, 1)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(x.double()).tanh())  # (B, num_classes, H, W)
        return out


@pytest.fixture(autouse=True)
def _pixelwise() -> Iterator[None]:
    BACKBONES.names()
    BACKBONES.register("pixelwise")(
        Backbone(
            lambda num_classes, stem: Pixelwise(num_classes),
            lambda model: {},
            "conv2",
            task="segmentation",
        )
    )
    yield
    del BACKBONES._parts["pixelwise"], BACKBONES._origins["pixelwise"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    published = {"train": len(TRAIN), "train_aug": len(TRAIN), "val": len(VAL)}
    monkeypatch.setattr(voc_segmentation, "PUBLISHED", published)
    write_voc2012(tmp_path / "voc", {"train": TRAIN, "train_aug": TRAIN, "val": VAL})
    return tmp_path / "voc"


def segmentation_trial(root: Path, settings: dict[str, Any], **fields: Any) -> Trial:
    return trial(
        task="segmentation",
        dataset="voc2012_aug",
        dataset_settings={"root": str(root), "val_size": 2, **settings},
        dataset_content=settings,
        num_classes=21,
        metric="miou",
        **fields,
    )


def batches(given: Trial, split: Any, epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch; what is in them, tests/tasks and tests/data hold to their own."""
    loader = make_loader(
        VOC2012Aug.of(given.dataset_settings),
        split,
        Segmentation(21),
        batch_size=given.recipe.batch_size,
        train=split == "train",
        augmentation="standard" if split == "train" else "none",
        seed=given.seed,
        device=CPU,
        workers=0,
    )
    return list(loader.epoch(epoch))


def by_sklearn(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    with torch.no_grad():
        outputs = torch.cat([model(images) for images, _ in data])
    targets = torch.cat([masks for _, masks in data])
    counted = targets != 255
    truth, predicted = targets[counted].numpy(), outputs.argmax(dim=1)[counted].numpy()
    present = sorted({*truth.tolist(), *predicted.tolist()})
    return {
        "miou": jaccard_score(truth, predicted, labels=present, average="macro"),
        "pixel_accuracy": accuracy_score(truth, predicted),
        "loss": F.cross_entropy(outputs, targets, ignore_index=255).item(),
    }


def test_a_trial_is_plain_sgd_over_the_masks(root: Path, tmp_path: Path) -> None:
    given = segmentation_trial(
        root,
        {"image_size": 40},
        backbone="pixelwise",
        recipe={"epochs": 2, "batch_size": 4, "schedule": "constant", "label_smoothing": 0.1},
    )
    result, reports = run(given, tmp_path)

    seed_everything(given.seed, "model")
    model = Pixelwise(21)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in (1, 2):
        for images, masks in batches(given, "train", epoch):
            optimizer.zero_grad()
            smooth = F.cross_entropy(model(images), masks, ignore_index=255, label_smoothing=0.1)
            smooth.backward()
            optimizer.step()
        expected = by_sklearn(model, batches(given, "val"))
        validated = {name: reports[epoch - 1].metrics[f"val_{name}"] for name in METRICS}
        assert validated == pytest.approx(expected, rel=1e-5)
    # The loss is of float32 logits, and so are its gradients.
    trained = weights(tmp_path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained[f"backbone.{name}"], value, rtol=1e-4, atol=1e-6)
    if result.best_epoch == 2:
        tested = {name: result.metrics[f"test_{name}"] for name in METRICS}
        assert tested == pytest.approx(by_sklearn(model, batches(given, "test")), rel=1e-5)


def test_deeplabv3_with_ela_trains(root: Path, tmp_path: Path) -> None:
    sites = policy_sites("deeplabv3_resnet50", "conv2")
    given = segmentation_trial(
        root,
        {"image_size": 65, "subset": 4},
        attention="ela",
        hyperparameters={"kernel_size": 7},
        sites=sites,
        recipe={"epochs": 3, "batch_size": 4, "accumulate": 2, "lr": 0.01, "precision": "bf16"},
    ).model_copy(update={"backbone": BackboneChoice(name="deeplabv3_resnet50", stem="imagenet")})
    result, reports = run(given, tmp_path)
    losses = [report.metrics["train_loss"] for report in reports]
    assert losses[0] > losses[1] > losses[2]
    for prefix, metrics in (("val", reports[-1].metrics), ("test", result.metrics)):
        assert 0 <= metrics[f"{prefix}_miou"] <= 1
        assert 0 <= metrics[f"{prefix}_pixel_accuracy"] <= 1
        assert math.isfinite(metrics[f"{prefix}_loss"])
