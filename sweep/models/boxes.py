"""Boxes: what torchvision.ops lacks of their arithmetic, and what the detectors share.

Boxes are x1 y1 x2 y2 in pixels of the network's input. torchvision is imported where it is used:
its import takes seconds, and a look-up of a backbone's name imports this package.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

EPSILON = 1e-7
"""Smallest area in square pixels that anything is divided by."""


def wanted_of(target: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the boxes (N, 4) and labels (N,) of an image that are to be found.

    Ignored ones are left out: to the loss, what they hold is background, as are COCO's crowds in
    the published training of all three detectors.
    """
    wanted = ~target["ignore"]
    return target["boxes"][wanted], target["labels"][wanted]


def cells_of(feature_map: Tensor) -> Tensor:
    """Return column and row (H W, 2), float32, of the cells of a map (B, C, H, W), row by row."""
    height, width = feature_map.shape[-2:]
    rows = torch.arange(height, device=feature_map.device, dtype=torch.float32)
    columns = torch.arange(width, device=feature_map.device, dtype=torch.float32)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([column, row], dim=-1).flatten(0, 1)


def around(centres: Tensor, sizes: Tensor) -> Tensor:
    """Return the boxes (..., 4) with these centres and sizes, both (..., 2) in x and y."""
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the overlap (N,) of each box (N, 4) with its partner (N, 4); 0 where both are empty.

    torchvision's ``box_iou`` has every pair, which is a matrix.
    """
    sides = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    common = sides.clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1)
    return common / (areas - common).clamp(min=EPSILON)


def suppressed(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    image_size: tuple[int, int],
    overlap: float,
    candidates: int,
    kept: int,
) -> dict[str, Tensor]:
    """Return the detections of one image after non-maximum suppression within each label.

    Args:
        boxes: (N, 4), of which some may reach out of the image; what is returned does not, and a
            box that lies outside, or is not finite, is left out.
        scores: (N,).
        labels: (N,).
        image_size: height and width, in pixels.
        overlap: IoU with a better box of its label above which a box is dropped.
        candidates: how many of the best scores take part.
        kept: how many are returned at most.

    Returns:
        boxes (M, 4), scores (M,) and labels (M,), best first.
    """
    from torchvision.ops import batched_nms, clip_boxes_to_image

    scores, best = scores.topk(min(candidates, len(scores)))
    boxes, labels = boxes[best], labels[best]
    left = batched_nms(boxes, scores, labels, overlap)
    clipped = clip_boxes_to_image(boxes[left], image_size)
    visible = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    left = left[visible][:kept]
    return {"boxes": clipped[visible][:kept], "scores": scores[left], "labels": labels[left]}
