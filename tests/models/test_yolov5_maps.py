"""YOLOv5: decoding in closed form, matching by brute force, the loss by hand, there and back."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from sweep.models.yolov5_maps import YOLOv5Maps, decoded, level_terms, match
from tests.models.detection import Box, random_boxes, target

ANCHORS = {
    4: [(5, 6), (8, 14), (15, 11)],
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}
STRIDES = {3: (8, 16, 32), 4: (4, 8, 16, 32)}


def maps_of(height: int, width: int, num_classes: int, levels: int = 3) -> list[Tensor]:
    return [
        torch.zeros(1, 3 * (5 + num_classes), height // stride, width // stride)
        for stride in STRIDES[levels]
    ]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def expected_matches(box: Box, stride: int, height: int, width: int) -> set[tuple[int, int, int]]:
    """Anchor, column and row: each cell is asked whether it may answer for the box."""
    x1, y1, x2, y2 = box
    found = set()
    for anchor, (w, h) in enumerate(ANCHORS[stride]):
        factors = ((x2 - x1) / w, w / (x2 - x1), (y2 - y1) / h, h / (y2 - y1))
        if max(factors) >= 4:
            continue
        for column, row in product(range(width), range(height)):
            dx = (x1 + x2) / 2 / stride - column
            dy = (y1 + y2) / 2 / stride - row
            within = (0 <= dx < 1, 0 <= dy < 1)
            reached = (-0.5 < dx < 1.5, -0.5 < dy < 1.5)
            if any(within) and all(reached):
                found.add((anchor, column, row))
    return found


def test_decoding_in_closed_form() -> None:
    tx, ty, tw, th = 0.3, -1.2, 0.8, -0.4
    box = decoded(torch.tensor([tx, ty, tw, th]), torch.tensor([16.0, 30.0]), 8)
    x, y = 8 * (2 * sigmoid(tx) - 0.5), 8 * (2 * sigmoid(ty) - 0.5)
    w, h = 16 * (2 * sigmoid(tw)) ** 2, 30 * (2 * sigmoid(th)) ** 2
    expected = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    assert box.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("levels", [3, 4])
def test_a_detection_in_closed_form(levels: int) -> None:
    for number, stride in enumerate(STRIDES[levels]):
        for anchor, (w, h) in enumerate(ANCHORS[stride]):
            maps = [level - 20 for level in maps_of(448, 512, 2, levels)]
            cell = maps[number].view(3, 7, 448 // stride, 512 // stride)[anchor, :, 3, 5]
            cell[:] = torch.tensor([0, 0, 0, 0, logit(0.5), logit(0.75), logit(0.25)])
            (found,) = YOLOv5Maps(maps).detections()
            # At logits of 0 the middle of the cell, and the anchor itself.
            x, y = 5.5 * stride, 3.5 * stride
            box = (max(x - w / 2, 0), max(y - h / 2, 0), x + w / 2, min(y + h / 2, 448))
            assert found["boxes"].tolist() == [pytest.approx(box, abs=1e-3)] * 2
            assert found["scores"].tolist() == pytest.approx([0.375, 0.125])
            assert found["labels"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        # Centre (20, 12), the middle of the cell (2, 1) of stride 8: that cell alone.
        ((15, 6, 25, 18), {(2, 1)}),
        # Centre (18, 14): nearer to the left and to the lower neighbour.
        ((13, 8, 23, 20), {(2, 1), (1, 1), (2, 2)}),
        # Centre (21, 12): nearer to the right one, halfway between the upper and the lower one.
        ((16, 6, 26, 18), {(2, 1), (3, 1)}),
        # Centre (2, 2): there is no neighbour to the left or above.
        ((-3, -4, 7, 8), {(0, 0)}),
        # Centre (16, 8), the corner of four cells: its own, the left and the upper one.
        ((11, 2, 21, 14), {(2, 1), (1, 1), (2, 0)}),
    ],
)
def test_the_cells_of_a_box_by_hand(box: Box, cells: set[tuple[int, int]]) -> None:
    # Sides of 10 x 12 fit the first anchor, and the second (16 x 30) and third (33 x 23) too.
    found = match(torch.tensor([box]).float(), torch.tensor(ANCHORS[8]).float(), 8, 4, 6)
    for anchor in range(3):
        assert set(map(tuple, found.cells[found.anchors == anchor].tolist())) == cells
    assert expected_matches(box, 8, 4, 6) == {(a, *cell) for a in range(3) for cell in cells}


def test_anchors_fit_within_a_factor_of_four() -> None:
    def anchors(width: float, height: float) -> list[int]:
        box = torch.tensor([[20 - width / 2, 20 - height / 2, 20 + width / 2, 20 + height / 2]])
        found = match(box, torch.tensor(ANCHORS[8]).float(), 8, 5, 5)
        return sorted(set(found.anchors.tolist()))

    assert anchors(39, 51) == [0, 1, 2]  # 3.9 and 3.92 times 10 x 13
    assert anchors(41, 51) == [1, 2]
    assert anchors(39, 53) == [1, 2]
    assert anchors(5, 5) == [0]  # 30 / 5 and 33 / 5 are too much
    assert anchors(2, 2) == []
    assert anchors(0, 10) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_matching_by_brute_force(stride: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    height, width = 128 // stride, 192 // stride
    boxes = random_boxes(20, 128, 192, generator)
    boxes[10:] = boxes[10:].round()  # centres at the borders and the middles of cells
    found = match(boxes, torch.tensor(ANCHORS[stride]).float(), stride, height, width)
    triples = [
        (g, a, *cell)
        for g, a, cell in zip(
            found.truths.tolist(), found.anchors.tolist(), found.cells.tolist(), strict=True
        )
    ]
    expected = {
        (g, *place)
        for g, box in enumerate(boxes.tolist())
        for place in (
            expected_matches((box[0], box[1], box[2], box[3]), stride, height, width)
            if box[2] > box[0] and box[3] > box[1]
            else ()
        )
    }
    assert len(triples) == len(set(triples)) > 0
    assert set(triples) == expected


# The loss ---------------------------------------------------------------------------------------


def encoded(boxes: list[Box], labels: list[int], levels: int, num_classes: int = 3) -> YOLOv5Maps:
    """Maps in which every anchor that is asked for a box finds it, surely, and no other does."""
    maps = maps_of(128, 192, num_classes, levels)
    for level, stride in zip(maps, STRIDES[levels], strict=True):
        height, width = 128 // stride, 192 // stride
        anchored = level.view(3, 5 + num_classes, height, width)
        anchored[:, 4:] = -15
        for box, label in zip(boxes, labels, strict=True):
            x1, y1, x2, y2 = box
            for anchor, column, row in expected_matches(box, stride, height, width):
                w, h = ANCHORS[stride][anchor]
                cell = anchored[anchor, :, row, column]
                cell[0] = logit(((x1 + x2) / 2 / stride - column + 0.5) / 2)
                cell[1] = logit(((y1 + y2) / 2 / stride - row + 0.5) / 2)
                cell[2] = logit(math.sqrt((x2 - x1) / w) / 2)
                cell[3] = logit(math.sqrt((y2 - y1) / h) / 2)
                cell[4] = cell[5 + label] = 15
    return YOLOv5Maps(maps)


BOXES: list[Box] = [(10, 12, 26, 40), (70, 20, 160, 95)]


@pytest.mark.parametrize("levels", [3, 4])
def test_what_is_encoded_is_detected_and_has_hardly_a_loss(levels: int) -> None:
    maps = encoded(BOXES, [1, 2], levels)
    (found,) = maps.detections()
    order = found["boxes"][:, 0].argsort()
    torch.testing.assert_close(
        found["boxes"][order], torch.tensor(BOXES).float(), rtol=0, atol=1e-3
    )
    assert found["labels"][order].tolist() == [1, 2]
    assert maps.loss([target(BOXES, [1, 2])]) < 1e-5
    assert maps.loss([target(BOXES, [2, 1])]) > 0.01


@pytest.mark.parametrize(("levels", "balance"), [(3, (4.0, 1.0, 0.4)), (4, (4.0, 1.0, 0.25, 0.06))])
def test_the_loss_of_an_image_without_boxes_is_that_of_its_objectness(
    levels: int, balance: tuple[float, ...]
) -> None:
    maps = maps_of(128, 192, 3, levels)
    objects = 0.0
    for number, (level, weight) in enumerate(zip(maps, balance, strict=True)):
        level.view(3, 8, *level.shape[2:])[:, 4] = number  # another logit on each level
        objects += weight * math.log(1 + math.exp(number))
    loss = YOLOv5Maps(maps).loss([target()])
    area = 128 * 192 / 640**2
    assert loss.item() == pytest.approx(area * objects * 3 / levels, rel=1e-5)


def ciou(anchor: tuple[int, int], width: float, height: float) -> float:
    """CIoU of two boxes with one centre."""
    w, h = anchor
    common = min(w, width) * min(h, height)
    iou = common / (w * h + width * height - common)
    v = 4 / math.pi**2 * (math.atan(width / height) - math.atan(w / h)) ** 2
    return iou - v * v / (1 - iou + v)


def test_the_loss_of_one_box_in_closed_form() -> None:
    # In the middle of the cell (5, 3) of stride 32, and too wide for the other levels' anchors.
    box = (176 - 145, 112 - 72, 176 + 145, 112 + 72)  # 290 x 144
    matches = {s: expected_matches(box, s, 448 // s, 640 // s) for s in (8, 16, 32)}
    assert matches == {8: set(), 16: set(), 32: {(0, 5, 3), (1, 5, 3), (2, 5, 3)}}
    # At logits of 0 there are the anchors themselves, and BCE is log 2 whatever the target.
    located = sum(1 - ciou(anchor, 290, 144) for anchor in ANCHORS[32]) / 3
    area = 448 * 640 / 640**2
    expected = 0.05 * located + (area * 5.4 + 0.5 * 2 / 80) * math.log(2)
    loss = YOLOv5Maps(maps_of(448, 640, 2)).loss([target([box], [0])])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_target_of_the_objectness_is_the_best_overlap() -> None:
    # Two boxes with one centre, so that their matches are the same anchors.
    sizes = [(290, 144), (140, 84)]
    boxes = torch.tensor([(176 - w / 2, 112 - h / 2, 176 + w / 2, 112 + h / 2) for w, h in sizes])
    expected = torch.zeros(3, 14, 20)
    best = [max(ciou(anchor, *size) for size in sizes) for anchor in ANCHORS[32]]
    expected[:, 3, 5] = torch.tensor(best)
    assert [ciou(anchor, *sizes[1]) == b for anchor, b in zip(ANCHORS[32], best, strict=True)] == [
        True,
        False,
        False,
    ]
    for order in ([0, 1], [1, 0]):
        logits = torch.zeros(1, 3, 14, 20, 6, requires_grad=True)
        none = torch.zeros(2, dtype=torch.int64)
        (gradient,) = torch.autograd.grad(
            level_terms(logits, 32, none, boxes[order], none).objects, logits
        )
        # The gradient of the mean BCE is (probability - target) / count.
        targets = 0.5 - gradient[0, ..., 4] * gradient[0, ..., 4].numel()
        torch.testing.assert_close(targets, expected, rtol=0, atol=1e-4)
