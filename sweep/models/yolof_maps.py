"""What YOLOF's decoder returns: its boxes, its loss with uniform matching, its detections.

You Only Look One-level Feature (arXiv:2103.09460). Below k = num_classes, A = 5 anchors per cell,
N = A h w anchors of an image, G = its boxes.

A box is matched with the 4 anchors and the 4 predictions nearest to it (section 4.2), whatever its
size. The loss of a batch is (focal loss of the classes of the anchors + GIoU loss of the matched
pairs), summed and divided by the number of matched anchors.

Deviations: an anchor matched with several boxes is trained on the class of the one it overlaps
most, where the authors' code takes whichever was written last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.models.boxes import around, cells_of, suppressed, wanted_of

STRIDE = 32
SIDES = (32, 64, 128, 256, 512)
"""Of the anchors of a cell, squares, in pixels."""
MATCHES = 4
NEGATIVE_IGNORED, POSITIVE_IGNORED = 0.7, 0.15
"""An unmatched prediction that overlaps a box more than the first is not background; a matched
anchor that overlaps its box less than the second is not trained on it."""
CENTRE_SHIFT = 32.0
"""Most that a centre is moved from its anchor's, in pixels."""
LARGEST = math.log(1000 / 16)
"""Largest logarithm of a side relative to its anchor's."""
SCORE, OVERLAP, CANDIDATES, KEPT = 0.05, 0.6, 1000, 100
"""Of detections: lowest score, highest IoU within a class, most before and after suppression."""

BACKGROUND, IGNORED = -1, -2


class Predictions(NamedTuple):
    """Of a batch of B images, at their anchors: row by row, cell by cell, from small to large."""

    boxes: Tensor
    """(B, N, 4) in pixels."""
    classes: Tensor
    """(B, N, k) logits."""
    anchors: Tensor
    """(N, 4) in pixels."""


class Pairs(NamedTuple):
    """The 8 G matched pairs of one image; one that is matched both ways is there twice."""

    anchors: Tensor
    """(8 G,) of N."""
    truths: Tensor
    """(8 G,) of G."""


class YOLOFMaps(NamedTuple):
    """Logits of classes (B, A k, h, w) and offsets of anchors (B, 4 A, h, w)."""

    classes: Tensor
    boxes: Tensor

    def predictions(self) -> Predictions:
        """Return what the maps mean, in float32."""
        offsets, classes = (_by_anchor(level) for level in (self.boxes, self.classes))
        # Not at the middle of a cell: its features look at the pixels around its corner.
        centres = (STRIDE * cells_of(self.boxes)).repeat_interleave(len(SIDES), dim=0)
        sides = centres.new_tensor(SIDES).repeat(len(centres) // len(SIDES))[:, None]
        shift = (offsets[..., :2] * sides).clamp(-CENTRE_SHIFT, CENTRE_SHIFT)
        sizes = sides * offsets[..., 2:].clamp(max=LARGEST).exp()
        anchors = around(centres, sides.expand(-1, 2))
        return Predictions(around(centres + shift, sizes), classes, anchors)

    def loss(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the mean loss of a batch; see the header."""
        from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

        found = self.predictions()
        roles, images, anchors, boxes = [], [], [], []
        for image, (truths, labels) in enumerate(map(wanted_of, targets)):
            pairs = uniform_match(found.boxes[image], found.anchors, truths)
            overlaps = box_iou(found.anchors, truths)
            roles.append(anchor_roles(found.boxes[image], pairs, overlaps, truths, labels))
            trained = overlaps[pairs.anchors, pairs.truths] >= POSITIVE_IGNORED
            anchors.append(pairs.anchors[trained])
            boxes.append(truths[pairs.truths[trained]])
            images.append(torch.full_like(anchors[-1], image))

        role = torch.stack(roles)  # (B, N)
        chosen = found.boxes[torch.cat(images), torch.cat(anchors)]
        located = generalized_box_iou_loss(chosen, torch.cat(boxes), reduction="sum")
        num_classes = found.classes.shape[-1]
        wanted = F.one_hot(role.clamp(min=BACKGROUND) + 1, num_classes + 1)[..., 1:].float()
        used = role != IGNORED
        classified = sigmoid_focal_loss(found.classes[used], wanted[used], reduction="sum")
        total: Tensor = classified + located
        return total / (role >= 0).sum().clamp(min=1)

    @torch.no_grad()
    def detections(self) -> list[dict[str, Tensor]]:
        """Return boxes (N, 4) in pixels, scores (N,) and labels (N,) of each image, best first."""
        found = self.predictions()
        height, width = (STRIDE * side for side in self.boxes.shape[-2:])
        results = []
        for boxes, scores in zip(found.boxes, found.classes.sigmoid(), strict=True):
            anchors, labels = (scores > SCORE).nonzero(as_tuple=True)
            results.append(
                suppressed(
                    boxes[anchors],
                    scores[anchors, labels],
                    labels,
                    image_size=(height, width),
                    overlap=OVERLAP,
                    candidates=CANDIDATES,
                    kept=KEPT,
                )
            )
        return results


@torch.no_grad()
def uniform_match(boxes: Tensor, anchors: Tensor, truths: Tensor) -> Pairs:
    """Return the nearest predictions and anchors of each box, by the L1 distance.

    The distance is that of centre and size, in pixels.

    Args:
        boxes: (N, 4) predicted.
        anchors: (N, 4).
        truths: (G, 4).
    """
    from torchvision.ops import box_convert

    wanted = box_convert(truths, "xyxy", "cxcywh")
    nearest = [
        torch.cdist(wanted, box_convert(candidates, "xyxy", "cxcywh"), p=1)
        .topk(MATCHES, largest=False)
        .indices.flatten()
        for candidates in (boxes, anchors)
    ]
    owners = torch.arange(len(truths), device=truths.device).repeat_interleave(MATCHES)
    return Pairs(torch.cat(nearest), owners.repeat(2))


@torch.no_grad()
def anchor_roles(
    boxes: Tensor, pairs: Pairs, overlaps: Tensor, truths: Tensor, labels: Tensor
) -> Tensor:
    """Return what each anchor is trained on (N,): a label, ``BACKGROUND`` or ``IGNORED``.

    Args:
        boxes: (N, 4) predicted.
        pairs: that ``uniform_match`` returned.
        overlaps: (N, G) of anchors with boxes.
        truths: (G, 4).
        labels: (G,).
    """
    from torchvision.ops import box_iou

    roles = torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    if len(truths) == 0:
        return roles
    roles[box_iou(boxes, truths).amax(dim=1) > NEGATIVE_IGNORED] = IGNORED
    matched = torch.full_like(overlaps, -1)
    matched[pairs.anchors, pairs.truths] = overlaps[pairs.anchors, pairs.truths]
    best, owners = matched.max(dim=1)
    roles = torch.where(best >= 0, IGNORED, roles)
    return torch.where(best >= POSITIVE_IGNORED, labels[owners], roles)


def _by_anchor(level: Tensor) -> Tensor:
    """Return (B, A c, h, w) as (B, N, c), in float32."""
    batch, _, height, width = level.shape
    anchored = level.view(batch, len(SIDES), -1, height, width)
    return anchored.permute(0, 3, 4, 1, 2).flatten(1, 3).float()
