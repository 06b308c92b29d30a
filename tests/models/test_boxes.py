"""Arithmetic of boxes, against torchvision's and by hand; what is left after suppression."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from sweep.models.boxes import around, cells_of, paired_iou, suppressed, wanted_of
from tests.models.detection import random_boxes, target


def test_ignored_boxes_are_not_wanted() -> None:
    boxes, labels = wanted_of(
        target([(0, 0, 1, 1), (2, 2, 5, 5), (0, 0, 9, 9)], [4, 5, 6], [False, True, False])
    )
    assert boxes.tolist() == [[0, 0, 1, 1], [0, 0, 9, 9]]
    assert labels.tolist() == [4, 6]


def test_cells_are_column_and_row_row_by_row() -> None:
    cells = cells_of(torch.empty(2, 7, 2, 3))
    assert cells.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def test_around_is_torchvisions_conversion() -> None:
    values = torch.rand(3, 5, 4)
    torch.testing.assert_close(
        around(values[..., :2], values[..., 2:]), box_convert(values, "cxcywh", "xyxy")
    )


def test_paired_iou_is_the_diagonal_of_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (random_boxes(50, 40, 60, generator) for _ in range(2))
    expected = box_iou(one, other).diag()
    assert (expected > 0.1).any()
    assert (expected == 0).any()
    torch.testing.assert_close(paired_iou(one, other), expected)


def test_the_overlap_of_empty_boxes_is_0_and_so_is_its_gradient() -> None:
    empty = torch.tensor([[3.0, 4, 3, 4]], requires_grad=True)
    overlap = paired_iou(empty, torch.tensor([[3.0, 4, 3, 4]]))
    overlap.sum().backward()
    assert overlap.tolist() == [0]
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


def left(boxes: Any, scores: Any, labels: Any, **limits: Any) -> dict[str, Tensor]:
    arguments = {"image_size": (20, 30), "overlap": 0.5, "candidates": 10, "kept": 10, **limits}
    return suppressed(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
        **arguments,
    )


PAIR = [(0, 0, 10, 10), (0, 0, 10, 8)]  # their overlap is 0.8


def test_the_better_of_two_boxes_is_left() -> None:
    found = left(PAIR, [0.3, 0.6], [1, 1])
    assert found["boxes"].tolist() == [[0, 0, 10, 8]]
    assert found["scores"].tolist() == pytest.approx([0.6])
    assert found["labels"].tolist() == [1]


def test_boxes_of_other_labels_or_of_less_overlap_stay_best_first() -> None:
    assert left(PAIR, [0.3, 0.6], [1, 2])["labels"].tolist() == [2, 1]
    assert len(left(PAIR, [0.3, 0.6], [1, 1], overlap=0.85)["boxes"]) == 2


def test_boxes_end_at_the_image_and_those_outside_are_left_out() -> None:
    found = left(
        [(-5, -5, 5, 5), (25, 15, 99, 99), (40, 0, 50, 10), (float("nan"), 0, 1, 1)],
        [0.9, 0.8, 0.7, 0.6],
        [0, 0, 0, 0],
    )
    assert found["boxes"].tolist() == [[0, 0, 5, 5], [25, 15, 30, 20]]


def test_the_number_of_candidates_and_of_those_kept_is_limited() -> None:
    boxes = [(3 * i, 0, 3 * i + 2, 2) for i in range(6)]
    scores = [0.1, 0.6, 0.2, 0.5, 0.3, 0.4]
    assert left(boxes, scores, [0] * 6, kept=2)["scores"].tolist() == pytest.approx([0.6, 0.5])
    assert len(left(boxes, scores, [0] * 6, candidates=3)["boxes"]) == 3
    # Suppressed candidates are not replaced.
    assert len(left(PAIR + boxes[4:], [0.9, 0.8, 0.1, 0.1], [0] * 4, candidates=2)["boxes"]) == 1


def test_nothing_is_left_of_nothing() -> None:
    found = left([], [], [])
    assert [len(values) for values in found.values()] == [0, 0, 0]
    assert found["boxes"].shape == (0, 4)
    assert found["labels"].dtype == torch.int64
