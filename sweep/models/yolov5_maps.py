"""What YOLOv5's head returns: its boxes, its loss, its detections.

G. Jocher et al., YOLOv5 v6.0 (2021): its published anchors, matching, losses and constants, none
of its code; the anchors of stride 4 are those that TPH-YOLOv5 adds (arXiv:2108.11539). Below
k = num_classes, G = boxes of a batch, M = matches of a level.

A box is matched with the anchors whose width and height are within a factor of 4 of its own, at
the cell of its centre and at the nearer neighbour along x and along y; a centre may be predicted
up to half a stride outside its cell. On each level the loss is 0.05 (1 - CIoU) of the matches +
BCE of the objectness of all anchors, with their CIoU as the target, + 0.5 BCE of the classes of
the matches, each a mean; the levels are added up. The weights are for three levels, images of
640 x 640 and 80 classes: with four levels all are 3/4 of it, that of the objectness is in
proportion to the area of the image, and that of the classes to their number.

Deviations: the published training multiplies this loss by the number of images of a batch, which
its learning rates are for (nominally 64: lr 0.01 and weight decay 5e-4 there are lr 0.64 and 7.8e-6
here). A single class is trained and multiplied into the score; it is left out there. Of several
matches of one anchor, the best CIoU is the target of its objectness. Detections
are clipped to the image, and the best 3000 take part in suppression (30000 there).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.models.boxes import around, cells_of, suppressed, wanted_of

ANCHORS: Mapping[int, tuple[tuple[int, int], ...]] = {
    4: ((5, 6), (8, 14), (15, 11)),
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}
"""Stride to widths and heights, in pixels."""
BALANCE: Mapping[int, tuple[float, ...]] = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
"""Number of levels to weights of their objectness, the finest first."""
BOX_WEIGHT, OBJECT_WEIGHT, CLASS_WEIGHT = 0.05, 1.0, 0.5
LEVELS, IMAGE_SIDE, CLASSES = 3, 640, 80
"""What these weights are for."""
RATIO = 4.0
SMALLEST = 1e-4
"""Smallest side relative to its anchor's: that of an empty box has no ratio, and no gradient."""
SCORE, OVERLAP, CANDIDATES, KEPT = 0.001, 0.6, 3000, 300
"""Of detections: lowest score, highest IoU within a class, most before and after suppression."""


class Matches(NamedTuple):
    """The M pairs of a box and an anchor of one level."""

    truths: Tensor
    """(M,) of G."""
    anchors: Tensor
    """(M,) of the anchors of a cell."""
    cells: Tensor
    """(M, 2) column and row."""


class Terms(NamedTuple):
    """Parts of the loss, scalars, without weights."""

    box: Tensor
    objects: Tensor
    classes: Tensor


