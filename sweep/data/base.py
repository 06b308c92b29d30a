"""What every data set has: a Config, a place on disk, and three splits.

Validation is split off training by a fixed seed and chooses (the epoch, the hyperparameters); the
test split is evaluated once, at the end of a trial.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

SplitName = Literal["train", "val", "test"]


class MissingDatasetError(FileNotFoundError):
    """The files of a data set are not here; its text says where it looked, in one line."""


@dataclass(frozen=True)
class Augmentation:
    """What a data set's standard augmentation does to a training image, in this order."""

    crop_padding: int = 0
    """Pixels of zero padding before a random crop of the original size; 0 means no crop."""
    resized_crop: bool = False
    """Random area (8 to 100 %) and aspect ratio, resized to the image size."""
    flip: bool = False
    """Horizontal flip with probability 1/2."""


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


class DatasetConfig(BaseModel):
    """Base of the settings of one data set: frozen, keyword-only, strictly typed."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    root: str | None = None
    """Folder that holds the files; where it lies does not determine a result."""
    image_size: PositiveInt = 32
    """Height and width of the images that a model sees, in pixels."""
    val_size: PositiveInt | float = 0.1
    """Validation images split off training: a number, or a fraction of the training split."""
    split_seed: NonNegativeInt = 0
    """Of the split into training and validation, and of ``subset``; not the seed of a trial."""
    subset: PositiveInt | None = None
    """Keep only this many training images (stratified), after validation was split off."""


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
    augmentation: ClassVar[Augmentation]

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes.

        Raises:
            MissingDatasetError: it can only be told from the files, and they are not here.
        """

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
        """

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files into ``root``.

        Raises:
            NotImplementedError: they cannot be downloaded by a program; the text says what to do.
        """
        raise NotImplementedError(f"{cls.__name__} cannot be downloaded")

    def content(self) -> dict[str, Any]:
        """Return what identifies the images and targets: every setting but the place on disk."""
        return self.config.model_dump(exclude={"root"})
