"""What holds for every registered data set."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from sweep.data.base import Dataset, DatasetError, MissingDatasetError, StreamSplit, TensorSplit
from sweep.data.labelled import LabelledDataset
from sweep.registry import DATASETS

VAL = {
    "digits": 100,
    "cifar10": 20,
    "cifar100": 100,
    "fashion_mnist": 20,
    "imagefolder": 18,
    "imagenet": 1000,
}
"""A number of validation images that can be stratified exactly in the small sets."""
SETS = list(VAL)
DENSE = ["coco", "visdrone", "voc2007", "voc2012_aug", "voc_folder"]
"""Sets of other tasks: their splits, which are not stratified, have test files of their own."""
Make = Callable[..., Dataset]


def labelled(dataset: Dataset) -> LabelledDataset:
    assert isinstance(dataset, LabelledDataset)
    return dataset


def test_every_set_is_tested() -> None:
    assert sorted([*SETS, *DENSE]) == DATASETS.names()


def test_registration_imports_nothing_heavier_than_torch() -> None:
    code = (
        "import sys; from sweep.registry import DATASETS, TASKS; DATASETS.names(); TASKS.names();"
        "print([m for m in ('torchvision', 'sklearn', 'PIL') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert out.stdout.split() == [b"[]"]


CLASSES = {
    "digits": (3, "3"),
    "cifar10": (3, "cat"),
    "cifar100": (99, "99"),
    "fashion_mnist": (9, "Ankle boot"),
    "imagefolder": (1, "bee"),
    "imagenet": (7, "name of n00000007"),
}
"""A class of every set, and its name as the publishers have it."""


@pytest.mark.parametrize("name", SETS)
def test_every_class_has_its_name(make: Make, name: str) -> None:
    dataset = make(name)
    number, text = CLASSES[name]
    assert dataset.class_names[number] == text
    assert len(set(dataset.class_names)) == dataset.num_classes


@pytest.mark.parametrize("name", SETS)
def test_splits_are_disjoint_stratified_and_complete(make: Make, name: str) -> None:
    pools = labelled(make(name, val_size=VAL[name])).pools
    train, val = pools["train"], pools["val"]
    assert len(val) == VAL[name]
    assert not set(train.numbers) & set(val.numbers)
    if train.source is pools["test"].source:
        assert not set(pools["test"].numbers) & {*train.numbers, *val.numbers}
    whole = np.concatenate([train.targets, val.targets])
    share = np.bincount(val.targets) / np.bincount(whole)
    expected = len(val) / len(whole)
    assert np.abs(share * np.bincount(whole) - expected * np.bincount(whole)).max() < 1
    assert set(whole) == set(pools["test"].targets) == set(range(make(name).num_classes))


@pytest.mark.parametrize("name", SETS)
def test_splits_are_a_function_of_the_split_seed(make: Make, name: str) -> None:
    once, again, other = (
        labelled(make(name, val_size=VAL[name], split_seed=seed)).pools for seed in (3, 3, 4)
    )
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(once[split].numbers, again[split].numbers)
        np.testing.assert_array_equal(once[split].targets, again[split].targets)
    assert set(once["val"].numbers) != set(other["val"].numbers)
    np.testing.assert_array_equal(once["test"].numbers, other["test"].numbers)


def test_a_subset_is_stratified_and_leaves_validation_alone(make: Make) -> None:
    whole = labelled(make("cifar10", val_size=20)).pools
    part = labelled(make("cifar10", val_size=20, subset=30)).pools
    assert np.bincount(part["train"].targets).tolist() == [3] * 10
    assert set(part["train"].numbers) < set(whole["train"].numbers)
    np.testing.assert_array_equal(part["val"].numbers, whole["val"].numbers)
    everything = labelled(make("cifar10", val_size=20, subset=80)).pools
    np.testing.assert_array_equal(everything["train"].numbers, whole["train"].numbers)


def test_a_fraction_for_validation(make: Make) -> None:
    assert len(labelled(make("cifar10", val_size=0.25)).pools["val"]) == 25


@pytest.mark.parametrize("val_size", [0, 0.0, 1.0, 1.5, -3, True])
def test_val_size_that_is_no_size_is_refused_by_the_config(make: Make, val_size: Any) -> None:
    with pytest.raises(ValueError, match="val_size"):
        make("cifar10", val_size=val_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_size": 100}, r"dataset\.val_size \(=100\): there are only 100 images"),
        ({"val_size": 20, "subset": 81}, r"dataset\.subset \(=81\): there are only 80 images"),
        ({"val_size": 3}, r"dataset\.val_size \(=3\).* number of classes = 10"),
    ],
)
def test_more_images_than_there_are(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make("cifar10", **settings).split("train")


@pytest.mark.parametrize("name", ["digits", "imagefolder"])
@pytest.mark.parametrize("settings", [{}, {"val_size": 17}, {"val_size": 0.21, "subset": 30}])
def test_train_images_says_what_the_split_has(
    make: Make, name: str, settings: dict[str, Any]
) -> None:
    dataset = make(name, **settings)
    assert dataset.train_images == len(dataset.split("train"))


@pytest.mark.parametrize("name", [name for name in SETS if name != "imagenet"])
def test_storage_follows_the_image_size(make: Make, name: str) -> None:
    native = make(name, val_size=VAL[name]).split("test")
    assert isinstance(native, TensorSplit)
    size = make(name).config.image_size
    assert native.images.shape == (len(native), 3, size, size)
    assert native.images.dtype == torch.uint8
    assert native.targets.dtype == torch.int64
    assert native.images.is_contiguous()

    resized = make(name, val_size=VAL[name], image_size=64)
    assert resized.resident
    split = resized.split("test")
    assert isinstance(split, TensorSplit)
    assert split.images.shape[2:] == (64, 64)

    streamed = make(name, val_size=VAL[name], image_size=65)
    assert not streamed.resident
    stream = streamed.split("test")
    assert isinstance(stream, StreamSplit)
    assert len(stream) == len(native)
    image, target = stream.samples[1]
    assert isinstance(image, PIL.Image.Image)
    assert image.mode == "RGB"
    assert target == native.targets[1]


@pytest.mark.parametrize("name", [*SETS, *DENSE])
def test_content_is_every_setting_but_the_place(make: Make, name: str) -> None:
    content = make(name, val_size=50, split_seed=3).content()
    assert content == json.loads(json.dumps(content))
    assert content["val_size"] == 50
    assert content["split_seed"] == 3
    assert "root" not in content


@pytest.mark.parametrize("name", [name for name in [*SETS, *DENSE] if name != "digits"])
def test_missing_files_are_told_in_one_line(make: Make, name: str, tmp_path: Path) -> None:
    dataset = make(name, root=str(tmp_path / "nothing"))
    for attempt in (dataset.find, lambda: dataset.split("train")):
        with pytest.raises(MissingDatasetError) as error:
            attempt()
        text = str(error.value)
        assert text.startswith(f"{name}: no files in {tmp_path / 'nothing'}")
        assert "\n" not in text


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_places_in_their_order(
    make: Make, name: str, small_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = make(name, root=None)
    with pytest.raises(MissingDatasetError, match=f"no files in data/{name}.*fetch {name}"):
        missing.find()

    Path("data").mkdir()
    (Path("data") / name).symlink_to(small_roots[name])
    assert missing.find().parts[:2] == ("data", name)

    monkeypatch.setenv("SWEEP_DATA", str(small_roots[name].parent))
    assert missing.find().is_relative_to(small_roots[name])

    root = Path("mine")
    root.symlink_to(small_roots[name])
    assert make(name, root="mine").find().is_relative_to(root)
    assert make(name, root="elsewhere").find().is_relative_to(small_roots[name])


@pytest.mark.parametrize(
    ("name", "peer"),
    [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("fashion_mnist", "FashionMNIST")],
)
def test_fetch_downloads_through_torchvision(
    name: str, peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        f"torchvision.datasets.{peer}", lambda root, download: calls.append((root, download))
    )
    DATASETS[name].fetch(tmp_path)
    assert calls == [(tmp_path, True)]


@pytest.mark.parametrize(("name", "hint"), [("imagenet", "image-net.org"), ("imagefolder", "root")])
def test_what_cannot_be_fetched_says_what_to_do(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=hint):
        DATASETS[name].fetch(tmp_path)
