"""Photos with boxes: how the detection sets keep, split and stream them.

Below n is the number of boxes of one image.

    sample   (PIL image in RGB, target)
    target   boxes float32 (n, 4), x1 y1 x2 y2 in pixels of the photo, x to the right, y down;
             labels int64 (n,) from 0; ignore bool (n,); area float32 (n,) in pixels of the photo

A box that is to be ignored is never trained on, and whatever a detector finds in it is neither
right nor wrong. Where it covers objects of any class, its label is ANY_CLASS.

A box without width or height, or wholly outside its photo, is dropped; how many there were is
logged once per reading and kept in ``DetectionDataset.dropped_boxes``.
"""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import (
    Augmentation,
    Dataset,
    DatasetConfig,
    DatasetError,
    ImageSize,
    SplitName,
    StreamSplit,
    divide,
)
from sweep.data.labelled import FileSource, opened

if TYPE_CHECKING:
    from PIL.Image import Image

ANY_CLASS = -1
"""Label of a box to be ignored whatever the class."""

COLUMNS = 7
"""Of the boxes as they are read: x1, y1, x2, y2, label, ignore, area (NaN: that of the box)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedImage:
    """One image as its annotation describes it."""

    name: str
    """Of its file, relative to the folder of the data set."""
    size: tuple[int, int]
    """Width and height in pixels."""
    boxes: NDArray[np.float64]
    """(n, COLUMNS)"""


@dataclass(frozen=True)
class BoxPool:
    """Some images of a source, with their boxes.

    The boxes of all images of the source are columns of one length M, those of image i in the rows
    ``starts[i]`` to ``starts[i + 1]``: a list of objects for each image would be copied to every
    worker process, page by page, as its reference counts change.
    """

    source: FileSource
    numbers: NDArray[np.int64]
    """(N,) of the images, in the source."""
    starts: NDArray[np.int64]
    """(images of the source + 1,)"""
    boxes: NDArray[np.float32]
    """(M, 4)"""
    labels: NDArray[np.int64]
    """(M,)"""
    ignore: NDArray[np.bool_]
    """(M,)"""
    area: NDArray[np.float32]
    """(M,)"""
    dropped: int
    """Boxes of the source that were no boxes."""

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, positions: NDArray[np.int64]) -> BoxPool:
        """Return the images at some positions, in the order of this pool."""
        return replace(self, numbers=self.numbers[np.sort(positions)])

    def hold_out(self, size: float, *, seed: int, field: str) -> tuple[BoxPool, BoxPool]:
        """Return (the others, ``size`` images), drawn from all alike: an image has many labels.

        Args:
            size: a number of images, or a fraction below 1.
            seed: of the choice.
            field: what asked for it, for the message.

        Raises:
            DatasetError: there are not as many images.
        """
        from sklearn.model_selection import train_test_split

        try:
            others, held = train_test_split(np.arange(len(self)), test_size=size, random_state=seed)
        except ValueError as error:
            raise DatasetError(f"{field} (={size}) of {len(self)} images: {error}") from error
        return self.take(others), self.take(held)

    def trainable(self) -> BoxPool:
        """Return the images that have a box to train on."""
        ends = np.concatenate([[0], np.cumsum(~self.ignore)])  # boxes to train on, up to each row
        count = ends[self.starts[self.numbers + 1]] - ends[self.starts[self.numbers]]
        return self.take(np.flatnonzero(count))

    def target(self, position: int) -> dict[str, Tensor]:
        """Return the boxes of one image of this pool."""
        number = self.numbers[position]
        rows = slice(self.starts[number], self.starts[number + 1])
        columns: dict[str, NDArray[Any]] = {
            "boxes": self.boxes,
            "labels": self.labels,
            "ignore": self.ignore,
            "area": self.area,
        }
        return {name: torch.from_numpy(column[rows].copy()) for name, column in columns.items()}


class BoxSamples(TorchDataset[tuple["Image", dict[str, Tensor]]]):
    """The images and boxes of a pool, decoded when asked for."""

    def __init__(self, pool: BoxPool) -> None:
        self.pool = pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> tuple[Image, dict[str, Tensor]]:
        pool = self.pool
        return pool.source[int(pool.numbers[position])], pool.target(position)


class DetectionConfig(DatasetConfig):
    """Settings that the detection sets share."""

    image_size: ImageSize = 640
    """Height and width of the images that a model sees, in pixels."""


class DetectionDataset(Dataset):
    """Base of the detection sets: they read, it splits; normalised by ImageNet's statistics."""

    Config: ClassVar[type[DatasetConfig]] = DetectionConfig
    task = "detection"
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    stratified = False
    resident = False

    @property
    def augmentation(self) -> Augmentation:
        """What the ELA paper trains YOLOX-Nano with: a mosaic, scales of 0.5 to 1.5, no mixup.

        The probability of a mosaic is the one that YOLOX sets for its Nano; the colours change
        less than there.
        """
        return Augmentation(scale=(0.5, 1.5), flip=True, colour=0.2, mosaic=0.5)

    @abstractmethod
    def read(self) -> dict[SplitName, BoxPool]:
        """Return the splits that the files have.

        "train" and "test" are always there; where "val" is not, it is split off "train".
        """

    @cached_property
    def _read(self) -> dict[SplitName, BoxPool]:
        return self.read()

    @cached_property
    def pools(self) -> dict[SplitName, BoxPool]:
        """The three splits, before an image is decoded.

        Raises:
            MissingDatasetError: the files are not here.
            DatasetError: ``val_size`` or ``subset`` cannot be taken from the training images, or
                an annotation cannot be read.
        """
        return divide(self._read, self.config)

    @property
    def dropped_boxes(self) -> dict[SplitName, int]:
        """Boxes of the files that were no boxes, by split."""
        return {name: pool.dropped for name, pool in self._read.items()}

    def split(self, name: SplitName) -> StreamSplit:
        pool = self.pools[name]
        return StreamSplit(BoxSamples(pool), len(pool))


