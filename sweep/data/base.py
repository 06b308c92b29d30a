"""What every data set has: a Config, a place on disk, and three splits.

Validation is split off training by a fixed seed and chooses (the epoch, the hyperparameters); the
test split is evaluated once, at the end of a trial.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sweep.errors import UserError

SplitName = Literal["train", "val", "test"]

RESIDENT_PIXELS = 64
"""Largest image size at which a split is decoded once and lives on the device."""

IGNORED = 255
"""Class number of the pixels of a mask that are neither trained on nor evaluated."""

Images = Annotated[PositiveInt, Field(le=10**9)]
"""A number of images; no data set has as many as may be asked for."""

ValSize = Images | Annotated[float, Field(gt=0, lt=1)]
"""A number of images, or a fraction."""


class MissingDatasetError(UserError, FileNotFoundError):
    """The files of a data set are not here; its text says where it looked, in one line."""


class DatasetError(UserError, ValueError):
    """Settings that a data set cannot satisfy, or files it cannot read; its text names them."""


@dataclass(frozen=True)
class Augmentation:
    """What a data set's standard augmentation does to a training image, in this order."""

    crop_padding: int = 0
    """Pixels of zero padding before a random crop of the original size; 0 means no crop."""
    resized_crop: bool = False
    """Random area (8 to 100 %) and aspect ratio, resized to the image size."""
    flip: bool = False
    """Horizontal flip with probability 1/2."""
    scale: tuple[float, float] | None = None
    """Range of the factor that both sides are resized by, before a random crop of the image size;
    of tasks whose targets have a place in the image. In detection, 1 fits the photo into it."""
    colour: float = 0.0
    """Largest relative change of brightness, contrast and saturation; of detection."""
    mosaic: float = 0.0
    """Probability that an image is put together of four; of detection."""


@dataclass(frozen=True)
class TensorSplit:
    """A split that is small enough to live on the device.

    images: uint8 (N, 3, H, W); targets: int64 (N,).
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class StreamSplit:
    """A split that is read and decoded by worker processes.

    samples yields (PIL image in RGB, target); targets are not decoded to be counted.
    """

    samples: TorchDataset[tuple[Any, Any]]
    length: int

    def __len__(self) -> int:
        return self.length


Split = TensorSplit | StreamSplit


ImageSize = Annotated[int, Field(ge=1, le=4096)]
"""Side of an image in pixels."""


LONGEST_NAME = 255
"""Bytes of the name of a file or folder, on every common file system."""


def _of_names(root: str) -> str:
    """Return a root whose parts can be names of folders.

    Raises:
        ValueError: one is too long.
    """
    for name in root.split("/"):
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise ValueError(f"has a name of more than {LONGEST_NAME} bytes in it")
    return root


Root = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_of_names)]
"""A folder, absolute or not; "." is the folder that others are relative to."""


class DatasetConfig(BaseModel):
    """Base of the settings of one data set: frozen, keyword-only, strictly typed."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    root: Root | None = None
    """Folder that holds the files; where it lies does not determine a result."""
    image_size: ImageSize = 32
    """Height and width of the images that a model sees, in pixels."""
    val_size: ValSize = 0.1
    """Validation images split off training: a number, or a fraction of the training split."""
    split_seed: Annotated[NonNegativeInt, Field(lt=2**32)] = 0
    """Of the split into training and validation, and of ``subset``; not the seed of a trial."""
    subset: Images | None = None
    """Keep only this many training images (stratified), after validation was split off."""


class Pool(Protocol):
    """Some images of a data set, which can be divided without decoding one."""

    def __len__(self) -> int:
        """Return how many images there are."""

    def hold_out(self, size: float, *, seed: int, field: str) -> tuple[Self, Self]:
        """Return (the others, ``size`` images): a number of images, or a fraction below 1.

        Raises:
            DatasetError: they cannot be taken; the text names ``field``, which asked for them.
        """


AnyPool = TypeVar("AnyPool", bound=Pool)


