"""VOC 2012 with the masks of SBD, on small files in the published layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.datasets import VOCSegmentation

from sweep.data import voc_segmentation
from sweep.data.base import DatasetError, MissingDatasetError, StreamSplit
from sweep.data.voc_segmentation import VOC2012Aug
from sweep.registry import DATASETS, TASKS
from sweep.training.loading import make_loader

from .formats import write_voc2012

TRAIN = [f"2007_{number:06d}" for number in range(12)]
SBD = [f"2008_{number:06d}" for number in range(18)]
VAL = [f"2009_{number:06d}" for number in range(5)]

VOC = Path("VOCdevkit/VOC2012")
LISTS = VOC / "ImageSets/Segmentation"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voc")
    write_voc2012(folder, {"train": TRAIN, "train_aug": [*SBD, *TRAIN][::-1], "val": VAL})
    return folder


@pytest.fixture(autouse=True)
def _small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    published = {"train": 12, "train_aug": 30, "val": 5}
    monkeypatch.setattr(voc_segmentation, "PUBLISHED", published)


@pytest.fixture
def voc(root: Path) -> Callable[..., VOC2012Aug]:
    def build(**settings: Any) -> VOC2012Aug:
        return VOC2012Aug(VOC2012Aug.Config(**{"root": str(root), "val_size": 4, **settings}))

    return build


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of the files, to spoil."""
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy"


def names(dataset: VOC2012Aug) -> dict[str, list[str]]:
    """The image that each sample is of, by its file."""
    found = {}
    for name in ("train", "val", "test"):
        split = dataset.split(name)
        found[name] = [Path(file.decode()).stem for file in split.samples.mask_names]
        assert len(split) == len(split.samples) == len(found[name])
    return found


def test_it_is_registered() -> None:
    assert DATASETS["voc2012_aug"] is VOC2012Aug
    assert VOC2012Aug.task in TASKS


def test_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    whole, plain = VOC2012Aug.of({}), VOC2012Aug.of({"training": "train"})
    assert (whole.config.image_size, whole.config.val_size) == (513, 500)
    assert (whole.num_classes, whole.resident) == (21, False)
    assert (whole.published_train_images, plain.published_train_images) == (10_582, 1_464)
    assert (whole.train_images, plain.train_images) == (10_082, 964)
    assert VOC2012Aug.of({"image_size": 32}).resident is False
    assert (whole.content(), plain.content()) == ({}, {"training": "train"})


@pytest.mark.parametrize(("training", "listed"), [("train_aug", [*TRAIN, *SBD]), ("train", TRAIN)])
def test_splits_are_disjoint_and_complete(
    voc: Callable[..., VOC2012Aug], training: str, listed: list[str]
) -> None:
    found = names(voc(training=training))
    assert found["test"] == VAL
    assert len(found["val"]) == 4
    assert sorted([*found["train"], *found["val"]]) == sorted(listed)
    assert found["train"] == sorted(found["train"])


def test_splits_follow_from_the_split_seed_not_from_the_order_of_a_list(
    voc: Callable[..., VOC2012Aug], copy: Path
) -> None:
    once, other = names(voc(split_seed=1)), names(voc(split_seed=2))
    assert once["val"] != other["val"]
    assert once["test"] == other["test"]
    (copy / LISTS / "train_aug.txt").write_text("\n".join([*TRAIN, *SBD]))
    assert names(voc(split_seed=1, root=str(copy))) == once


def test_a_subset_leaves_validation_alone(voc: Callable[..., VOC2012Aug]) -> None:
    whole, part = names(voc()), names(voc(subset=7))
    assert part["val"] == whole["val"]
    assert len(part["train"]) == 7 == voc(subset=7).train_images
    assert set(part["train"]) < set(whole["train"])
    assert names(voc(subset=26))["train"] == whole["train"]
    assert len(names(voc(val_size=0.21))["val"]) == 7  # of 30, rounded up


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_size": 30}, r"dataset\.val_size \(=30\) of 30 training images: at least one, and f"),
        ({"subset": 27}, r"dataset\.subset \(=27\): 26 training images are left after 4 for val"),
    ],
)
def test_more_images_than_there_are(
    voc: Callable[..., VOC2012Aug], settings: dict[str, Any], message: str
) -> None:
    for attempt in (lambda: voc(**settings).split("train"), lambda: voc(**settings).train_images):
        with pytest.raises(DatasetError, match=message):
            attempt()


def test_plain_voc_is_read_as_torchvision_does(voc: Callable[..., VOC2012Aug], root: Path) -> None:
    split = voc(training="train").split("test")
    peer = VOCSegmentation(root, year="2012", image_set="val")
    assert isinstance(split, StreamSplit)
    assert len(split) == len(peer) == 5
    for number in range(5):
        photo, mask = split.samples[number]
        expected_photo, expected_mask = peer[number]
        assert (photo.mode, mask.mode) == ("RGB", "P")
        assert photo.tobytes() == expected_photo.tobytes()
        np.testing.assert_array_equal(mask, expected_mask)
        assert set(np.unique(mask)) == {0, 1 + (30 + number) % 20, 255}


def test_masks_for_training_are_those_of_its_list(voc: Callable[..., VOC2012Aug]) -> None:
    assert 255 not in np.unique(voc().split("train").samples[0][1])
    assert 255 not in np.unique(voc().split("val").samples[0][1])
    assert 255 in np.unique(voc().split("test").samples[0][1])
    assert 255 in np.unique(voc(training="train").split("train").samples[0][1])