def gather(folder: Path, images: Iterable[AnnotatedImage]) -> BoxPool:
    """Return the images of a folder, without the boxes that are none.

    Raises:
        DatasetError: there is no image.
    """
    read = list(images)
    if not read:
        raise DatasetError(f"{folder}: a split has no image")
    rows = np.concatenate([image.boxes for image in read])  # (M, COLUMNS)
    owners = np.repeat(np.arange(len(read)), [len(image.boxes) for image in read])
    sizes = np.array([image.size for image in read], np.float64)[owners]  # (M, 2)
    sound = _is_box(rows, sizes)
    if not sound.all():
        logger.warning(
            "%s: %d of %d boxes are dropped, which have no width or height or lie outside their "
            "image; the first is of %s",
            folder, np.sum(~sound), len(rows), read[owners[~sound][0]].name,
        )  # fmt: skip
    rows, owners = rows[sound], owners[sound]
    boxes = rows[:, :4]
    extent = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return BoxPool(
        source=FileSource(folder, np.array([os.fsencode(image.name) for image in read])),
        numbers=np.arange(len(read)),
        starts=np.searchsorted(owners, np.arange(len(read) + 1)),
        boxes=boxes.astype(np.float32),
        labels=rows[:, 4].astype(np.int64),
        ignore=rows[:, 5].astype(bool),
        area=np.where(np.isnan(rows[:, 6]), extent, rows[:, 6]).astype(np.float32),
        dropped=int(np.sum(~sound)),
    )


def _is_box(rows: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (M,): whether a row has width and height, and a part of it in its image."""
    low, high = rows[:, :2], rows[:, 2:4]
    inside = np.minimum(high, sizes) > np.maximum(low, 0)  # NaN is not
    return np.asarray(((high > low) & inside).all(axis=1))


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image, from its header.

    Raises:
        CorruptImageError: it is no image, or is not there; the text names it.
    """
    with opened(path) as image:
        return image.size
