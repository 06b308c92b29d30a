"""Images with one label each: their sources, their splits, and how they are stored.

source   images in memory or in files; gives one PIL image in RGB by number
pool     some images of a source, with their labels; pools are split and counted, not decoded
split    a pool as a loader takes it: decoded into one tensor, or streamed
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import (
    Augmentation,
    Dataset,
    DatasetError,
    Split,
    SplitName,
    StreamSplit,
    TensorSplit,
    divide,
)
from sweep.spec.fingerprint import check_regular

if TYPE_CHECKING:
    from PIL.Image import Image

TEST_SHARE = 0.2
"""Of the images of a set that comes without a test split."""
TEST_SEED = 0
"""Of that split: fixed, so that ``split_seed`` never moves an image into or out of the test."""


class CorruptImageError(DatasetError):
    """A file that cannot be decoded; its text names the file."""


@contextmanager
def opened(path: Path, what: str = "image") -> Iterator[Image]:
    """Open the file of an image; what is wrong with it may come out when its pixels are read.

    Raises:
        CorruptImageError: it cannot be decoded, is no regular file, or has more pixels than Pillow
            takes for harmless: a small file can say that it has any number. The text names it.
    """
    import PIL.Image

    try:
        check_regular(path)
        with PIL.Image.open(path) as image:
            most = PIL.Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:  # Pillow warns up to twice
                raise ValueError(f"{image.width}x{image.height} are more than {most:,} pixels")
            yield image
    # What Pillow raises for broken files of one format or another.
    except (
        OSError,
        SyntaxError,
        ValueError,
        PIL.Image.DecompressionBombError,
        PIL.Image.DecompressionBombWarning,  # where warnings are errors
    ) as error:
        raise CorruptImageError(f"cannot read the {what} {path}: {error}") from error


class Source(Protocol):
    """Images by number."""

    def __getitem__(self, number: int) -> Image:
        """Return one image in RGB.

        Raises:
            CorruptImageError: it cannot be decoded.
        """

    def pixels(self, numbers: NDArray[np.int64], size: int) -> NDArray[np.uint8] | None:
        """Return images (N, 3, size, size) if no decoding or resizing is needed for it."""


@dataclass(frozen=True)
class ArraySource:
    """Images in memory: uint8 (N, H, W) in grey or (N, H, W, 3)."""

    array: NDArray[np.uint8]

    def __getitem__(self, number: int) -> Image:
        import PIL.Image

        return PIL.Image.fromarray(self.array[number]).convert("RGB")

    def pixels(self, numbers: NDArray[np.int64], size: int) -> NDArray[np.uint8] | None:
        if self.array.shape[1:3] != (size, size):
            return None
        chosen = self.array[numbers]
        if chosen.ndim == 3:
            return chosen[:, None].repeat(3, axis=1)
        return np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class FileSource:
    """Images in files below ``folder``.

    The names are one array of bytes and not a list: the reference counts of a million strings
    would make every worker process copy the pages they lie on.
    """

    folder: Path
    names: NDArray[np.bytes_]

    def __getitem__(self, number: int) -> Image:
        name = os.fsdecode(bytes(self.names[number]))
        if name.startswith("/") or ".." in name.split("/"):  # lists and annotations name images too
            raise CorruptImageError(f"cannot read the image {name!r}: it is not in {self.folder}")
        with opened(self.folder / name) as image:
            return image.convert("RGB")

    def pixels(self, numbers: NDArray[np.int64], size: int) -> None:
        return None


@dataclass(frozen=True)
class Pool:
    """Some images of a source. numbers: (N,) in the source; targets: int64 (N,)."""

    source: Source
    numbers: NDArray[np.int64]
    targets: NDArray[np.int64]

    @classmethod
    def whole(cls, source: Source, targets: NDArray[np.int64]) -> Self:
        """Return all images of a source; ``targets`` has one entry for each."""
        return cls(source, np.arange(len(targets)), targets)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, positions: NDArray[np.int64]) -> Pool:
        """Return the images at some positions, in the order of this pool."""
        positions = np.sort(positions)
        return Pool(self.source, self.numbers[positions], self.targets[positions])

    def hold_out(self, size: float, *, seed: int, field: str) -> tuple[Pool, Pool]:
        """Return (the others, ``size`` images), stratified by label.

        Args:
            size: a number of images, or a fraction below 1.
            seed: of the choice.
            field: what asked for it, for the message.

        Raises:
            DatasetError: there are not as many images, or too few of a label.
        """
        from sklearn.model_selection import train_test_split

        if size >= len(self):
            raise DatasetError(f"{field} (={size}): there are only {len(self)} images")
        try:
            others, held = train_test_split(
                np.arange(len(self)), test_size=size, stratify=self.targets, random_state=seed
            )
        except ValueError as error:  # fewer images than classes on either side
            raise DatasetError(f"{field} (={size}) of {len(self)} images: {error}") from error
        return self.take(others), self.take(held)

    def tensor(self, size: int) -> Tensor:
        """Return the images, uint8 (N, 3, size, size), decoded by as many threads as pay.

        Raises:
            CorruptImageError: a file cannot be decoded.
        """
        pixels = self.source.pixels(self.numbers, size)
        if pixels is not None:
            return torch.from_numpy(pixels)
        out = np.empty((len(self), 3, size, size), np.uint8)

        def decode(position: int) -> None:
            image = fit_square(self.source[int(self.numbers[position])], size)
            out[position] = np.asarray(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)

        with ThreadPoolExecutor() as threads:
            for _ in threads.map(decode, range(len(self))):
                pass  # raises what a thread raised, and cancels the rest
        return torch.from_numpy(out)


def fit_square(image: Image, size: int) -> Image:
    """Resize the shorter side to ``size`` pixels (bilinear, antialiased) and cut out the centre."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    return ImageOps.fit(image, (size, size), Resampling.BILINEAR)


class Samples(TorchDataset[tuple["Image", int]]):
    """The images and labels of a pool, decoded when asked for."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> tuple[Image, int]:
        pool = self.pool
        return pool.source[int(pool.numbers[position])], int(pool.targets[position])


class LabelledDataset(Dataset):
    """Base of the classification data sets: they read, it splits and stores.

    The splits depend on the files and the config alone, never on the seed of a trial.
    """

    @property
    def augmentation(self) -> Augmentation:
        """A random crop with an eighth of padding (CIFAR's 4 pixels of 32), and a flip."""
        return Augmentation(crop_padding=self.config.image_size // 8, flip=True)

    @abstractmethod
    def read(self) -> dict[SplitName, Pool]:
        """Return the splits that the files have.

        "train" and "test" are always there; where "val" is not, it is split off "train".
        """

    @cached_property
    def pools(self) -> dict[SplitName, Pool]:
        """The three splits, before they are decoded.

        Raises:
            MissingDatasetError: the files are not here.
            DatasetError: ``val_size`` or ``subset`` cannot be taken from the training images.
        """
        return divide(self.read(), self.config)

    def split(self, name: SplitName) -> Split:
        pool = self.pools[name]
        if self.resident:
            return TensorSplit(pool.tensor(self.config.image_size), torch.from_numpy(pool.targets))
        return StreamSplit(Samples(pool), len(pool))