def test_batches(voc: Callable[..., VOC2012Aug]) -> None:
    dataset = voc(image_size=33)
    loader = make_loader(
        dataset,
        "train",
        TASKS["segmentation"](21),
        batch_size=8,
        train=True,
        augmentation="standard",
        seed=0,
        device=torch.device("cpu"),
        workers=0,
    )
    once, again = list(loader.epoch(1)), list(loader.epoch(1))
    assert [len(masks) for _, masks in once] == [8, 8, 8, 2]
    for (images, masks), (images_2, masks_2) in zip(once, again, strict=True):
        assert images.shape == (len(masks), 3, 33, 33)
        assert images.dtype == torch.float32
        assert masks.shape == (len(masks), 33, 33)
        assert masks.dtype == torch.int64
        assert torch.equal(images, images_2)
        assert torch.equal(masks, masks_2)


# What is not as published -----------------------------------------------------------------------


def test_without_sbd_it_says_how_to_get_it(voc: Callable[..., VOC2012Aug], copy: Path) -> None:
    shutil.rmtree(copy / VOC / "SegmentationClassAug")
    dataset = voc(root=str(copy))
    for attempt in (dataset.find, lambda: dataset.split("test")):
        with pytest.raises(MissingDatasetError) as error:
            attempt()
        text = str(error.value)
        assert text.startswith(f"voc2012_aug: {copy / VOC} has no SegmentationClassAug with")
        assert "VainF/DeepLabV3Plus-Pytorch" in text
        assert "training: train" in text
        assert "\n" not in text
    assert len(voc(root=str(copy), training="train").split("train")) == 8


def test_without_voc_it_says_how_to_get_what_is_asked_for(
    voc: Callable[..., VOC2012Aug], tmp_path: Path
) -> None:
    with pytest.raises(
        MissingDatasetError, match=r"no files in .*fetch voc2012_aug`, then get Seg"
    ):
        voc(root=str(tmp_path)).find()
    with pytest.raises(MissingDatasetError, match=r"no files in .*fetch voc2012_aug`$"):
        voc(root=str(tmp_path), training="train").find()


def test_the_folder_of_the_year_is_a_root_too(voc: Callable[..., VOC2012Aug], root: Path) -> None:
    assert voc(root=str(root / VOC)).find() == root / VOC


def test_another_list_of_the_same_name_is_refused(
    voc: Callable[..., VOC2012Aug], copy: Path
) -> None:
    path = copy / LISTS / "train_aug.txt"
    path.write_text("\n".join([*TRAIN, *SBD[:-1]]))
    with pytest.raises(DatasetError, match=r"train_aug\.txt names 29 images, train_aug has 30"):
        voc(root=str(copy)).split("val")
    path.write_text("\n".join([*TRAIN, *SBD[:-1], VAL[2]]))
    with pytest.raises(DatasetError, match=rf"names 1 images of val\.txt, such as {VAL[2]}"):
        voc(root=str(copy)).split("val")


def spoil_missing(mask: Path) -> None:
    mask.unlink()


def spoil_truncated(mask: Path) -> None:
    mask.write_bytes(mask.read_bytes()[:-40])


def spoil_coloured(mask: Path) -> None:
    PIL.Image.open(mask).convert("RGB").save(mask)


def spoil_class(mask: Path) -> None:
    pixels = np.zeros((30, 40), np.uint8)
    pixels[3, 4] = 21
    PIL.Image.fromarray(pixels).save(mask)


def spoil_size(mask: Path) -> None:
    PIL.Image.open(mask).resize((39, 30)).save(mask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, r"^cannot read the mask .*Aug.2008_000003\.png: "),
        (spoil_truncated, r"^cannot read the mask .*2008_000003\.png: "),
        (spoil_coloured, r"2008_000003\.png is of mode RGB: a mask has one class number"),
        (spoil_class, r"2008_000003\.png has pixels of class 21; classes are 0 to 20, and 255"),
        (spoil_size, r"2008_000003\.png has 39x30 pixels, its photo has 40x30"),
    ],
)
def test_a_mask_that_is_none_is_named(
    voc: Callable[..., VOC2012Aug], copy: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(copy / VOC / "SegmentationClassAug/2008_000003.png")
    dataset = voc(root=str(copy))
    found = names(dataset)
    name = "val" if "2008_000003" in found["val"] else "train"
    samples = dataset.split(name).samples
    with pytest.raises(DatasetError, match=message) as error:
        samples[found[name].index("2008_000003")]
    assert "\n" not in str(error.value)


# Downloads --------------------------------------------------------------------------------------


def test_fetch_downloads_voc_and_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def download(root: Path, **settings: Any) -> None:
        calls.append((root, settings))
        write_voc2012(root, {"train": TRAIN, "val": VAL})
        shutil.rmtree(root / VOC / "SegmentationClassAug")

    monkeypatch.setattr("torchvision.datasets.VOCSegmentation", download)
    with pytest.raises(NotImplementedError, match=r"VOC 2012 is in .*SegmentationClassAug.*http"):
        VOC2012Aug.fetch(tmp_path)
    assert calls == [(tmp_path, {"year": "2012", "image_set": "train", "download": True})]


def test_fetch_is_content_where_all_is_there(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.VOCSegmentation", lambda root, **settings: None)
    VOC2012Aug.fetch(copy)
