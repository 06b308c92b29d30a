"""Targets of detection, written by hand, that tests of detectors share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Box = tuple[float, float, float, float]


def target(
    boxes: Sequence[Box] = (), labels: Sequence[int] = (), ignore: Sequence[bool] = ()
) -> dict[str, Tensor]:
    """The target of one image; nothing is ignored unless it is said."""
    b = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": b,
        "labels": torch.tensor(labels, dtype=torch.int64),
        "ignore": torch.tensor(ignore or [False] * len(b), dtype=torch.bool),
        "area": (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
    }


def random_boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Boxes (count, 4) inside an image, of sides from 4 pixels to all of it."""
    size = torch.tensor([width, height])
    sides = 4 * (size / 4) ** torch.rand((count, 2), generator=generator)
    start = torch.rand((count, 2), generator=generator) * (size - sides)
    return torch.cat([start, start + sides], dim=1)