def divide(given: Mapping[SplitName, AnyPool], config: DatasetConfig) -> dict[SplitName, AnyPool]:
    """Return train, val and test: "val" is split off "train" where it is not given.

    Raises:
        DatasetError: ``val_size`` or ``subset`` cannot be taken from the training images.
    """
    pools = dict(given)
    if "val" not in pools:
        pools["train"], pools["val"] = pools["train"].hold_out(
            config.val_size, seed=config.split_seed, field="dataset.val_size"
        )
    if config.subset is not None and config.subset != len(pools["train"]):
        _, pools["train"] = pools["train"].hold_out(
            config.subset, seed=config.split_seed, field="dataset.subset"
        )
    return pools


class Dataset(ABC):
    """Base of all data sets.

    Args:
        config: settings; reading starts with the first call of ``split``.
    """

    Config: ClassVar[type[DatasetConfig]]
    task: ClassVar[str] = "classification"
    mean: ClassVar[tuple[float, float, float]]
    """Of the training images in [0, 1], per channel."""
    std: ClassVar[tuple[float, float, float]]

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the data set with the settings of a trial or a search space.

        Raises:
            pydantic.ValidationError: (a ValueError) an unknown field, a wrong type or value.
        """
        return cls(cls.Config.model_validate(settings))

    @property
    @abstractmethod
    def augmentation(self) -> Augmentation:
        """The standard augmentation of training images at this image size."""

    @property
    def eval_crop(self) -> float:
        """Share of an image's shorter side that evaluation of a streamed split looks at."""
        return 1.0

    @property
    def resident(self) -> bool:
        """Whether ``split`` gives a TensorSplit, which needs no worker processes."""
        return self.config.image_size <= RESIDENT_PIXELS

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes.

        Raises:
            MissingDatasetError: it can only be told from the files, and they are not here.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, by their number; the numbers, where there are no names.

        Raises:
            MissingDatasetError: it can only be told from the files, and they are not here.
        """
        return tuple(map(str, range(self.num_classes)))

    @property
    def published_train_images(self) -> int | None:
        """Images of the training split as published; None if only the files can tell."""
        return None

    stratified: ClassVar[bool] = True
    """Whether validation and ``subset`` are drawn class by class; else from all images alike."""

    @property
    def train_images(self) -> int | None:
        """Training images of an epoch, without reading a file; None if only the files can tell.

        Raises:
            DatasetError: ``val_size`` or ``subset`` is more than there is.
        """
        total = self.published_train_images
        if total is None:
            return None
        held = self.held_out(total)
        return self.config.subset or total - held

    def held_out(self, total: int) -> int:
        """Return how many of ``total`` training images are split off for validation.

        Raises:
            DatasetError: ``val_size`` or ``subset`` is more than there is.
        """
        config = self.config
        fraction = config.val_size < 1
        held = math.ceil(config.val_size * total) if fraction else int(config.val_size)
        least = self.num_classes if self.stratified else 1
        if not least <= held < total:
            each = f" for each of {least} classes" if self.stratified else ""
            raise DatasetError(
                f"dataset.val_size (={config.val_size}) of {total} training images: at least one"
                f"{each}, and fewer than all"
            )
        if config.subset is not None and config.subset > total - held:
            raise DatasetError(
                f"dataset.subset (={config.subset}): {total - held} training images are left "
                f"after {held} for validation"
            )
        return held

    @abstractmethod
    def find(self) -> Path | None:
        """Return the folder that holds the files; None if the data set needs no files.

        Raises:
            MissingDatasetError: the files are not here; one line says where they were looked for
                and how to get them.
        """

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """Return one split.

        Raises:
            MissingDatasetError: the files are not here.
            DatasetError: ``val_size`` or ``subset`` cannot be taken, or a file cannot be read; the
                text names the field and its value, or the file.
        """

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files into ``root``.

        Raises:
            NotImplementedError: they cannot be downloaded by a program; the text says what to do.
        """
        raise NotImplementedError(f"{cls.__name__} cannot be downloaded")

    def content(self) -> dict[str, Any]:
        """Return what identifies images and targets: all settings but defaults and the place.

        Raises:
            MissingDatasetError: it can only be told from the files, and they are not here.
        """
        return self.config.model_dump(exclude={"root"}, exclude_defaults=True)
