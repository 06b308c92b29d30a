"""What YOLOX's head returns: its boxes, its loss with SimOTA, its detections (arXiv:2107.08430).

Below k = num_classes, A = cells of all levels, G = boxes of an image, n = candidate cells.

The loss of a batch is (5 (1 - IoU^2) of the positive cells + BCE of the objectness of all cells +
BCE of the classes of the positive cells), summed and divided by the number of positive cells. The
target of a positive cell's class is its IoU.

Deviations: there is no L1 loss, which the paper's code adds in its last epochs; sizes are capped
far above any image; the best 3000 cells take part in suppression; detections are clipped to the
image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.models.boxes import around, cells_of, paired_iou, suppressed, wanted_of

STRIDES = (8, 16, 32)
RADIUS = 2.5
"""Half the side of the square around a box's centre that may answer for it, in strides."""
NEAREST = 10
"""Cells whose overlaps, added up, say how many answer for a box; so the most that can."""
BOX_WEIGHT = 5.0
IOU_COST, OUTSIDE_COST = 3.0, 1e5
LARGEST = 10.0
"""Largest logarithm of a size in strides, so that nothing overflows."""
SCORE, OVERLAP, CANDIDATES, KEPT = 0.001, 0.65, 3000, 300
"""Of detections: lowest score, highest IoU within a class, most before and after suppression. The
paper's code has 0.01; a lower one only adds to the tail of the precision-recall curve."""


class Predictions(NamedTuple):
    """Of a batch of B images, at the cells of all levels."""

    boxes: Tensor
    """(B, A, 4) in pixels."""
    objects: Tensor
    """(B, A) logits."""
    classes: Tensor
    """(B, A, k) logits."""
    centres: Tensor
    """(A, 2) of the cells, in pixels."""
    strides: Tensor
    """(A,) of the cells' levels, in pixels."""


class Assignment(NamedTuple):
    """The P positive cells of one image."""

    cells: Tensor
    """(P,) of A, ascending."""
    truths: Tensor
    """(P,) of G: the box that each answers for."""
    overlaps: Tensor
    """(P,) of the predicted box with that box."""


