"""YOLOF: uniform matching by brute force, roles by hand, boxes there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sweep.models.yolof_maps import (
    BACKGROUND,
    IGNORED,
    Pairs,
    YOLOFMaps,
    anchor_roles,
    uniform_match,
)
from tests.models.detection import random_boxes, target

SIDES = (32, 64, 128, 256, 512)


def maps_of(height: int, width: int, num_classes: int) -> YOLOFMaps:
    cells = (height // 32, width // 32)
    return YOLOFMaps(torch.zeros(1, 5 * num_classes, *cells), torch.zeros(1, 5 * 4, *cells))


def test_without_offsets_the_boxes_are_the_anchors() -> None:
    found = maps_of(64, 96, 2).predictions()
    expected = [
        (32 * column - side / 2, 32 * row - side / 2, 32 * column + side / 2, 32 * row + side / 2)
        for row in range(2)
        for column in range(3)
        for side in SIDES
    ]
    assert found.anchors.tolist() == [list(anchor) for anchor in expected]
    assert torch.equal(found.boxes[0], found.anchors)


def test_offsets_and_classes_belong_to_their_anchor() -> None:
    maps = maps_of(64, 96, 2)
    number = 1  # the anchor of 64 pixels, in the cell at column 2 and row 1
    maps.boxes[0, 4 * number : 4 * number + 4, 1, 2] = torch.tensor([0.25, -0.125, math.log(2), 0])
    maps.classes[0, 2 * number : 2 * number + 2, 1, 2] = torch.tensor([3.0, 4.0])
    found = maps.predictions()
    index = (1 * 3 + 2) * 5 + number
    assert found.boxes[0, index].tolist() == pytest.approx([80 - 64, 24 - 32, 80 + 64, 24 + 32])
    assert found.classes[0, index].tolist() == [3, 4]
    assert found.classes[0].count_nonzero() == 2


def test_a_centre_is_moved_by_a_stride_and_a_side_grows_sixtyfold_at_most() -> None:
    maps = maps_of(32, 32, 1)
    maps.boxes[0, 16:] = torch.tensor([9.0, -9.0, 9.0, -1.0])[:, None, None]
    x1, y1, x2, y2 = maps.predictions().boxes[0, 4].tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((32, -32), abs=0.01)
    assert (x2 - x1, y2 - y1) == pytest.approx((512 * 62.5, 512 / math.e))


# A box between four cells, which each of their anchors of 64 pixels can reach.
BOX = (81 - 32, 79 - 32, 81 + 32, 79 + 32)
CELLS = [(2, 2), (3, 2), (2, 3), (3, 3)]


def encoded() -> YOLOFMaps:
    maps = maps_of(192, 192, 3)
    maps.classes[:] = -15
    for column, row in CELLS:
        maps.boxes[0, 4, row, column] = (81 - 32 * column) / 64
        maps.boxes[0, 5, row, column] = (79 - 32 * row) / 64
        maps.classes[0, 3 + 2, row, column] = 15
    return maps


def test_what_is_encoded_is_detected() -> None:
    (found,) = encoded().detections()
    torch.testing.assert_close(found["boxes"], torch.tensor([BOX]).float(), rtol=0, atol=1e-4)
    assert found["labels"].tolist() == [2]
    assert found["scores"].item() > 0.999


def test_a_perfect_prediction_has_hardly_a_loss() -> None:
    assert encoded().loss([target([BOX], [2])]) < 1e-4
    assert encoded().loss([target([BOX], [1])]) > 1
    assert encoded().loss([target([(40, 40, 90, 90)], [2])]) > 0.5


def test_the_loss_of_an_image_without_boxes_is_that_of_its_background() -> None:
    anchors, num_classes = 6 * 5, 3
    each = 0.75 * 0.5**2 * math.log(2)  # 1 - alpha, (1 - p)^gamma, cross entropy
    loss = maps_of(64, 96, num_classes).loss([target()])
    assert loss.item() == pytest.approx(anchors * num_classes * each)


def test_the_loss_of_one_box_in_closed_form() -> None:
    # All predictions are their anchors, so both ways match the same four. The box is the one of
    # 64 pixels between four cells: by 15 or 17 pixels apart in x and in y.
    num_classes = 2
    loss = maps_of(192, 192, num_classes).loss([target([BOX], [1])])
    located = 0.0
    for dx in (15, 17):
        for dy in (15, 17):
            common = (64 - dx) * (64 - dy)
            union = 2 * 64**2 - common
            hull = (64 + dx) * (64 + dy)
            located += 2 * (1 - common / union + (hull - union) / hull)
    positive, negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    classified = 4 * positive + (36 * 5 * num_classes - 4) * negative
    assert loss.item() == pytest.approx((located + classified) / 4, rel=1e-5)


def distances(candidates: np.ndarray, truth: np.ndarray) -> list[float]:
    """The sums of differences in centre and size, in a loop."""

    def shape(box: np.ndarray) -> tuple[float, ...]:
        x1, y1, x2, y2 = box
        return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1

    return [
        sum(abs(a - b) for a, b in zip(shape(candidate), shape(truth), strict=True))
        for candidate in candidates
    ]


@pytest.mark.parametrize("seed", range(3))
def test_uniform_matching_by_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = maps_of(128, 192, 1)
    maps.boxes.normal_(std=0.3, generator=generator)
    found = maps.predictions()
    truths = random_boxes(7, 128, 192, generator)
    pairs = uniform_match(found.boxes[0], found.anchors, truths)
    assert len(pairs.anchors) == len(pairs.truths) == 7 * 8
    for g, truth in enumerate(truths.double().numpy()):
        matched = pairs.anchors[pairs.truths == g].tolist()
        ways = (matched[:4], found.boxes[0]), (matched[4:], found.anchors)
        for chosen, candidates in ways:
            apart = distances(candidates.double().numpy(), truth)
            assert len(set(chosen)) == 4
            # Not which ones: two anchors of one cell may be equally near to a long box.
            near = sorted(apart[index] for index in chosen)
            assert near == pytest.approx(sorted(apart)[:4], abs=1e-3)


def test_roles_by_hand() -> None:
    truths = torch.tensor([(0.0, 0, 10, 10), (20, 0, 30, 10)])
    predicted = torch.tensor(
        [
            (0.0, 0, 10, 10),  # matched with the first
            (0, 0, 10, 8),  # not matched, 0.8: ignored
            (0, 0, 10, 6),  # not matched, 0.6: background
            (50, 0, 60, 10),  # matched with the second, but its anchor hardly overlaps
            (20, 0, 30, 10),  # matched with both
            (70, 0, 80, 10),  # background
        ]
    )
    pairs = Pairs(torch.tensor([0, 3, 4, 4]), torch.tensor([0, 1, 0, 1]))
    overlaps = torch.tensor(
        [[0.15, 0], [0.9, 0], [0.9, 0], [0, 0.14], [0.2, 0.3], [0, 0]]  # of the anchors
    )
    roles = anchor_roles(predicted, pairs, overlaps, truths, torch.tensor([7, 5]))
    assert roles.tolist() == [7, IGNORED, BACKGROUND, IGNORED, 5, BACKGROUND]


def test_without_boxes_all_is_background() -> None:
    none = torch.zeros(0, 4)
    found = maps_of(32, 32, 1).predictions()
    pairs = uniform_match(found.boxes[0], found.anchors, none)
    roles = anchor_roles(found.boxes[0], pairs, torch.zeros(5, 0), none, torch.zeros(0).long())
    assert roles.tolist() == [BACKGROUND] * 5


def test_an_anchor_far_from_its_box_is_not_trained_on_it() -> None:
    # A box of 4 pixels overlaps no anchor by 0.15: neither positives nor a loss of boxes.
    tiny: Tensor = maps_of(64, 64, 1).loss([target([(30, 30, 34, 34)], [0])])
    empty: Tensor = maps_of(64, 64, 1).loss([target()])
    negative = 0.75 * 0.25 * math.log(2)
    assert (empty - tiny).item() == pytest.approx(4 * negative, rel=1e-5)  # four are left out
