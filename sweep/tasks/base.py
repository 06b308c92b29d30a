"""The contract between the training loop and a task.

The loop knows batches of (images, targets), one scalar loss and a meter. What a target is, how
samples become a batch, what is augmented how, and what is measured, only the task knows; a new
task therefore never touches the loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from sweep.data.base import Augmentation, StreamSplit

SampleTransform = Callable[[Any, Any], tuple[Any, Any]]
"""(PIL image, target) as a data set has them to (float (3, H, W), target) as ``collate`` takes
them; torchvision's transforms v2 are such, and leave a target alone that has no place in the
image."""


@dataclass(frozen=True)
class Metric:
    """One number a task measures."""

    name: str
    label: str
    """As a table prints it, with its unit ("Top-1 (%)")."""
    mode: Literal["max", "min"]
    scale: float = 1.0
    """From the stored value to the printed one (100 for a fraction printed in per cent)."""


class Meter(Protocol):
    """Sums up a metric over the batches of one pass."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Add one batch; must not synchronise with the device where it can be avoided.

        A loss it measures is without label smoothing, so that training and evaluation compare.
        """

    def compute(self) -> dict[str, float]:
        """Return {metric name: value} over all batches since construction."""


class Task(ABC):
    """One kind of problem.

    Args:
        num_classes: of the data set.
        label_smoothing: in [0, 1).
    """

    metrics: ClassVar[tuple[Metric, ...]]
    """What ``meter`` computes; the first one is compared unless a space names another."""

    def __init__(self, num_classes: int, *, label_smoothing: float = 0.0) -> None:
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing

    @classmethod
    def metric(cls, name: str) -> Metric:
        """Return a metric of the task, by its name."""
        return next(metric for metric in cls.metrics if metric.name == name)

    @abstractmethod
    def transform(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
        eval_crop: float = 1.0,
    ) -> SampleTransform:
        """Return the transform of one sample of a streamed split, image and target together.

        It draws from torch's global CPU generator only, which the loader seeds for each sample.

        Args:
            image_size: H and W of what is returned, in pixels.
            mean: per channel, of images in [0, 1].
            std: per channel, of images in [0, 1].
            augmentation: None for evaluation.
            eval_crop: share of the shorter side that evaluation looks at.
        """

    def compose(
        self, split: StreamSplit, image_size: int, augmentation: Augmentation
    ) -> StreamSplit:
        """Return the split that is trained on, whose samples may be made of several of ``split``.

        It draws like the transform, which gets its samples.
        """
        return split

    @abstractmethod
    def collate(self, samples: list[tuple[Any, Any]]) -> tuple[Tensor, Any]:
        """Return a batch of streamed samples: images float (B, 3, H, W), and their targets."""

    def augment(
        self, images: Tensor, targets: Any, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, Any]:
        """Augment a batch of a resident split, on its device, each image on its own.

        ``images`` is uint8 (B, 3, H, W); so is what is returned.

        Raises:
            NotImplementedError: all data sets of this task are streamed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no resident splits")

    def pieces(self, images: Tensor, targets: Any, count: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield a batch in up to ``count`` pieces, for gradient accumulation.

        None is a single image, unless the batch is: batch normalisation cannot train on one.
        """
        count = max(1, min(count, len(images) // 2))
        yield from zip(images.tensor_split(count), targets.tensor_split(count), strict=True)

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar with gradient."""

    @abstractmethod
    def meter(self, device: torch.device) -> Meter:
        """Return a fresh meter that lives on ``device``."""

    def training_meter(self, device: torch.device) -> Meter | None:
        """Return the meter of a pass of training; None if the trained loss is all it reports."""
        return self.meter(device)