class YOLOXMaps(tuple[Tensor, ...]):
    """One map (B, 5 + k, H/s, W/s) for each stride s of ``STRIDES``."""

    __slots__ = ()

    def predictions(self) -> Predictions:
        """Return what the maps mean, in float32."""
        raw = torch.cat([level.flatten(2) for level in self], dim=2).mT.float()  # (B, A, 5 + k)
        cells = [cells_of(level) for level in self]
        strides = torch.cat([c.new_full((len(c),), s) for c, s in zip(cells, STRIDES, strict=True)])
        corners = torch.cat(cells)
        scale = strides[:, None]
        boxes = around(
            (raw[..., :2] + corners) * scale, raw[..., 2:4].clamp(max=LARGEST).exp() * scale
        )
        return Predictions(boxes, raw[..., 4], raw[..., 5:], (corners + 0.5) * scale, strides)

    def loss(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the mean loss of a batch; see the header."""
        found = self.predictions()
        wanted = [wanted_of(target) for target in targets]
        assigned = [assign(found, image, *truth) for image, truth in enumerate(wanted)]
        images = torch.cat([torch.full_like(a.cells, image) for image, a in enumerate(assigned)])
        cells = torch.cat([a.cells for a in assigned])
        boxes = torch.cat([b[a.truths] for a, (b, _) in zip(assigned, wanted, strict=True)])
        labels = torch.cat([c[a.truths] for a, (_, c) in zip(assigned, wanted, strict=True)])
        overlaps = torch.cat([a.overlaps for a in assigned])

        objects = torch.zeros_like(found.objects)
        objects[images, cells] = 1
        classes = F.one_hot(labels, found.classes.shape[-1]) * overlaps[:, None]
        located = (1 - paired_iou(found.boxes[images, cells], boxes).square()).sum()
        detected = _bce(found.objects, objects)
        classified = _bce(found.classes[images, cells], classes)
        return (BOX_WEIGHT * located + detected + classified) / max(len(cells), 1)

    @torch.no_grad()
    def detections(self) -> list[dict[str, Tensor]]:
        """Return boxes (N, 4) in pixels, scores (N,) and labels (N,) of each image, best first.

        A cell finds one box, of its likeliest class; its score is that of object and class.
        """
        found = self.predictions()
        height, width = (STRIDES[0] * side for side in self[0].shape[-2:])
        probabilities, labels = found.classes.sigmoid().max(dim=2)
        scores = probabilities * found.objects.sigmoid()
        return [
            suppressed(
                boxes[likely],
                score[likely],
                label[likely],
                image_size=(height, width),
                overlap=OVERLAP,
                candidates=CANDIDATES,
                kept=KEPT,
            )
            for boxes, score, label, likely in zip(
                found.boxes, scores, labels, scores > SCORE, strict=True
            )
        ]


@torch.no_grad()
def assign(found: Predictions, image: int, truths: Tensor, labels: Tensor) -> Assignment:
    """Return the cells that answer for the boxes of an image, by SimOTA (section 2.1).

    The candidates are the cells with their centre in a box or in the square about its centre. A
    box gets as many of them as its best overlaps add up to, those of the least cost; a cell that
    several boxes get answers for the one of the least cost.

    Args:
        found: predictions for the batch.
        image: which of the batch.
        truths: (G, 4) boxes in pixels.
        labels: (G,).
    """
    from torchvision.ops import box_iou

    if len(truths) == 0:
        none = labels.new_zeros(0)
        return Assignment(none, none, truths.new_zeros(0))
    inside = _contain(truths, found.centres)  # (G, A)
    middles = (truths[:, None, :2] + truths[:, None, 2:]) / 2
    near = ((found.centres - middles).abs() < RADIUS * found.strides[:, None]).all(dim=2)
    candidates = (inside | near).any(dim=0).nonzero().squeeze(1)  # (n,)

    overlaps = box_iou(truths, found.boxes[image, candidates])  # (G, n)
    cost = (
        _class_cost(found.objects[image, candidates], found.classes[image, candidates], labels)
        - IOU_COST * (overlaps + 1e-8).log()
        + OUTSIDE_COST * ~(inside & near)[:, candidates]
    )
    most = min(NEAREST, len(candidates))
    counts = overlaps.topk(most).values.sum(dim=1).int().clamp(min=1)  # (G,)
    cheapest = cost.topk(most, largest=False).indices  # (G, most)
    taken = torch.arange(most, device=cost.device) < counts[:, None]
    chosen = torch.zeros_like(cost, dtype=torch.bool).scatter(1, cheapest, taken)

    contested = chosen.sum(dim=0) > 1
    owners = torch.where(contested, cost.argmin(dim=0), chosen.int().argmax(dim=0))
    positive = chosen.any(dim=0).nonzero().squeeze(1)
    owners = owners[positive]
    return Assignment(candidates[positive], owners, overlaps[owners, positive])


def _contain(boxes: Tensor, points: Tensor) -> Tensor:
    """Return which boxes (G, 4) have which points (A, 2) inside them: (G, A)."""
    after_start = (points > boxes[:, None, :2]).all(dim=2)
    return after_start & (points < boxes[:, None, 2:]).all(dim=2)


def _class_cost(objects: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """Return the BCE of the classes if a cell answered for a box: (G, n).

    It is that of all classes absent, with the one of the box exchanged: a matrix (G, n), where the
    sum over classes that it stands for would be (G, n, k).

    Args:
        objects: (n,) logits.
        classes: (n, k) logits.
        labels: (G,).
    """
    p = (classes.sigmoid() * objects.sigmoid()[:, None]).sqrt()
    present, absent = (-q.log().clamp(min=-100) for q in (p, 1 - p))  # as torch's BCE is clamped
    return (absent.sum(dim=1, keepdim=True) + (present - absent)[:, labels]).T


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
