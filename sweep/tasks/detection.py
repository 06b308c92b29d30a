"""Object detection: boxes with a class and a score, average precision.

Below n is the number of boxes of one image, S the image size.

    outputs  what a detector returns: loss(targets), a scalar, and detections(), for each image
             boxes (N, 4), scores (N,), labels (N,); see sweep.models.base.Backbone.build
    targets  for each image of the batch
             boxes float32 (n, 4), x1 y1 x2 y2 in pixels of the network's input; labels int64 (n,);
             ignore bool (n,); area float32 (n,) in pixels of the photo; and
             scale float32 (2,), pixels of the input for one of the photo, in x and in y

Average precision is COCO's (T.-Y. Lin et al., arXiv:1405.0312): the mean over the classes, over 10
thresholds of the IoU from 0.5 to 0.95 and over 101 levels of recall. "Small", "medium" and "large"
are objects of up to 32^2, up to 96^2 and more pixels of the photo, whatever size the network sees.
VisDrone's own measure differs in that 500 detections of an image count, of all classes together.
A value is NaN where there is no object that it could be measured on.

Training follows YOLOX (arXiv:2107.08430) as the ELA paper sets it: in a share of the cases a mosaic
of four images, else one image at a random scale and place; a flip; changed colours; no mixup.

Deviations from YOLOX: an image that is no mosaic has a random scale and place as well; colours
change less, and in brightness, contrast and saturation; a mosaic is neither rotated nor sheared,
and its last epochs are like the others; the size of the input is not varied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import Augmentation, StreamSplit
from sweep.data.detection import ANY_CLASS
from sweep.errors import UserError
from sweep.registry import TASKS
from sweep.tasks.base import Meter, Metric, SampleTransform, Task

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = (114, 114, 114)
"""What lies beside a photo in the network's input."""
LEAST_SIDE, LEAST_SHARE = 1.0, 0.1
"""Of what a crop leaves of a box that is kept: its sides in pixels, and its share of the area."""
MOST_FOUND = 100
"""Detections of one class that count in an image, the best ones, as in COCO's measure."""

Target = dict[str, Tensor]


@TASKS.register("detection")
class Detection(Task):
    """Boxes with a class.

    Raises:
        UserError: ``label_smoothing`` is not 0.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("map", "AP (%)", "max", scale=100),
        Metric("map50", "AP50 (%)", "max", scale=100),
        Metric("map75", "AP75 (%)", "max", scale=100),
        Metric("map_small", "AP small (%)", "max", scale=100),
        Metric("map_medium", "AP medium (%)", "max", scale=100),
        Metric("map_large", "AP large (%)", "max", scale=100),
    )

    def __init__(self, num_classes: int, *, label_smoothing: float = 0.0) -> None:
        if label_smoothing:
            raise UserError(f"recipe.label_smoothing (={label_smoothing}) is not for detection")
        super().__init__(num_classes)

    def transform(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
        eval_crop: float = 1.0,
    ) -> SampleTransform:
        """Return the transform of a photo and its boxes, to float (3, S, S) and a target.

        The photo is fitted into the square; ``eval_crop`` has no use here: all of it is seen.
        """
        return _ToInput(image_size, mean, std, augmentation)

    def compose(
        self, split: StreamSplit, image_size: int, augmentation: Augmentation
    ) -> StreamSplit:
        return StreamSplit(_Composed(split, image_size, augmentation), len(split))

    def collate(self, samples: list[tuple[Any, Any]]) -> tuple[Tensor, list[Target]]:
        images, targets = zip(*samples, strict=True)
        return torch.stack(images), list(targets)

    def pieces(self, images: Tensor, targets: Any, count: int) -> Iterator[tuple[Tensor, Any]]:
        start = 0
        for piece, _ in super().pieces(images, torch.arange(len(images)), count):
            yield piece, targets[start : start + len(piece)]
            start += len(piece)

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the detector's loss of a batch; it waits for the device, as detectors do."""
        loss: Tensor = outputs.loss([_trained(target) for target in targets])
        return loss

    def meter(self, device: torch.device) -> Meter:
        return _PrecisionMeter(self.num_classes)

    def training_meter(self, device: torch.device) -> Meter | None:
        """Return None: average precision on batches of mosaics costs much and says little."""
        return None


def _trained(target: Target) -> Target:
    """Return the boxes that are not to be ignored."""
    kept = (~target["ignore"]).nonzero().squeeze(1)
    return {name: target[name][kept] for name in ("boxes", "labels", "ignore", "area")}


# Samples ------------------------------------------------------------------------------------------


