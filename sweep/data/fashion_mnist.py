"""Fashion-MNIST: 70,000 grey photos (28x28) of clothes.

H. Xiao, K. Rasul, R. Vollgraf. Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms. arXiv:1708.07747.

Files are IDX, as they are published: two bytes 0, a byte for the type (8: unsigned byte), a byte
for the number of dimensions, one big-endian uint32 for each dimension, the values.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.data.base import DatasetConfig, DatasetError, ImageSize, SplitName
from sweep.data.labelled import ArraySource, LabelledDataset, Pool
from sweep.data.places import fetch_hint, find_folder
from sweep.registry import DATASETS

PREFIXES: dict[SplitName, str] = {"train": "train", "test": "t10k"}
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Of the package dataset-fashion-mnist."""
UNSIGNED_BYTE = 8


class FashionMNISTConfig(DatasetConfig):
    """Settings of Fashion-MNIST.

    ``root`` holds the IDX files, gzipped or not, or torchvision's ``FashionMNIST/raw``.
    """

    image_size: ImageSize = 28
    """Height and width of the images that a model sees, in pixels; 28 is not resized."""


@DATASETS.register("fashion_mnist")
class FashionMNIST(LabelledDataset):
    """10 classes, 60,000 training and 10,000 test images; grey repeated to three channels."""

    Config = FashionMNISTConfig
    num_classes = 10
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    published_train_images = 60_000
    mean = (0.2860, 0.2860, 0.2860)
    std = (0.3530, 0.3530, 0.3530)

    def find(self) -> Path:
        return find_folder(
            "fashion_mnist",
            self.config.root,
            "FashionMNIST/raw",
            holds=_holds_all,
            get=f"{fetch_hint('fashion_mnist')}, or install Debian's dataset-fashion-mnist",
            system=[DEBIAN_FOLDER],
        )

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files into ``root``; torchvision compares their checksums."""
        import torchvision

        torchvision.datasets.FashionMNIST(root, download=True)

    def read(self) -> dict[SplitName, Pool]:
        folder = self.find()
        return {split: _pool(folder, prefix) for split, prefix in PREFIXES.items()}


def _pool(folder: Path, prefix: str) -> Pool:
    images = _read_idx(_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = _read_idx(_file(folder, f"{prefix}-labels-idx1-ubyte"))
    return Pool.whole(ArraySource(images), labels.astype(np.int64))


def _holds_all(folder: Path) -> bool:
    names = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return all(
        _file(folder, f"{prefix}-{name}").is_file()
        for prefix in PREFIXES.values()
        for name in names
    )


def _file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes.

    Raises:
        DatasetError: it is none; the text names it.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        data = file.read()
    if data[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise DatasetError(f"{path} is no IDX file of unsigned bytes")
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", count=dimensions, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != shape.prod(dtype=np.int64):
        raise DatasetError(f"{path} holds {len(values)} values, its header says {shape.tolist()}")
    return values.reshape(shape)
