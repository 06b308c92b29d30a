"""YOLOX: SimOTA by hand and by brute force, the loss in closed form, boxes there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from sweep.models.yolox_maps import Predictions, YOLOXMaps, assign
from tests.models.detection import Box, random_boxes, target

STRIDES = (8, 16, 32)


def maps_of(height: int, width: int, num_classes: int, fill: float = 0.0) -> list[Tensor]:
    return [
        torch.full((1, 5 + num_classes, height // stride, width // stride), fill)
        for stride in STRIDES
    ]


# Decoding ---------------------------------------------------------------------------------------

TRUTHS: list[tuple[Box, int, int, tuple[int, int]]] = [
    # Box, label, level, column and row of the cell that finds it.
    ((10, 9, 21, 25), 2, 0, (1, 2)),
    ((30, 20, 70, 52), 0, 1, (3, 2)),
    ((50, 2, 95, 60), 1, 2, (2, 1)),
]


def encoded() -> YOLOXMaps:
    """Maps in which each truth is found by one cell, surely, and nothing else is."""
    maps = maps_of(64, 96, 3)
    for level in maps:
        level[:, 2:4] = -3  # small boxes
        level[:, 4:] = -15
    for (x1, y1, x2, y2), label, level, (column, row) in TRUTHS:
        stride = STRIDES[level]
        cell = maps[level][0, :, row, column]
        cell[0] = (x1 + x2) / 2 / stride - column
        cell[1] = (y1 + y2) / 2 / stride - row
        cell[2] = math.log((x2 - x1) / stride)
        cell[3] = math.log((y2 - y1) / stride)
        cell[4] = cell[5 + label] = 15
    return YOLOXMaps(maps)


def truth() -> dict[str, Tensor]:
    return target([box for box, *_ in TRUTHS], [label for _, label, *_ in TRUTHS])


def test_what_is_encoded_is_detected() -> None:
    (found,) = encoded().detections()
    order = found["boxes"][:, 0].argsort()
    torch.testing.assert_close(found["boxes"][order], truth()["boxes"], rtol=0, atol=1e-4)
    assert found["labels"][order].tolist() == [2, 0, 1]
    assert found["scores"].min() > 0.999


def test_a_perfect_prediction_has_hardly_a_loss() -> None:
    assert encoded().loss([truth()]) < 1e-3
    moved = {**truth(), "boxes": truth()["boxes"] + torch.tensor([4.0, 0, 4, 0])}
    assert encoded().loss([moved]) > 1


def test_a_cell_finds_its_likeliest_class_with_the_product_of_both_probabilities() -> None:
    maps = maps_of(32, 32, 2, fill=-20.0)
    maps[2][0, :, 0, 0] = torch.tensor([0.5, 0.5, -1, -1, math.log(3), math.log(1 / 4), 0])
    (found,) = YOLOXMaps(maps).detections()
    assert found["scores"].tolist() == pytest.approx([0.75 * 0.5])
    assert found["labels"].tolist() == [1]
    half = 16 / math.e
    assert found["boxes"][0].tolist() == pytest.approx([16 - half, 16 - half, 16 + half, 16 + half])


# The loss ---------------------------------------------------------------------------------------


def test_the_loss_of_an_image_without_boxes_is_that_of_its_objectness() -> None:
    cells = 8 * 12 + 4 * 6 + 2 * 3
    assert YOLOXMaps(maps_of(64, 96, 3)).loss([target()]) == pytest.approx(cells * math.log(2))


def test_the_loss_of_one_positive_cell_in_closed_form() -> None:
    maps = maps_of(32, 32, 2)
    for level in maps[:2]:
        level[:, :2] = 100  # boxes far from the truth, so of no overlap
    maps[2][0, 2:4] = math.log(0.5)  # 16 x 16 pixels, and the centre
    maps[2][0, :2] = 0.5
    # Overlap of (8, 8, 24, 24) with a box of 16 x 12 inside it: 0.75; so one cell, and class 0.75.
    loss = YOLOXMaps(maps).loss([target([(8, 8, 24, 20)], [1])])
    cells, classes = 16 + 4 + 1, 2
    expected = 5 * (1 - 0.75**2) + cells * math.log(2) + classes * math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# SimOTA -----------------------------------------------------------------------------------------


def row_of_cells(boxes: list[Box], wrong: tuple[int, ...] = ()) -> Predictions:
    """Cells of stride 8 in a row, with centres at 4, 12, 20, ...; of class 0, but for some."""
    count = len(boxes)
    classes = torch.tensor([[[-6.0, 6.0] if i in wrong else [6.0, -6.0] for i in range(count)]])
    return Predictions(
        boxes=torch.tensor([boxes], dtype=torch.float32),
        objects=torch.zeros(1, count),
        classes=classes,
        centres=torch.tensor([[8.0 * i + 4, 4.0] for i in range(count)]),
        strides=torch.full((count,), 8.0),
    )


# Of (0, 0, 24, 8), which has the centres of cells 0, 1 and 2 inside, and 3 within 20 pixels.
WHOLE, THREE_QUARTERS, HALF, NOTHING = (0, 0, 24, 8), (0, 0, 18, 8), (0, 0, 12, 8), (50, 0, 58, 8)


@pytest.mark.parametrize(
    ("boxes", "cells", "overlaps"),
    [
        # 1 + 0.75 + 0.5 + 1 is 3.25, so 3 cells; the last one is outside of the box.
        ([WHOLE, THREE_QUARTERS, HALF, WHOLE, WHOLE], [0, 1, 2], [1, 0.75, 0.5]),
        # 0.75 + 0.75 + 0.5 is 2.
        ([HALF, THREE_QUARTERS, THREE_QUARTERS, NOTHING, WHOLE], [1, 2], [0.75, 0.75]),
        # 0.5 is 0, and no box is left without a cell.
        ([NOTHING, NOTHING, HALF, NOTHING, NOTHING], [2], [0.5]),
        # 2.5: of cells in the box there are enough.
        ([NOTHING, HALF, NOTHING, WHOLE, NOTHING], [1], [0.5]),
    ],
)
def test_how_many_cells_answer_for_a_box(
    boxes: list[Box], cells: list[int], overlaps: list[float]
) -> None:
    found = assign(row_of_cells(boxes), 0, torch.tensor([WHOLE]).float(), torch.tensor([0]))
    assert found.cells.tolist() == cells
    assert found.truths.tolist() == [0] * len(cells)
    assert found.overlaps.tolist() == pytest.approx(overlaps)


def test_the_class_decides_between_equal_boxes() -> None:
    boxes: list[Box] = [HALF, HALF, HALF, NOTHING, NOTHING]  # 1.5, so one cell
    one, label = torch.tensor([WHOLE]).float(), torch.tensor([0])
    assert assign(row_of_cells(boxes, wrong=(0, 2)), 0, one, label).cells.tolist() == [1]
    assert assign(row_of_cells(boxes, wrong=(0, 1)), 0, one, label).cells.tolist() == [2]


def test_a_contested_cell_answers_for_the_box_of_least_cost() -> None:
    # Both boxes hold all three cells; the middle one fits the first better, and the labels agree.
    truths = torch.tensor([(0, 0, 24, 8), (0, 0, 24, 16)]).float()
    boxes: list[Box] = [(0, 0, 24, 16), (0, 0, 24, 8), (100, 0, 101, 1)]
    # Overlaps: 0.5 and 1 of cell 0, 1 and 0.5 of cell 1: 1.5 for each, so one cell each.
    found = assign(row_of_cells(boxes), 0, truths, torch.tensor([0, 0]))
    assert found.cells.tolist() == [0, 1]
    assert found.truths.tolist() == [1, 0]
    # With cell 0 of the wrong class both boxes want cell 1, and the first has it.
    found = assign(row_of_cells(boxes, wrong=(0, 2)), 0, truths, torch.tensor([0, 0]))
    assert (found.cells.tolist(), found.truths.tolist()) == ([1], [0])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def simota(
    found: Predictions, truths: np.ndarray, labels: list[int]
) -> tuple[dict[int, int], np.ndarray]:
    """Cell to truth, in loops over boxes, cells and classes; and the overlaps."""
    boxes, centres, strides = (v.double().numpy() for v in (found.boxes[0], *found[3:]))
    objects, classes = (sigmoid(v[0].double().numpy()) for v in (found.objects, found.classes))
    overlap = box_iou(torch.tensor(truths), torch.tensor(boxes)).numpy()
    inside, near = np.zeros(overlap.shape, bool), np.zeros(overlap.shape, bool)
    for g, (x1, y1, x2, y2) in enumerate(truths):
        for a, (x, y) in enumerate(centres):
            inside[g, a] = x1 < x < x2 and y1 < y < y2
            reach = 2.5 * strides[a]
            near[g, a] = abs(x - (x1 + x2) / 2) < reach and abs(y - (y1 + y2) / 2) < reach
    candidates = [a for a in range(len(centres)) if inside[:, a].any() or near[:, a].any()]
    cost, wants = np.full(overlap.shape, np.inf), {}
    for g, label in enumerate(labels):
        for a in candidates:
            cost[g, a] = -3 * np.log(overlap[g, a] + 1e-8)
            cost[g, a] += 0 if inside[g, a] and near[g, a] else 1e5
            for c in range(classes.shape[1]):
                p = np.sqrt(classes[a, c] * objects[a])
                cost[g, a] -= np.log(p if c == label else 1 - p)
        best = sorted(overlap[g, candidates], reverse=True)[:10]
        count = max(int(sum(best)), 1)
        wants[g] = sorted(candidates, key=lambda a: cost[g, a])[:count]
    owner: dict[int, int] = {}
    for a in candidates:
        wanting = [g for g in wants if a in wants[g]]
        if len(wanting) == 1:
            owner[a] = wanting[0]
        elif wanting:
            owner[a] = int(cost[:, a].argmin())
    return owner, overlap


@pytest.mark.parametrize("seed", range(6))
def test_simota_by_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(m.shape, generator=generator) for m in maps_of(96, 128, 4)]
    for level in maps:
        level[:, 2:4] += 1  # larger boxes, so that many overlap
    found = YOLOXMaps(maps).predictions()
    truths = random_boxes(9, 96, 128, generator)
    labels = torch.randint(4, (9,), generator=generator)
    expected, overlap = simota(found, truths.double().numpy(), labels.tolist())
    assigned = assign(found, 0, truths, labels)
    assert len(expected) > 9
    assert dict(zip(assigned.cells.tolist(), assigned.truths.tolist(), strict=True)) == expected
    values = [overlap[g, a] for a, g in expected.items()]
    assert assigned.overlaps.tolist() == pytest.approx(values, abs=1e-5)


def test_a_box_outside_of_all_cells_has_none() -> None:
    found = assign(row_of_cells([WHOLE]), 0, torch.tensor([(500.0, 0, 510, 8)]), torch.tensor([0]))
    assert len(found.cells) == 0