class _ToInput:
    """Fits a photo into the square, flips it, changes its colours, and normalises it."""

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None,
    ) -> None:
        from torchvision.transforms import v2

        self.size = size
        self.flip = augmentation is not None and augmentation.flip
        steps: list[v2.Transform] = []
        if augmentation is not None and augmentation.colour:
            steps += [v2.ColorJitter(*[augmentation.colour] * 3)]
        self.pixels = v2.Compose(
            [
                *steps,
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),  # 0..255 -> 0..1
                v2.Normalize(mean, std),
            ]
        )

    def __call__(self, image: Image, target: Target) -> tuple[Tensor, Target]:
        image, target = letterbox(image, target, self.size)
        if self.flip and torch.rand(()) < 0.5:
            image, target = mirror(image, target)
        return self.pixels(image), target


class _Composed(TorchDataset[tuple["Image", Target]]):
    """Images (S, S) of one photo at a random scale and place, or of four.

    Without ``scale`` and ``mosaic`` a sample is the photo as it is.
    """

    def __init__(self, split: StreamSplit, size: int, augmentation: Augmentation) -> None:
        self.split, self.size, self.mosaic = split, size, augmentation.mosaic
        self.scale = augmentation.scale

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, number: int) -> tuple[Image, Target]:
        if self.mosaic and _uniform(0, 1) < self.mosaic:
            others = torch.randint(len(self.split), (3,)).tolist()
            low, high = self.scale or (1.0, 1.0)
            return self._of_four([number, *others], _uniform(low, high))
        image, target = self.split.samples[number]
        if self.scale is None:
            return image, target
        return self._of_one(image, target, _uniform(*self.scale))

    def _of_one(self, image: Image, target: Target, scale: float) -> tuple[Image, Target]:
        """Return a photo at a random place: all of it, or where it is too large, a part."""
        width, height = _fitted(image, self.size, scale)
        left, top = (round(_uniform(0, 1) * (self.size - side)) for side in (width, height))
        canvas = _canvas(self.size)
        placed = place(canvas, image, target, (left, top, left + width, top + height))
        return canvas, _left(placed, (left, top, left + width, top + height), self.size)

    def _of_four(self, numbers: list[int], scale: float) -> tuple[Image, Target]:
        """Return four photos, each with a corner at one point.

        The point is drawn as YOLOX does: in the inner half of a canvas of twice the size, of which
        the middle is then seen at ``scale``.
        """
        x, y = (round(self.size * (0.5 + scale * _uniform(-0.5, 0.5))) for _ in range(2))
        canvas = _canvas(self.size)
        parts = []
        for corner, number in enumerate(numbers):
            image, target = self.split.samples[number]
            width, height = _fitted(image, self.size, scale)
            left, top = x - width * (corner % 2 == 0), y - height * (corner < 2)
            area = (left, top, left + width, top + height)
            parts.append(_left(place(canvas, image, target, area), area, self.size))
        return canvas, {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def letterbox(image: Image, target: Target, size: int) -> tuple[Image, Target]:
    """Return a photo resized to fit into (size, size), in the middle, with grey beside it.

    The target has ``scale`` in addition; its boxes are as many as before.
    """
    width, height = _fitted(image, size, 1.0)
    left, top = (size - width) // 2, (size - height) // 2
    canvas = _canvas(size)
    placed = place(canvas, image, target, (left, top, left + width, top + height))
    scale = torch.tensor([width / image.width, height / image.height])
    return canvas, {**placed, "scale": scale}


def mirror(image: Image, target: Target) -> tuple[Image, Target]:
    """Return an image and its boxes with left and right exchanged."""
    from PIL.Image import Transpose

    left, top, right, bottom = target["boxes"].unbind(dim=1)
    boxes = torch.stack([image.width - right, top, image.width - left, bottom], dim=1)
    return image.transpose(Transpose.FLIP_LEFT_RIGHT), {**target, "boxes": boxes}


def place(canvas: Image, image: Image, target: Target, area: tuple[int, int, int, int]) -> Target:
    """Resize an image to an area of a canvas, which may reach beyond it; return its boxes there.

    Args:
        canvas: is painted on.
        image: in RGB.
        target: with the boxes in pixels of ``image``.
        area: left, top, right and bottom in pixels of the canvas.
    """
    from PIL.Image import Resampling

    left, top, right, bottom = area
    size = (right - left, bottom - top)
    resized = image if image.size == size else image.resize(size, Resampling.BILINEAR)
    canvas.paste(resized, (left, top))
    scale = torch.tensor([size[0] / image.width, size[1] / image.height]).repeat(2)
    return {**target, "boxes": target["boxes"] * scale + torch.tensor([left, top]).repeat(2)}


def _canvas(size: int) -> Image:
    import PIL.Image

    return PIL.Image.new("RGB", (size, size), GREY)


def _fitted(image: Image, size: int, scale: float) -> tuple[int, int]:
    """Return width and height of an image whose longer side is ``scale`` times ``size``."""
    factor = scale * size / max(image.size)
    return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def _left(target: Target, area: tuple[int, int, int, int], size: int) -> Target:
    """Return what is seen of the boxes: the part in the area and in (size, size), if it is enough.

    Boxes of which too little is seen are lost.
    """
    window = torch.tensor(
        [max(0, area[0]), max(0, area[1]), min(size, area[2]), min(size, area[3])]
    )
    boxes = target["boxes"]
    seen = torch.cat([boxes[:, :2].maximum(window[:2]), boxes[:, 2:].minimum(window[2:])], dim=1)
    sides = (seen[:, 2:] - seen[:, :2]).clamp(min=0)
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    kept = (sides > LEAST_SIDE).all(dim=1) & (sides.prod(dim=1) >= LEAST_SHARE * whole)
    return {name: column[kept] for name, column in {**target, "boxes": seen}.items()}


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


# Average precision --------------------------------------------------------------------------------


class _PrecisionMeter:
    """Keeps boxes in the memory of the host, and measures them at the end.

    ``update`` copies one tensor of detections and one of objects: it waits for the device, as
    suppression has already done for every image.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.images = 0
        self.found: list[NDArray[np.float64]] = []
        self.wanted: list[NDArray[np.float64]] = []

    @torch.no_grad()
    def update(self, outputs: Any, targets: Sequence[Target]) -> None:
        detections: list[Target] = outputs.detections()
        self.found.append(
            self._rows(
                [
                    [_in_photo(found["boxes"], target), found["scores"], found["labels"]]
                    for found, target in zip(detections, targets, strict=True)
                ]
            )
        )
        self.wanted.append(
            self._rows(
                [[_in_photo(t["boxes"], t), t["area"], t["labels"], t["ignore"]] for t in targets]
            )
        )
        self.images += len(targets)

    def compute(self) -> dict[str, float]:
        """Return the six values in [0, 1], or NaN where there is no object.

        Raises:
            ValueError: no batch was added.
        """
        if self.images == 0:
            raise ValueError("no batch was measured")
        return average_precision(
            np.concatenate(self.found), np.concatenate(self.wanted), self.num_classes
        )

    def _rows(self, images: list[list[Tensor]]) -> NDArray[np.float64]:
        """Return the columns of all images side by side, after a column with the image's number."""
        columns = [torch.column_stack([column.double() for column in image]) for image in images]
        numbers = np.repeat(np.arange(len(images)) + self.images, [len(c) for c in columns])
        return np.column_stack([numbers, torch.cat(columns).cpu().numpy()])


def _in_photo(boxes: Tensor, target: Target) -> Tensor:
    """Return boxes in pixels of the photo, up to where it lies: left, top, width, height."""
    boxes = boxes.double() / target["scale"].repeat(2)
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def average_precision(
    found: NDArray[np.float64], wanted: NDArray[np.float64], num_classes: int
) -> dict[str, float]:
    """Return COCO's average precision: in all, at two thresholds, and by the size of objects.

    Args:
        found: (N, 7), number of the image, left, top, width, height, score, label.
        wanted: (M, 8), the same up to the height, then area, label, whether to be ignored.
        num_classes: labels are 0 to this; ANY_CLASS is each of them.
    """
    curves = [
        _precision(found[found[:, 6] == label], wanted[np.isin(wanted[:, 6], (label, ANY_CLASS))])
        for label in range(num_classes)
    ]
    precision = np.stack(curves)  # (classes, 10 thresholds, 101 recalls, 4 sizes)
    return {
        "map": _mean(precision[..., 0]),
        "map50": _mean(precision[:, 0, :, 0]),
        "map75": _mean(precision[:, 5, :, 0]),
        "map_small": _mean(precision[..., 1]),
        "map_medium": _mean(precision[..., 2]),
        "map_large": _mean(precision[..., 3]),
    }


def _precision(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the precision of one class: (10 thresholds, 101 recalls, 4 sizes), -1 without objects.

    One class at a time: the library makes an object of every box, and an entry of every pair of an
    image and a class.
    """
    if wanted[:, 7].all():
        return np.full((10, 101, 4), -1.0)
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO()
    truth.dataset = {
        "images": [{"id": int(image)} for image in np.union1d(found[:, 0], wanted[:, 0])],
        "categories": [{"id": 0}],
        "annotations": [
            {
                "id": number,
                "image_id": int(image),
                "bbox": box,
                "area": area,
                "category_id": 0,
                "iscrowd": int(ignore),
            }
            # From 1: an object 0 means "no match" to the library.
            for number, (image, *box, area, _, ignore) in enumerate(wanted.tolist(), start=1)
        ],
    }
    truth.createIndex()
    of_class = found * [1, 1, 1, 1, 1, 1, 0]  # the label is that of the only category
    measure = COCOeval_faster(truth, truth.loadRes(of_class), "bbox")
    measure.params.maxDets = [MOST_FOUND]
    measure.evaluate()
    measure.accumulate()
    precision: NDArray[np.float64] = measure.eval["precision"][:, :, 0, :, 0]
    return precision


def _mean(precision: NDArray[np.float64]) -> float:
    """Return the mean where there are objects, which is where it is not -1."""
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else float("nan")
