"""Image classification: one label per image, cross-entropy, top-1 and top-5 accuracy.

    outputs  (B, K)   one logit per class
    targets  (B,)     int64, the class

The loss that is trained has label smoothing; the metric "loss" is the plain cross-entropy, in
training and in evaluation: so both compare, and so do trials with different smoothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.data.base import Augmentation
from sweep.registry import TASKS
from sweep.tasks.base import Meter, Metric, Task

if TYPE_CHECKING:
    from torchvision.transforms import v2


@TASKS.register("classification")
class Classification(Task):
    """One label per image."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("top1", "Top-1 (%)", "max", scale=100),
        Metric("top5", "Top-5 (%)", "max", scale=100),
        Metric("loss", "Cross-entropy (nats)", "min"),
    )

    def transform(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
        eval_crop: float = 1.0,
    ) -> v2.Transform:
        from torchvision.transforms import v2

        steps: list[v2.Transform] = []
        if augmentation is None:
            steps += [v2.Resize(round(image_size / eval_crop)), v2.CenterCrop(image_size)]
        elif augmentation.resized_crop:
            steps += [v2.RandomResizedCrop(image_size)]
        else:
            steps += [v2.Resize(image_size), v2.CenterCrop(image_size)]
        if augmentation is not None and augmentation.crop_padding:
            steps += [v2.RandomCrop(image_size, padding=augmentation.crop_padding)]
        if augmentation is not None and augmentation.flip:
            steps += [v2.RandomHorizontalFlip()]
        return v2.Compose(
            [
                *steps,
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),  # 0..255 -> 0..1
                v2.Normalize(mean, std),
            ]
        )

    def collate(self, samples: list[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(targets)

    def augment(
        self, images: Tensor, targets: Any, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, Any]:
        """Augment a batch of a resident split.

        Raises:
            ValueError: ``resized_crop`` is asked for; only streamed splits have it.
        """
        if augmentation.resized_crop:
            raise ValueError("resized_crop (=True) is for streamed splits, not for resident ones")
        if augmentation.crop_padding:
            images = random_crop(images, augmentation.crop_padding, generator)
        if augmentation.flip:
            images = random_flip(images, generator)
        return images, targets

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def meter(self, device: torch.device) -> Meter:
        return _ClassificationMeter(self.num_classes, device)


class _ClassificationMeter:
    """Sums on the device; with K < 5 classes, top5 is top-K: always 1."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.k = min(5, num_classes)
        self.count = 0
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)  # top-1, top-5, nats

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        logits = outputs.float()  # half precision would round the sum
        hits = logits.topk(self.k).indices == targets.unsqueeze(1)  # (B, k)
        nats = F.cross_entropy(logits, targets, reduction="sum")
        self.sums += torch.stack([hits[:, 0].sum(), hits.sum(), nats])
        self.count += len(targets)

    def compute(self) -> dict[str, float]:
        """Return top1 and top5 in [0, 1], and loss.

        Raises:
            ValueError: no batch was added.
        """
        if self.count == 0:
            raise ValueError("no batch was measured")
        top1, top5, nats = (self.sums / self.count).tolist()
        return {"top1": top1, "top5": top5, "loss": nats}


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad (B, C, H, W) with zeros and cut (H, W) out again, each image at a place of its own."""
    batch, channels, height, width = images.shape
    device = images.device
    offsets = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=device)
    rows = offsets[0] + torch.arange(height, device=device)  # (B, H)
    columns = offsets[1] + torch.arange(width, device=device)  # (B, W)
    return F.pad(images, (padding,) * 4)[
        torch.arange(batch, device=device).view(-1, 1, 1, 1),
        torch.arange(channels, device=device).view(-1, 1, 1),
        rows.view(batch, 1, height, 1),
        columns.view(batch, 1, 1, width),
    ]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of (B, C, H, W) left to right with probability 1/2."""
    heads = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(heads.view(-1, 1, 1, 1), images.flip(3), images)