class YOLOv5Maps(tuple[Tensor, ...]):
    """One map (B, 3 (5 + k), H/s, W/s) for each stride s, the finest first, to 32."""

    __slots__ = ()

    def levels(self) -> Iterator[tuple[int, Tensor]]:
        """Yield stride and logits (B, 3, H/s, W/s, 5 + k) of each level, in float32."""
        finest = 6 - len(self)
        for level, feature_map in enumerate(self, start=finest):
            stride = 2**level
            batch, _, height, width = feature_map.shape
            anchored = feature_map.view(batch, len(ANCHORS[stride]), -1, height, width)
            yield stride, anchored.permute(0, 1, 3, 4, 2).float()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        height, width = self[-1].shape[-2:]
        return 32 * height, 32 * width

    def loss(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the mean loss of a batch; see the header."""
        wanted = [wanted_of(target) for target in targets]
        boxes = torch.cat([truths for truths, _ in wanted])
        labels = torch.cat([classes for _, classes in wanted])
        images = torch.cat([torch.full_like(c, image) for image, (_, c) in enumerate(wanted)])
        terms = [
            level_terms(logits, stride, images, boxes, labels) for stride, logits in self.levels()
        ]
        box, objects, classes = (torch.stack(parts) for parts in zip(*terms, strict=True))
        balance = objects.new_tensor(BALANCE[len(self)])
        height, width = self.image_size
        num_classes = self[0].shape[1] // 3 - 5
        return (
            BOX_WEIGHT * box.sum()
            + OBJECT_WEIGHT * (height * width / IMAGE_SIDE**2) * (balance * objects).sum()
            + CLASS_WEIGHT * (num_classes / CLASSES) * classes.sum()
        ) * (LEVELS / len(self))

    @torch.no_grad()
    def detections(self) -> list[dict[str, Tensor]]:
        """Return boxes (N, 4) in pixels, scores (N,) and labels (N,) of each image, best first.

        An anchor finds a box of each class whose score, that of object and class, is high enough.
        """
        boxes, scores = [], []
        for (stride, logits), feature_map in zip(self.levels(), self, strict=True):
            corners = stride * cells_of(feature_map).view(*feature_map.shape[-2:], 2)
            sizes = corners.new_tensor(ANCHORS[stride])[:, None, None]
            from_corner = decoded(logits[..., :4], sizes, stride)
            boxes.append((from_corner + corners.repeat(1, 1, 2)).flatten(1, 3))
            probabilities = logits[..., 4:].sigmoid()
            scores.append((probabilities[..., 1:] * probabilities[..., :1]).flatten(1, 3))
        results = []
        for found, score in zip(torch.cat(boxes, 1), torch.cat(scores, 1), strict=True):
            anchors, labels = (score > SCORE).nonzero(as_tuple=True)
            results.append(
                suppressed(
                    found[anchors],
                    score[anchors, labels],
                    labels,
                    image_size=self.image_size,
                    overlap=OVERLAP,
                    candidates=CANDIDATES,
                    kept=KEPT,
                )
            )
        return results


def decoded(logits: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """Return boxes (..., 4) in pixels from the corners of their cells.

    Args:
        logits: (..., 4) of centre and size.
        anchors: (..., 2) width and height, in pixels.
        stride: of the level, in pixels.
    """
    centres = stride * (2 * logits[..., :2].sigmoid() - 0.5)
    factors = (2 * logits[..., 2:].sigmoid()).square().clamp(min=SMALLEST)
    return around(centres, anchors * factors)


@torch.no_grad()
def match(boxes: Tensor, anchors: Tensor, stride: int, height: int, width: int) -> Matches:
    """Return which anchors answer for which boxes on a level; see the header.

    Args:
        boxes: (G, 4) in pixels.
        anchors: (A, 2) width and height, in pixels.
        stride: of the level, in pixels.
        height: of the level, in cells.
        width: of the level, in cells.
    """
    ratios = (boxes[:, None, 2:] - boxes[:, None, :2]) / anchors  # (G, A, 2)
    similar = torch.maximum(ratios, 1 / ratios).amax(dim=2) < RATIO  # no empty box is
    truths, kinds = similar.nonzero(as_tuple=True)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / (2 * stride))[truths]
    own = centres.floor()
    step = (centres - own - 0.5).sign()  # to the nearer neighbour; 0 halfway between both
    along = torch.diag_embed(step)  # (., 2, 2): a step along x, and one along y
    cells = torch.cat([own[:, None], own[:, None] + along], dim=1)  # (., 3, 2)
    valid = ((cells >= 0) & (cells < cells.new_tensor([width, height]))).all(dim=2)
    valid[:, 1:] &= step != 0
    pairs, which = valid.nonzero(as_tuple=True)
    return Matches(truths[pairs], kinds[pairs], cells[pairs, which].long())


def level_terms(
    logits: Tensor, stride: int, images: Tensor, boxes: Tensor, labels: Tensor
) -> Terms:
    """Return the parts of the loss on one level.

    Args:
        logits: (B, 3, h, w, 5 + k).
        stride: of the level, in pixels.
        images: (G,) of B: the image that each box is in.
        boxes: (G, 4) in pixels.
        labels: (G,).
    """
    from torchvision.ops import complete_box_iou_loss

    sizes = logits.new_tensor(ANCHORS[stride])
    truths, anchors, cells = match(boxes, sizes, stride, *logits.shape[2:4])
    place = (images[truths], anchors, cells[:, 1], cells[:, 0])
    found = logits[place]  # (M, 5 + k)
    # From the corners of the cells, so that large coordinates cost small boxes no precision.
    wanted = boxes[truths] - stride * cells.repeat(1, 2)
    losses = complete_box_iou_loss(decoded(found[:, :4], sizes[anchors], stride), wanted)
    overlaps = (1 - losses.detach()).clamp(min=0)
    objects = _best_at(place, overlaps, logits.shape[:-1])
    classes = F.one_hot(labels[truths], logits.shape[-1] - 5).float()
    return Terms(
        box=losses.sum() / max(len(losses), 1),
        objects=F.binary_cross_entropy_with_logits(logits[..., 4], objects),
        classes=_bce_of_matches(found[:, 5:], classes),
    )


def _best_at(place: tuple[Tensor, ...], values: Tensor, shape: torch.Size) -> Tensor:
    """Return the largest of the values (M,) at each place of a tensor, 0 where there is none."""
    flat = torch.zeros_like(place[0])
    for index, size in zip(place, shape, strict=True):
        flat = flat * size + index
    return values.new_zeros(shape.numel()).scatter_reduce(0, flat, values, "amax").view(shape)


def _bce_of_matches(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean over matches and classes; 0 without a match."""
    total = F.binary_cross_entropy_with_logits(logits, classes, reduction="sum")
    return total / max(logits.numel(), 1)
