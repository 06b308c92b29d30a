"""What every detector's output keeps to: loss and detections for whatever there is in a batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sweep.models.yolof_maps import YOLOFMaps
from sweep.models.yolov5_maps import YOLOv5Maps
from sweep.models.yolox_maps import YOLOXMaps
from tests.models.detection import random_boxes, target

HEIGHT, WIDTH, CLASSES = 64, 96, 3

Build = Callable[[Sequence[Tensor]], Any]
SHAPES: dict[str, tuple[Build, int, list[tuple[int, int]]]] = {
    # How it is built, the most that it detects, and channels and stride of its maps.
    "yolox": (YOLOXMaps, 300, [(5 + CLASSES, s) for s in (8, 16, 32)]),
    "yolof": (lambda maps: YOLOFMaps(*maps), 100, [(5 * CLASSES, 32), (20, 32)]),
    "yolov5": (YOLOv5Maps, 300, [(3 * (5 + CLASSES), s) for s in (8, 16, 32)]),
    "yolov5_p2": (YOLOv5Maps, 300, [(3 * (5 + CLASSES), s) for s in (4, 8, 16, 32)]),
}


def maps_of(name: str, batch: int = 2, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        (scale * torch.randn((batch, c, HEIGHT // s, WIDTH // s), generator=generator))
        for c, s in SHAPES[name][2]
    ]


def build(name: str, maps: Sequence[Tensor]) -> Any:
    return SHAPES[name][0](maps)


def crowd(count: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    boxes = random_boxes(count, HEIGHT, WIDTH, generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return {**target(), "boxes": boxes, "labels": labels, "ignore": torch.zeros(count) > 0}


ONE = target([(10, 12, 40, 50)], [1])
TARGETS: dict[str, list[dict[str, Tensor]]] = {
    "one box": [ONE, target()],
    "no box": [target(), target()],
    "only ignored ones": [target([(0, 0, 9, 9)], [0], [True]), target()],
    "tiny": [target([(5, 5, 5.01, 5.01), (20, 20, 21, 20.5)], [0, 2]), ONE],
    "empty": [target([(5, 5, 5, 9), (30, 30, 30, 30)], [0, 2]), target()],
    "at the edge": [target([(90, 60, 96, 64), (0, 0, 96, 64)], [0, 0]), ONE],
    "outside": [target([(200, 200, 240, 230)], [0]), ONE],
    "twice the same": [target([(10, 12, 40, 50)] * 2, [1, 1]), ONE],
    "a crowd": [crowd(), crowd(200)],
}


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("scale", [1, 6e4])
@pytest.mark.parametrize("name", SHAPES)
def test_the_loss_and_its_gradient_are_finite(
    name: str, scale: float, targets: list[dict[str, Tensor]]
) -> None:
    maps = [m.requires_grad_() for m in maps_of(name, scale=scale)]
    loss = build(name, maps).loss(targets)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    for m in maps:
        assert m.grad is not None  # also where nothing is to be found
        assert m.grad.isfinite().all()


@pytest.mark.parametrize("name", SHAPES)
def test_a_step_along_the_gradient_lowers_the_loss(name: str) -> None:
    maps = [m.requires_grad_() for m in maps_of(name)]
    loss = build(name, maps).loss([crowd(5), ONE])
    gradients = torch.autograd.grad(loss, maps)
    norm = sum(g.square().sum() for g in gradients)
    assert norm > 0
    step = 0.01 * loss.item() / norm
    moved = [m.detach() - step * g for m, g in zip(maps, gradients, strict=True)]
    # By a hundredth, to first order.
    lower = build(name, moved).loss([crowd(5), ONE])
    assert 0.005 < 1 - (lower / loss).item() < 0.02


@pytest.mark.parametrize("name", SHAPES)
def test_ignored_boxes_do_not_matter(name: str) -> None:
    maps = build(name, maps_of(name, batch=1))
    more = target([(10, 12, 40, 50), (60, 10, 90, 40)], [1, 2], [False, True])
    assert torch.equal(maps.loss([more]), maps.loss([ONE]))
    trained = target([(10, 12, 40, 50), (60, 10, 90, 40)], [1, 2])
    assert not torch.equal(maps.loss([trained]), maps.loss([ONE]))


@pytest.mark.parametrize("name", SHAPES)
def test_the_loss_is_a_mean_over_the_batch(name: str) -> None:
    maps = maps_of(name, batch=1)
    once = build(name, maps).loss([crowd(6)])
    thrice = build(name, [torch.cat([m] * 3) for m in maps]).loss([crowd(6)] * 3)
    torch.testing.assert_close(thrice, once)


@pytest.mark.parametrize("name", SHAPES)
def test_images_belong_to_their_own_targets(name: str) -> None:
    maps = maps_of(name)
    swapped = [m.flip(0) for m in maps]
    one = build(name, maps).loss([crowd(6), ONE])
    torch.testing.assert_close(build(name, swapped).loss([ONE, crowd(6)]), one)
    assert not torch.isclose(build(name, swapped).loss([crowd(6), ONE]), one)


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_changed_and_all_is_repeatable(name: str) -> None:
    maps, targets = maps_of(name), [crowd(), ONE]
    kept = [m.clone() for m in maps], [{k: v.clone() for k, v in t.items()} for t in targets]
    output = build(name, maps)
    first, again = output.loss(targets), output.loss(targets)
    found, found_again = output.detections(), output.detections()
    assert torch.equal(first, again)
    for one, other in zip(found, found_again, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(torch.equal(m, k) for m, k in zip(maps, kept[0], strict=True))
    for truth, before in zip(targets, kept[1], strict=True):
        assert all(torch.equal(truth[key], before[key]) for key in before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SHAPES)
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    halves = [m.to(dtype).requires_grad_() for m in maps_of(name)]
    targets = [crowd(), ONE]
    expected = build(name, [m.float() for m in halves])
    with torch.autocast("cpu", dtype=dtype):
        loss = build(name, halves).loss(targets)
        found = build(name, halves).detections()
    assert torch.equal(loss, expected.loss(targets))
    for one, other in zip(found, expected.detections(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    loss.backward()
    assert all(m.grad is not None and m.grad.isfinite().all() for m in halves)


@pytest.mark.parametrize("name", SHAPES)
def test_detections_are_boxes_in_the_image_best_first(name: str) -> None:
    maps = [m.requires_grad_() for m in maps_of(name)]
    results = build(name, maps).detections()
    assert len(results) == 2
    for found in results:
        count = len(found["scores"])
        assert 0 < count <= SHAPES[name][1]
        assert found["boxes"].shape == (count, 4)
        assert found["boxes"].dtype == found["scores"].dtype == torch.float32
        assert found["labels"].dtype == torch.int64
        assert found["labels"].unique().tolist() == list(range(CLASSES))
        assert (found["scores"].diff() <= 0).all()
        assert (found["scores"] > 0).all()
        assert (found["scores"] <= 1).all()
        x1, y1, x2, y2 = found["boxes"].T
        assert ((x1 >= 0) & (x1 < x2) & (x2 <= WIDTH)).all()
        assert ((y1 >= 0) & (y1 < y2) & (y2 <= HEIGHT)).all()
        assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_detected_where_nothing_is_likely(name: str) -> None:
    for maps in ([m - 40 for m in maps_of(name)], [m * float("nan") for m in maps_of(name)]):
        for found in build(name, maps).detections():
            assert found["boxes"].shape == (0, 4)
            assert found["scores"].shape == found["labels"].shape == (0,)


def test_torchvision_is_not_imported_with_the_models() -> None:
    code = (
        "import sys, sweep.models.yolox, sweep.models.yolof, sweep.models.yolov5, "
        "sweep.models.deeplabv3\nprint('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
