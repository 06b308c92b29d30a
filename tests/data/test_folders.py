"""Folders of photos: a user's own, ImageNet's, and what identifies them."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from sweep.data.base import Dataset, DatasetError, MissingDatasetError, StreamSplit, TensorSplit
from sweep.data.imagefolder import ImageFolder
from sweep.data.imagenet import ImageNet
from sweep.data.labelled import CorruptImageError
from sweep.spec.fingerprint import folder_digest

from .formats import write_class_folders, write_imagenet

SHARED = Path(os.environ.get("SWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
Make = Callable[..., Dataset]


def folder(root: Path, **settings: object) -> ImageFolder:
    return ImageFolder(ImageFolder.Config.model_validate({"root": str(root), **settings}))


def lengths(dataset: Dataset) -> dict[str, int]:
    return {name: len(dataset.split(name)) for name in ("train", "val", "test")}


def read_all(dataset: Dataset) -> None:
    split = dataset.split("test")
    if isinstance(split, StreamSplit):
        for number in range(len(split)):
            split.samples[number]


def test_root_is_required() -> None:
    with pytest.raises(ValueError, match="root"):
        ImageFolder.Config.model_validate({})


def test_one_level_of_classes_gives_a_fixed_test_split(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"val": 30, "train": 20, "bus": 50})
    dataset = folder(tmp_path, val_size=0.25)
    assert dataset.num_classes == 3
    assert lengths(dataset) == {"train": 60, "val": 20, "test": 20}
    assert np.bincount(dataset.pools["test"].targets).tolist() == [10, 4, 6]  # bus, train, val


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train"], {"train": 36, "val": 4, "test": 10}),
        (["train", "val"], {"train": 45, "val": 5, "test": 8}),
        (["train", "test"], {"train": 45, "val": 5, "test": 12}),
        (["train", "val", "test"], {"train": 50, "val": 8, "test": 12}),
    ],
)
def test_which_folder_is_which_split(
    tmp_path: Path, given: list[str], expected: dict[str, int]
) -> None:
    counts = {"train": 25, "val": 4, "test": 6}
    for name in given:
        write_class_folders(tmp_path / name, {"a": counts[name], "b": counts[name]})
    assert lengths(folder(tmp_path, val_size=0.1)) == expected


def test_classes_are_sorted_and_images_may_lie_deeper(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"zebra": 5, "Ant": 5, "bee/spring": 5})
    write_class_folders(tmp_path / "test", {"bee": 2})
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "zebra" / "notes.txt").write_text("no image")
    dataset = folder(tmp_path)
    assert dataset.num_classes == 3
    pools = dataset.read()
    assert pools["train"].targets.tolist() == [0] * 5 + [1] * 5 + [2] * 5  # Ant, bee, zebra
    assert pools["test"].targets.tolist() == [1, 1]


def test_images_are_those_of_the_files_in_rgb(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 5, "b": 5})
    write_class_folders(tmp_path / "test", {"a": 2, "b": 2})
    split = folder(tmp_path, image_size=100, val_size=2).split("test")
    assert isinstance(split, StreamSplit)
    files = sorted((tmp_path / "test").glob("*/*.jpg"))
    for number, path in enumerate(files):
        image, target = split.samples[number]
        assert target == number // 2
        with PIL.Image.open(path) as expected:
            assert expected.mode == ("L" if number % 2 else "RGB")
            np.testing.assert_array_equal(image, expected.convert("RGB"))


def test_resident_images_are_the_centred_square_resized(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 5, "b": 5})
    write_class_folders(tmp_path / "test", {"a": 2, "b": 2})
    split = folder(tmp_path, image_size=20, val_size=2).split("test")
    assert isinstance(split, TensorSplit)
    for pixels, path in zip(split.images, sorted((tmp_path / "test").glob("*/*")), strict=True):
        with PIL.Image.open(path) as image:  # 48 wide, 40 high
            half = image.convert("RGB").resize((24, 20), PIL.Image.Resampling.BILINEAR)
        square = half.crop((2, 0, 22, 20))
        np.testing.assert_array_equal(np.asarray(square).transpose(2, 0, 1), pixels)


def test_augmentation_and_crop_follow_the_storage(tmp_path: Path) -> None:
    small, large = (folder(tmp_path, image_size=size) for size in (64, 224))
    assert (small.augmentation.crop_padding, small.augmentation.resized_crop) == (8, False)
    assert (large.augmentation.crop_padding, large.augmentation.resized_crop) == (0, True)
    assert small.augmentation.flip
    assert large.augmentation.flip
    assert round(224 / large.eval_crop) == 256


def test_a_class_that_is_not_trained_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 9, "b": 9})
    write_class_folders(tmp_path / "test", {"a": 2, "c": 2})
    with pytest.raises(DatasetError, match=r"test/c is not one of the 2 classes"):
        folder(tmp_path).split("test")


def test_a_split_without_class_folders_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 9, "b": 9})
    (tmp_path / "test").mkdir()
    with pytest.raises(DatasetError, match=r"test holds no image"):
        folder(tmp_path).split("test")


def test_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(MissingDatasetError, match="one folder of images per class"):
        folder(tmp_path).find()


@pytest.mark.parametrize("image_size", [32, 96])
@pytest.mark.parametrize("damage", ["truncated", "text", "broken png"])
def test_a_corrupt_image_is_named(tmp_path: Path, image_size: int, damage: str) -> None:
    write_class_folders(tmp_path / "train", {"a": 9, "b": 9})
    write_class_folders(tmp_path / "test", {"a": 3, "b": 3})
    path = tmp_path / "test" / "b" / "0002.jpg"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "text":
        path.write_text("<html>404</html>")
    else:
        PIL.Image.new("RGB", (9, 9)).save(path, "PNG")
        path.write_bytes(path.read_bytes()[:45] + b"rubbish" * 9)
    dataset = folder(tmp_path, image_size=image_size)
    with pytest.raises(CorruptImageError, match=f"^cannot read the image {path}: ") as error:
        read_all(dataset)
    assert "\n" not in str(error.value)


def test_the_digest_is_of_names_and_sizes_not_of_the_place(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "one", {"a": 2, "b": 3})
    write_class_folders(tmp_path / "two" / "deeper", {"b": 3, "a": 2})
    lines = sorted(
        (path.relative_to(tmp_path / "one").as_posix(), path.stat().st_size)
        for path in (tmp_path / "one").rglob("*.jpg")
    )
    expected = hashlib.sha256(b"".join(f"{n}\0{s}\n".encode() for n, s in lines)).hexdigest()
    assert folder_digest(tmp_path / "one") == expected

    (tmp_path / "one" / "a" / ".DS_Store").write_bytes(b"left by a desktop")
    (tmp_path / "one" / "README.txt").write_text("not an image")
    assert folder_digest(tmp_path / "one") == expected
    (tmp_path / "one" / "a" / "0001.jpg").rename(tmp_path / "one" / "a" / "0005.jpg")
    renamed = folder_digest(tmp_path / "one")
    (tmp_path / "one" / "a" / "0005.jpg").write_bytes(b"other size")
    assert len({expected, renamed, folder_digest(tmp_path / "one")}) == 3


def test_content_identifies_the_data_not_the_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_class_folders(tmp_path / name, {"a": 6, "b": 6})
    content = folder(tmp_path / "one").content()
    assert content == folder(tmp_path / "two").content()
    assert str(tmp_path) not in str(content)
    write_class_folders(tmp_path / "two", {"c": 1})
    assert content != folder(tmp_path / "two").content()


def test_imagenet_is_tested_on_its_official_validation_images(make: Make) -> None:
    dataset = make("imagenet", val_size=1000)
    assert isinstance(dataset, ImageNet)
    assert lengths(dataset) == {"train": 1000, "val": 1000, "test": 1000}
    assert dataset.num_classes == 1000
    assert dataset.config.image_size == 224
    test = dataset.split("test")
    assert isinstance(test, StreamSplit)
    image, target = test.samples[77]
    assert (image.size, target) == ((48, 40), 77)
    assert dataset.pools["test"].source.names[77] == b"n00000077/ILSVRC2012_val_n00000077.JPEG"


def test_a_part_of_imagenet_is_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"n01440764": 2, "n01443537": 2})
    write_class_folders(tmp_path / "val", {"n01440764": 1, "n01443537": 1})
    dataset = ImageNet(ImageNet.Config(root=str(tmp_path)))
    with pytest.raises(DatasetError, match=r"2 class folders, ImageNet has 1000; .* imagefolder"):
        dataset.split("test")


def test_a_folder_that_meta_bin_does_not_know_is_named(tmp_path: Path) -> None:
    wnids = write_imagenet(tmp_path)
    torch.save((dict.fromkeys(wnids[:-1], ("name",)), wnids), tmp_path / "meta.bin")
    with pytest.raises(DatasetError, match=r"n00000999 is no class of .*meta\.bin"):
        ImageNet(ImageNet.Config(root=str(tmp_path))).split("test")


def test_cifar10_as_jpeg_files(tmp_path: Path) -> None:
    archive = SHARED / "cifar10_jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not here (it is not part of the project)")
    with tarfile.open(archive, "r|xz") as members:
        for member in members:  # one class after the other: two classes, without reading on
            _, _, path = member.name.partition("train/")
            if path.startswith("automobile/0100"):
                break
            if member.isfile() and path.split("/")[1] < "0100":
                members.extract(member, tmp_path, filter="data")
    dataset = folder(tmp_path, val_size=40)
    assert dataset.num_classes == 2
    assert lengths(dataset) == {"train": 120, "val": 40, "test": 40}
    split = dataset.split("test")
    assert isinstance(split, TensorSplit)
    assert split.images.shape == (40, 3, 32, 32)
    assert split.targets.bincount().tolist() == [20, 20]
    assert 80 < split.images.float().mean() < 180
