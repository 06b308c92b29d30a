"""Digits, Fashion-MNIST and CIFAR: what is read is what was written, and what peers read."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sweep.data.base import Dataset, DatasetError, TensorSplit
from sweep.data.cifar10 import CIFAR10
from sweep.data.cifar100 import CIFAR100
from sweep.data.digits import Digits
from sweep.data.fashion_mnist import FashionMNIST
from sweep.data.labelled import ArraySource, LabelledDataset

from .formats import images, python2_pickle, write_cifar10, write_fashion_mnist

Make = Callable[..., Dataset]


def test_the_test_writes_what_python_2_wrote() -> None:
    batch = {"labels": [3, 1], "data": images(2, 5)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about the integer flags of 2009
        read = pickle.loads(python2_pickle(batch), encoding="latin1")
    assert read["labels"] == batch["labels"]
    np.testing.assert_array_equal(read["data"], batch["data"])


def array(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(dataset, LabelledDataset)
    pool = dataset.read()[split]
    assert isinstance(pool.source, ArraySource)
    return pool.source.array, pool.targets


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar_against_torchvision(
    make: Make, kind: type[Dataset], split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    dataset = make(kind.__name__.lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(datasets, kind.__name__)(dataset.config.root, train=split == "train")
    pixels, targets = array(dataset, split)
    np.testing.assert_array_equal(pixels, peer.data)
    np.testing.assert_array_equal(targets, peer.targets)


@pytest.mark.parametrize("split", ["train", "test"])
def test_fashion_mnist_against_torchvision(tmp_path: Path, make: Make, split: str) -> None:
    from torchvision import datasets

    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", zipped=False)
    peer = datasets.FashionMNIST(tmp_path, train=split == "train")
    plain = array(make("fashion_mnist", root=str(tmp_path)), split)
    zipped = array(make("fashion_mnist"), split)
    for pixels, targets in (plain, zipped):
        np.testing.assert_array_equal(pixels, peer.data)
        np.testing.assert_array_equal(targets, peer.targets)


def test_a_pickle_that_calls_something_else_is_refused(tmp_path: Path, make: Make) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(b"\x80\x02cos\nsystem\n(U\x04truetR.")
    with pytest.raises(DatasetError, match=r"test_batch.*os\.system is not part of a CIFAR file"):
        make("cifar10", root=str(tmp_path)).split("test")


def test_a_truncated_pickle_is_named(tmp_path: Path, make: Make) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="data_batch_3"):
        make("cifar10", root=str(tmp_path)).split("train")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is no IDX file"), (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]), r"2 values.* says \[3\]")],
)
def test_a_broken_idx_file_is_named(tmp_path: Path, make: Make, data: bytes, message: str) -> None:
    write_fashion_mnist(tmp_path / "raw", zipped=False)
    (tmp_path / "raw" / "train-labels-idx1-ubyte").write_bytes(data)
    with pytest.raises(DatasetError, match=f"train-labels-idx1-ubyte.*{message}"):
        make("fashion_mnist", root=str(tmp_path / "raw")).split("train")


def test_rgb_planes_come_in_their_order(make: Make) -> None:
    split = make("cifar10").split("test")
    assert isinstance(split, TensorSplit)
    written = images(20, 3072, seed=5).reshape(20, 3, 32, 32)
    np.testing.assert_array_equal(split.images.numpy(), written)


def test_grey_is_repeated(make: Make) -> None:
    split = make("fashion_mnist").split("test")
    assert isinstance(split, TensorSplit)
    for channel in split.images.unbind(1):
        np.testing.assert_array_equal(channel, images(40, 28, 28, seed=1))


def test_digits_sizes_and_scale(make: Make) -> None:
    splits = {name: make("digits").split(name) for name in ("train", "val", "test")}
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 1293,
        "val": 144,
        "test": 360,
    }
    everything = torch.cat([split.images[:, 0] for split in splits.values()])
    grey = {image.tobytes() for image in np.rint(load_digits().images * 255 / 16).astype(np.uint8)}
    assert {image.numpy().tobytes() for image in everything} == grey
    assert everything.max() == 255


def test_digits_normalisation_is_that_of_its_training_images(make: Make) -> None:
    dataset = make("digits")
    assert isinstance(dataset, LabelledDataset)
    pixels = dataset.read()["train"].tensor(8).double() / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=5e-5)
    assert dataset.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=5e-5)


def test_digits_are_not_mirrored_and_clothes_are() -> None:
    assert not Digits(Digits.Config()).augmentation.flip
    assert FashionMNIST(FashionMNIST.Config()).augmentation.flip
    cifar = CIFAR10(CIFAR10.Config()).augmentation
    assert (cifar.crop_padding, cifar.flip, cifar.resized_crop) == (4, True, False)
