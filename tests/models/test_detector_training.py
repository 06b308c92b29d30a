"""Detectors train: gradients reach every parameter, and a few steps learn two pictures."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from sweep import build_model
from sweep.registry import ATTENTION
from tests.models.detection import target

HEIGHT, WIDTH = 64, 96
OBJECTS = [
    # Squares of a cell of strides 8, 16 and 32, where YOLOX looks first, and two large boxes.
    target([(8, 8, 16, 16), (32, 16, 48, 32), (64, 32, 96, 64)], [0, 1, 2]),
    target([(40, 8, 48, 16), (16, 32, 32, 48), (0, 0, 60, 60), (30, 4, 96, 62)], [2, 0, 1, 0]),
]


def without_effect(model: nn.Module) -> set[str]:
    """Names of biases of which batch norm leaves nothing: their gradient is rounding, or 0."""
    return {
        f"{name}.{i}.bias"
        for name, module in model.named_modules()
        if isinstance(module, nn.Sequential)
        for i, (layer, after) in enumerate(pairwise(module))
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    }


def check_gradients(name: str, attention: str, num_classes: int = 3) -> None:
    torch.manual_seed(0)
    model = build_model(name, attention, num_classes=num_classes, on_indivisible="nearest").train()
    with torch.no_grad():  # some start at zero (SA's), and stop the gradient of what they multiply
        for parameter in model.attention.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert (len(model.sites) > 0) == (attention != "none")
    objects = [{**truth, "labels": truth["labels"] % num_classes} for truth in OBJECTS]
    loss = model(torch.randn(2, 3, HEIGHT, WIDTH)).loss(objects)
    assert loss.shape == ()
    loss.backward()
    skipped = without_effect(model.backbone)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if parameter_name.removeprefix("backbone.") not in skipped:
            assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("attention", ATTENTION.names())
def test_gradient_reaches_every_parameter_of_yolox(attention: str) -> None:
    check_gradients("yolox_nano", attention)


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("yolof_resnet50", "none"),
        ("yolof_resnet50", "ela"),
        ("yolov5s", "none"),
        ("yolov5s", "ema"),
        ("yolov5x_p2", "ema"),
    ],
)
def test_gradient_reaches_every_parameter_of_the_others(name: str, attention: str) -> None:
    check_gradients(name, attention)


def test_gradient_reaches_every_parameter_where_there_is_one_class() -> None:
    check_gradients("yolov5s", "none", num_classes=1)


@pytest.mark.parametrize("name", ["yolox_nano", "yolov5s"])
def test_half_precision(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=3).train()
    images = torch.randn(2, 3, HEIGHT, WIDTH)
    single = model(images).loss(OBJECTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(images).loss(OBJECTS)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(single.item(), rel=0.1)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def two_pictures() -> tuple[Tensor, list[dict[str, Tensor]]]:
    """A red square and a blue one on grey noise (2, 3, 96, 96), one of each in a picture."""
    generator = torch.Generator().manual_seed(2)
    images = 0.1 * torch.randn((2, 3, 96, 96), generator=generator)
    targets = [
        target([(10, 20, 34, 44), (50, 40, 90, 80)], [0, 1]),
        target([(60, 8, 84, 32), (8, 48, 48, 88)], [0, 1]),
    ]
    for image, truth in zip(images, targets, strict=True):
        for (x1, y1, x2, y2), label in zip(
            truth["boxes"].int().tolist(), truth["labels"].tolist(), strict=True
        ):
            image[2 * label, y1:y2, x1:x2] = 2
    return images, targets


def test_yolox_learns_two_pictures_by_heart() -> None:
    torch.manual_seed(0)
    model = build_model("yolox_nano", "eca", num_classes=2).train()
    images, targets = two_pictures()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(80):
        loss = model(images).loss(targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
    for found, truth in zip(model(images).detections(), targets, strict=True):
        labels, order = found["labels"][:2].sort()  # the best two are the two squares
        assert labels.tolist() == [0, 1]
        assert box_iou(found["boxes"][order], truth["boxes"]).diag().min() > 0.75
