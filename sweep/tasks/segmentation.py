"""Semantic segmentation: one class per pixel, cross-entropy, mean intersection over union.

    outputs  (B, K, H, W)   one logit per class and pixel
    targets  (B, H, W)      int64, the class; 255 is ignored: neither trained on nor measured

Training follows VainF/DeepLabV3Plus-Pytorch, which section 4.4 of the ELA paper (arXiv:2403.01123)
names: a random scale, a random crop, a flip. The loss that is trained has label smoothing; the
metric "loss" is the plain cross-entropy per pixel, in training and in evaluation.

Deviations: evaluation sees the whole image, padded at the bottom and on the right to one size, as
DeepLab's own code does (at 513 pixels no image of VOC is resized); the results in VainF's README
are of the centre crop of an image enlarged to 513 pixels. What is padded is ignored and has the
mean colour; VainF pads with black, which it labels as background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.data.base import IGNORED, Augmentation
from sweep.registry import TASKS
from sweep.tasks.base import Meter, Metric, SampleTransform, Task

if TYPE_CHECKING:
    from PIL.Image import Image


@TASKS.register("segmentation")
class Segmentation(Task):
    """One class per pixel.

    A batch in pieces (``accumulate``) has the mean of the pieces' losses, by their images: it
    differs from that of the whole batch as far as the pieces differ in ignored pixels.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("miou", "Mean IoU (%)", "max", scale=100),
        Metric("pixel_accuracy", "Pixel accuracy (%)", "max", scale=100),
        Metric("loss", "Cross-entropy (nats)", "min"),
    )

    def transform(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
        eval_crop: float = 1.0,
    ) -> SampleTransform:
        """Return the transform of a photo and its mask, to float (3, H, W) and uint8 (1, H, W).

        ``eval_crop`` has no use here: every pixel is evaluated.
        """
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        # To 0 by the normalisation, but for rounding.
        fill = {tv_tensors.Image: [round(255 * value) for value in mean], tv_tensors.Mask: IGNORED}
        steps: list[Any] = []
        if augmentation is None:
            steps += [_Fit(image_size), _to_tensors, _Pad(image_size, fill)]
        else:
            low, high = augmentation.scale or (1.0, 1.0)
            crop = v2.RandomCrop(image_size, pad_if_needed=True, fill=fill)
            steps += [_RandomScale(low, high), _to_tensors, crop]
            if augmentation.flip:
                steps += [v2.RandomHorizontalFlip()]
        steps += [
            v2.ToDtype(torch.float32, scale=True),  # 0..255 -> 0..1, of the photo alone
            v2.Normalize(mean, std),
            v2.ToPureTensor(),
        ]
        composed: SampleTransform = v2.Compose(steps)
        return composed

    def collate(self, samples: list[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
        images, masks = zip(*samples, strict=True)
        return torch.stack(images), torch.cat(masks).long()

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean over the pixels that are not ignored; 0 where all of them are."""
        total = F.cross_entropy(
            outputs.float(),  # half precision would round the sum
            targets,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        counted: Tensor = (targets != IGNORED).sum()
        return total / counted.clamp(min=1)

    def meter(self, device: torch.device) -> Meter:
        return _SegmentationMeter(self.num_classes, device)


class _SegmentationMeter:
    """A confusion matrix on the device, with a cell more for the ignored pixels.

    A class that no pixel has and none was taken for is left out of the mean.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.cells = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)
        self.nats = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        classes = self.num_classes
        # Neither bincount nor a mask as an index: both wait for the device.
        cells = targets * classes + outputs.argmax(dim=1)  # (B, H, W)
        cells = torch.where(targets == IGNORED, classes**2, cells).flatten()
        self.cells.scatter_add_(0, cells, torch.ones_like(cells))
        self.nats += F.cross_entropy(
            outputs.float(), targets, ignore_index=IGNORED, reduction="sum"
        )

    def compute(self) -> dict[str, float]:
        """Return miou and pixel_accuracy in [0, 1], and loss.

        Raises:
            ValueError: no pixel was measured.
        """
        # Rows are the true classes, columns the predicted ones.
        matrix = self.cells[:-1].view(self.num_classes, self.num_classes).double().cpu()
        total = matrix.sum()
        if total == 0:
            raise ValueError("no pixel was measured")
        hits = matrix.diagonal()
        union = matrix.sum(dim=0) + matrix.sum(dim=1) - hits
        present = union > 0
        return {
            "miou": float((hits[present] / union[present]).mean()),
            "pixel_accuracy": float(hits.sum() / total),
            "loss": float(self.nats / total),
        }


@dataclass(frozen=True)
class _RandomScale:
    """Resizes both sides by one factor, drawn from a range."""

    low: float
    high: float

    def __call__(self, image: Image, mask: Image) -> tuple[Image, Image]:
        return _resize(image, mask, float(torch.empty(()).uniform_(self.low, self.high)))


@dataclass(frozen=True)
class _Fit:
    """Shrinks an image whose longer side is above ``size``; a mask shrinks with it."""

    size: int

    def __call__(self, image: Image, mask: Image) -> tuple[Image, Image]:
        return _resize(image, mask, min(1.0, self.size / max(image.size)))


def _resize(image: Image, mask: Image, factor: float) -> tuple[Image, Image]:
    """Return both resized by Pillow, which takes the nearest class at a pixel's centre."""
    from PIL.Image import Resampling

    width, height = (max(1, round(side * factor)) for side in image.size)
    if (width, height) == image.size:
        return image, mask
    return (
        image.resize((width, height), Resampling.BILINEAR),
        mask.resize((width, height), Resampling.NEAREST),
    )


def _to_tensors(image: Image, mask: Image) -> tuple[Tensor, Tensor]:
    """Return uint8 (3, H, W) and uint8 (1, H, W), of the types that v2 knows apart."""
    from torchvision import tv_tensors

    return tv_tensors.Image(image), tv_tensors.Mask(mask)


@dataclass(frozen=True)
class _Pad:
    """Pads at the bottom and on the right to a square of ``size``."""

    size: int
    fill: dict[Any, Any]

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        from torchvision.transforms import v2

        height, width = image.shape[-2:]
        padded: tuple[Tensor, Tensor] = v2.Pad(
            [0, 0, self.size - width, self.size - height], fill=self.fill
        )(image, mask)
        return padded
