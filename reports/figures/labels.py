"""Where the labels of a scatter plot go: beside their points, and clear of everything.

adjustText was tried first. It pushes labels apart but leaves overlaps where points crowd, which is
what attention modules do: they differ by a thousand parameters in eleven million. Here each label
takes the nearest place around its point that is free, or there is none and the caller makes room.

    boxes   (N, 4)   x0, y0, x1, y1 in pixels
    points  (N, 2)   x, y in pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIRECTIONS = 32
"""Around a point, in which a label may lie."""
DISTANCES = 24
"""From a point, at which a label may lie."""
LEADER_SAMPLES = 24
TOUCHING = 7
"""Typographic points from a point to its label, beyond which a leader joins them."""

NEARER = 0.75
"""Of the distance to any other point, that a label without a leader is from its own, if it can."""


@dataclass(frozen=True)
class Placed:
    """Where a label went."""

    box: Array
    """(4,)"""
    leader: Array | None
    """(2, 2), from the point to the label; None where the label touches its point."""


def place_labels(
    sizes: Sequence[tuple[float, float]],
    anchors: Array,
    obstacles: Array,
    frame: Array,
    unit: float,
) -> list[Placed] | None:
    """Return a free place for each label; None if there is none for one of them.

    Args:
        sizes: width and height of each label, in pixels.
        anchors: points (N, 2) that are labelled.
        obstacles: boxes that no label may touch.
        frame: box (4,) that labels stay in.
        unit: pixels of one typographic point; labels keep one from anything.
    """
    candidates = [_around(*pair, unit) for pair in zip(anchors, sizes, strict=True)]
    free = [
        _within(boxes, frame) & ~overlapping(_grown(boxes, unit), obstacles).any(axis=1)
        for boxes in candidates
    ]
    placed: dict[int, Placed] = {}
    taken = np.empty((0, 4))
    for index in np.argsort([mask.sum() for mask in free], kind="stable"):
        boxes = candidates[index][free[index]]
        boxes = boxes[~overlapping(_grown(boxes, unit), taken).any(axis=1)]
        boxes = boxes[np.argsort(_ambiguous(boxes, anchors, index, unit), kind="stable")]
        others = np.delete(anchors, index, axis=0)
        barriers = [p.box for p in placed.values()]
        leaders = [_samples(p.leader) for p in placed.values() if p.leader is not None]
        barriers += [box for samples in leaders for box in _grown(samples, 1.6 * unit)]
        barriers += list(_grown(np.concatenate([others, others], axis=1), 3 * unit))
        found = _first_reachable(boxes, anchors[index], barriers, unit)
        if found is None:
            return None
        placed[int(index)] = found
        taken = np.vstack([taken, found.box, *_leader_boxes(found)])
    return [placed[index] for index in range(len(placed))]


def spread_out(wanted: Array, gap: float, low: float, high: float) -> Array:
    """Return places along a line, a gap apart, with the least squared distance from the wanted.

    Less a gap for each place below it, the places only have to rise: that is isotonic regression.

    Args:
        wanted: (N,), in any order, which the places keep.
        gap: between two places.
        low: of the first place.
        high: of the last place; where there is no room, the places go beyond it.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    fitted = isotonic_regression(wanted[order] - steps).x
    places = np.empty(len(wanted))
    places[order] = fitted.clip(low, max(low, high - steps[-1])) + steps
    return places


def overlapping(boxes: Array, others: Array) -> NDArray[np.bool_]:
    """Return (N, M): whether box i overlaps other box j."""
    a, b = boxes[:, None, :], others[None, :, :]
    across = (a[..., 0] < b[..., 2]) & (b[..., 0] < a[..., 2])
    return across & (a[..., 1] < b[..., 3]) & (b[..., 1] < a[..., 3])


def _around(anchor: Array, size: tuple[float, float], unit: float) -> Array:
    """Return the boxes around a point, the nearest first, of these the right and left ones."""
    half = np.array(size) / 2
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    order = np.argsort(np.abs(np.sin(angles)) + 0.1 * (np.cos(angles) < 0), kind="stable")
    steps = unit * np.geomspace(4.0, 70.0, DISTANCES)
    directions = np.stack([np.cos(angles[order]), np.sin(angles[order])], axis=1)
    centres = anchor + (half + steps[:, None, None]) * directions
    flat = centres.reshape(-1, 2)
    return np.concatenate([flat - half, flat + half], axis=1)


def _first_reachable(
    boxes: Array, anchor: Array, barriers: list[Array], unit: float
) -> Placed | None:
    """Return the first box whose leader crosses nothing but what covers its own point."""
    closed = np.array(barriers).reshape(-1, 4)
    closed = closed[~overlapping(np.tile(anchor, 2)[None], closed)[0]]
    for box in boxes:
        leader = _leader(box, anchor, unit)
        if leader is None or not overlapping(_samples(leader), closed).any():
            return Placed(box, leader)
    return None


def _leader(box: Array, anchor: Array, unit: float) -> Array | None:
    end = np.clip(anchor, box[:2], box[2:])
    distance = float(np.hypot(*(end - anchor)))
    return np.stack([anchor, end]) if distance > TOUCHING * unit else None


def _ambiguous(boxes: Array, anchors: Array, index: int, unit: float) -> NDArray[np.bool_]:
    """Return whether boxes without a leader are about as near to another point as to their own."""
    ends = np.clip(anchors, boxes[:, None, :2], boxes[:, None, 2:])
    distances = np.hypot(*np.moveaxis(ends - anchors, -1, 0))
    own = distances[:, index]
    apart = np.hypot(*(anchors - anchors[index]).T) > unit
    nearest = distances[:, apart].min(axis=1, initial=np.inf)
    ambiguous: NDArray[np.bool_] = (own <= TOUCHING * unit) & (own > NEARER * nearest)
    return ambiguous


def _samples(leader: Array) -> Array:
    """Return boxes of no size along a leader."""
    share = np.linspace(0, 1, LEADER_SAMPLES)[:, None]
    along = leader[0] + share * (leader[1] - leader[0])
    return np.concatenate([along, along], axis=1)


def _leader_boxes(placed: Placed) -> list[Array]:
    return [] if placed.leader is None else [_samples(placed.leader)]


def _grown(boxes: Array, margin: float) -> Array:
    grown: Array = boxes + np.array([-margin, -margin, margin, margin])
    return grown


def _within(boxes: Array, frame: Array) -> NDArray[np.bool_]:
    lower, upper = boxes[:, :2] >= frame[:2], boxes[:, 2:] <= frame[2:]
    inside: NDArray[np.bool_] = lower[:, 0] & lower[:, 1] & upper[:, 0] & upper[:, 1]
    return inside
