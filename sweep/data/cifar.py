"""What CIFAR-10 and CIFAR-100 share: their files, the "python version" of the publishers.

A. Krizhevsky. Learning Multiple Layers of Features from Tiny Images, 2009.

A file is a pickled dict: ``data`` is uint8 (N, 3072), the red plane of 32x32, then green, then
blue; the labels are a list. Checksums are compared where the files are downloaded (torchvision
does), not at every reading.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sweep.data.base import DatasetConfig, DatasetError, SplitName
from sweep.data.labelled import ArraySource, LabelledDataset, Pool
from sweep.data.places import fetch_hint, find_folder


class CIFARConfig(DatasetConfig):
    """Settings of a CIFAR set; ``root`` holds the pickled files or the folder with them."""


class CIFAR(LabelledDataset):
    """Base of both sets: 50,000 training and 10,000 test images, RGB 32x32."""

    Config = CIFARConfig
    published_train_images = 50_000
    name: ClassVar[str]
    folder: ClassVar[str]
    """That the publishers' archive unpacks to."""
    files: ClassVar[Mapping[SplitName, Sequence[str]]]
    label_key: ClassVar[bytes]

    def find(self) -> Path:
        return find_folder(
            self.name,
            self.config.root,
            self.folder,
            holds=self._holds_all,
            get=fetch_hint(self.name),
        )

    def read(self) -> dict[SplitName, Pool]:
        folder = self.find()
        return {
            split: self._pool([folder / name for name in names])
            for split, names in self.files.items()
        }

    def _holds_all(self, folder: Path) -> bool:
        return all((folder / name).is_file() for names in self.files.values() for name in names)

    def _pool(self, paths: Sequence[Path]) -> Pool:
        batches = [_unpickle(path) for path in paths]
        rows: NDArray[np.uint8] = np.concatenate([batch[b"data"] for batch in batches])
        images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # planes -> (N, 32, 32, 3)
        labels = np.concatenate([batch[self.label_key] for batch in batches])
        return Pool.whole(ArraySource(np.ascontiguousarray(images)), labels.astype(np.int64))


class _ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and nothing else: a pickle from the web could name any callable."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("numpy", "dtype"):
            return _dtype
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if name == "_reconstruct" and module in (
            "numpy.core.multiarray",
            "numpy._core.multiarray",
        ):
            return _empty
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a CIFAR file")


def _dtype(code: bytes | str, *_flags: int) -> np.dtype[Any]:
    """Stand in for ``dtype(code, 0, 1)`` of 2009: NumPy 2.4 refuses its integer flags."""
    return np.dtype(code.decode() if isinstance(code, bytes) else code, copy=True)


def _empty(subtype: type[NDArray[Any]], shape: tuple[int, ...], code: bytes) -> NDArray[Any]:
    """Stand in for NumPy's ``_reconstruct``: an array that the pickle's state then fills."""
    return np.ndarray.__new__(subtype, shape, np.dtype(code.decode()))


def _unpickle(path: Path) -> dict[bytes, Any]:
    """Return the dict of one file; the text of Python 2 is bytes.

    Raises:
        DatasetError: it is no such file; the text names it.
    """
    with path.open("rb") as file:
        try:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
        except Exception as error:  # a damaged pickle fails in any way
            raise DatasetError(f"cannot read {path}: {error}") from error
    if not isinstance(batch, dict):
        raise DatasetError(f"cannot read {path}: it holds no dict")
    return batch
