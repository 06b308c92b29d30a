"""The detection sets in their publishers' formats, and what they share."""

from __future__ import annotations

import json
import logging
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from sweep.data.base import Dataset, DatasetError, MissingDatasetError, SplitName
from sweep.data.coco import Coco
from sweep.data.detection import ANY_CLASS, DetectionDataset
from sweep.data.labelled import CorruptImageError
from sweep.data.visdrone import VisDrone
from sweep.data.voc_detection import Voc2007
from sweep.data.voc_folder import VocFolder
from sweep.registry import DATASETS

from .box_formats import (
    COCO_IDS,
    coco_json,
    voc_xml,
    write_coco,
    write_photo,
    write_visdrone,
    write_voc,
)

SHARED = Path(os.environ.get("SWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
SETS = ["coco", "visdrone", "voc2007", "voc_folder"]
Make = Callable[..., Dataset]


def boxed(dataset: Dataset) -> DetectionDataset:
    assert isinstance(dataset, DetectionDataset)
    return dataset


def lengths(dataset: Dataset) -> dict[str, int]:
    return {name: len(dataset.split(name)) for name in ("train", "val", "test")}


def target(dataset: DetectionDataset, split: SplitName, number: int = 0) -> dict[str, Tensor]:
    return dataset.split(split).samples[number][1]


def names(dataset: DetectionDataset, split: SplitName) -> list[str]:
    pool = dataset.pools[split]
    return [name.decode() for name in pool.source.names[pool.numbers].tolist()]


# What all share -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_sample_is_what_the_task_takes(make: Make, name: str) -> None:
    dataset = make(name, val_size=2)
    assert dataset.task == "detection"
    assert dataset.config.image_size == 640
    for split in ("train", "val", "test"):
        image, found = dataset.split(split).samples[0]
        assert isinstance(image, PIL.Image.Image)
        assert image.mode == "RGB"
        assert {key: value.dtype for key, value in found.items()} == {
            "boxes": torch.float32,
            "labels": torch.int64,
            "ignore": torch.bool,
            "area": torch.float32,
        }
        count = len(found["labels"])
        assert found["boxes"].shape == (count, 4)
        assert found["ignore"].shape == found["area"].shape == (count,)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("image_size", [64, 640])
def test_no_size_makes_it_resident(make: Make, name: str, image_size: int) -> None:
    assert not make(name, image_size=image_size).resident


@pytest.mark.parametrize("name", ["coco", "voc2007"])
def test_validation_is_split_off_by_the_split_seed(make: Make, name: str) -> None:
    whole = set(names(boxed(make(name, val_size=1)), "train"))
    whole |= set(names(boxed(make(name, val_size=1)), "val"))
    one, same, other = (boxed(make(name, val_size=3, split_seed=seed)) for seed in (3, 3, 4))
    assert names(one, "val") == names(same, "val") != names(other, "val")
    assert len(names(one, "val")) == 3
    assert {*names(one, "train"), *names(one, "val")} == whole
    assert not set(names(one, "train")) & set(names(one, "val"))
    assert names(one, "test") == names(other, "test")


def test_a_subset_leaves_validation_alone(make: Make) -> None:
    whole, part = (boxed(make("voc2007", val_size=3, subset=n)) for n in (None, 4))
    assert names(part, "val") == names(whole, "val")
    assert len(names(part, "train")) == 4
    assert set(names(part, "train")) < set(names(whole, "train"))
    assert len(make("voc2007", val_size=3, subset=7).split("train")) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_size": 10}, r"dataset\.val_size \(=10\) of 10 images"),
        ({"val_size": 3, "subset": 8}, r"dataset\.subset \(=8\) of 7 images"),
    ],
)
def test_more_images_than_there_are(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make("voc2007", **settings).split("train")


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("voc2007", {}, 16_551 - 1656),
        ("voc2007", {"train_on": "07", "val_size": 11}, 5000),
        ("coco", {}, 117_266 - 5000),
        ("coco", {"val_size": 5}, 117_261),  # fewer than there are classes
        ("visdrone", {"val_size": 71, "subset": 500}, 500),
    ],
)
def test_published_counts(make: Make, name: str, settings: dict[str, Any], expected: int) -> None:
    assert make(name, **settings).train_images == expected


def test_boxes_that_are_none_are_dropped_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = "90,50,8,6,1,4,0,0"  # reaches beyond the photo of 96 x 54
    bad = ["10,10,0,5,1,4,0,0", "10,10,5,-3,1,4,0,0", "96,10,5,5,1,4,0,0", "-9,-9,9,9,1,4,0,0"]
    write_visdrone(tmp_path, "train", {"a": [good], "b": [bad[0], good, *bad[1:]], "c": []})
    write_visdrone(tmp_path, "val", {"d": [good]})
    dataset = VisDrone(VisDrone.Config(root=str(tmp_path), val_size=1))
    with caplog.at_level(logging.WARNING):
        splits = [dataset.split(name) for name in ("train", "val", "test")]
    assert dataset.dropped_boxes == {"train": 4, "test": 0}
    (record,) = caplog.records
    assert "4 of 6 boxes are dropped" in record.message
    assert record.message.endswith("VisDrone2019-DET-train/images/b.jpg")
    kept = sorted(
        len(t["boxes"])
        for split in splits
        for _, t in map(split.samples.__getitem__, range(len(split)))
    )
    assert kept == [0, 1, 1, 1]
    assert target(dataset, "test")["boxes"].tolist() == [[90, 50, 98, 56]]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    write_visdrone(tmp_path, "train", {"a": [], "b": []})
    write_visdrone(tmp_path, "val", {"c": []})
    path = tmp_path / "VisDrone2019-DET-val" / "images" / "c.jpg"
    whole = path.read_bytes()
    dataset = VisDrone(VisDrone.Config(root=str(tmp_path), val_size=1))
    path.write_bytes(whole[:700])
    with pytest.raises(CorruptImageError, match=f"^cannot read the image {path}: "):
        dataset.split("test").samples[0]
    path.write_text("<html>404</html>")
    with pytest.raises(CorruptImageError, match=f"^cannot read the image {path}: "):
        VisDrone(VisDrone.Config(root=str(tmp_path), val_size=1)).split("test")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("coco", "cocodataset.org"), ("visdrone", "VisDrone-Dataset"), ("voc_folder", "root")],
)
def test_what_cannot_be_fetched_says_what_to_do(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=hint):
        DATASETS[name].fetch(tmp_path)


# VOC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [("07+12", {"train": 9, "val": 1, "test": 3}), ("07", {"train": 5, "val": 1, "test": 3})],
)
def test_voc_is_trained_on_both_years_and_tested_on_2007(
    make: Make, train_on: str, expected: dict[str, int]
) -> None:
    dataset = boxed(make("voc2007", train_on=train_on, val_size=1))
    assert dataset.num_classes == 20
    assert lengths(dataset) == expected
    years = {name.split("/")[0] for name in names(dataset, "train")}
    assert years == ({"VOC2007", "VOC2012"} if train_on == "07+12" else {"VOC2007"})
    assert names(dataset, "test")[0] == "VOC2007/JPEGImages/000006.jpg"
    # 21..40 of pixels that are counted from 1, the last one included: 20 pixels
    assert target(dataset, "test")["boxes"].tolist() == [[20, 10, 40, 30]]
    assert target(dataset, "test")["labels"].tolist() == [6]  # car
    assert target(dataset, "test")["area"].tolist() == [400]


def test_voc_needs_what_it_is_trained_on(make: Make, tmp_path: Path) -> None:
    write_voc(tmp_path / "VOC2007", {"trainval": ["1", "2", "3"], "test": ["4"]})
    assert lengths(make("voc2007", root=str(tmp_path), train_on="07", val_size=1))["train"] == 2
    with pytest.raises(MissingDatasetError, match=r"sweep data fetch voc2007"):
        make("voc2007", root=str(tmp_path)).split("train")


def test_voc_is_fetched_through_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        "torchvision.datasets.VOCDetection",
        lambda root, year, image_set, download: calls.append((root, year, image_set, download)),
    )
    Voc2007.fetch(tmp_path)
    assert calls == [
        (tmp_path, "2007", "trainval", True),
        (tmp_path, "2012", "trainval", True),
        (tmp_path, "2007", "test", True),
    ]


def test_torchvision_reads_the_same_objects(make: Make, small_roots: dict[str, Path]) -> None:
    from torchvision.datasets import VOCDetection

    peer = VOCDetection(small_roots["voc2007"], year="2007", image_set="test")
    dataset = boxed(make("voc2007", val_size=1))
    assert len(peer) == len(dataset.split("test"))
    for number in range(len(peer)):
        image, annotation = peer[number]
        np.testing.assert_array_equal(image, dataset.split("test").samples[number][0])
        (thing,) = annotation["annotation"]["object"]
        corners = [int(thing["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
        offset = torch.tensor([1, 1, 0, 0])
        assert (target(dataset, "test", number)["boxes"][0] + offset).tolist() == corners


def test_difficult_objects_are_ignored_and_parts_are_none(tmp_path: Path) -> None:
    things = [("person", (1, 1, 10.5, 20), False), ("dog", (5, 5, 30, 30), True)]
    write_voc(tmp_path, {"train": ["a", "b"], "val": ["c"], "test": ["d"]}, {"d": things})
    dataset = VocFolder(VocFolder.Config(root=str(tmp_path)))
    assert dataset.num_classes == 3  # car, dog, person
    found = target(dataset, "test")
    assert found["boxes"].tolist() == [[0, 0, 10.5, 20], [4, 4, 30, 30]]
    assert found["labels"].tolist() == [2, 1]
    assert found["ignore"].tolist() == [False, True]
    assert found["area"].tolist() == [210, 676]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("<annotation><object>", r"cannot read .*/a\.xml: no element found"),
        ("<annotation><object><name>car</name></object></annotation>", r"a\.xml: .*bndbox/xmin"),
        (voc_xml("a", 60, 40, [("car", ("one", 1, 5, 5), False)]), r"a\.xml: .*'one'"),
        (None, r"cannot read .*/Annotations/a\.xml: .*No such file"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path: Path, damage: str | None, message: str) -> None:
    write_voc(tmp_path, {"train": ["a", "b"], "test": ["c"]})
    path = tmp_path / "Annotations" / "a.xml"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    with pytest.raises(DatasetError, match=message):
        VocFolder(VocFolder.Config(root=str(tmp_path))).split("train")


def test_a_listed_image_that_is_missing_is_named(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a", "b"], "test": ["c"]})
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"JPEGImages has no image b, which train\.txt lists"):
        VocFolder(VocFolder.Config(root=str(tmp_path))).split("train")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train"], {"train": 15, "val": 1, "test": 4}),  # a fifth of 20 is the test split
        (["train", "val"], {"train": 19, "val": 1, "test": 3}),
        (["train", "test"], {"train": 19, "val": 1, "test": 2}),
        (["train", "val", "test"], {"train": 20, "val": 3, "test": 2}),
    ],
)
def test_which_list_is_which_split(
    tmp_path: Path, given: list[str], expected: dict[str, int]
) -> None:
    counts = {"train": 20, "val": 3, "test": 2}
    write_voc(tmp_path, {name: [f"{name}{n}" for n in range(counts[name])] for name in given})
    dataset = VocFolder(VocFolder.Config(root=str(tmp_path), val_size=1))
    assert lengths(dataset) == expected
    assert dataset.train_images == expected["train"]


def test_a_class_is_named_once() -> None:
    with pytest.raises(ValueError, match="names 'car' twice"):
        VocFolder.Config(root="photos", classes=["car", "dog", "car"])


def test_classes_are_sorted_or_given(tmp_path: Path) -> None:
    box = (1, 1, 9, 9)
    things = {"a": [("zebra", box, False)], "c": [("ant", box, False)]}
    write_voc(tmp_path, {"train": ["a", "b"], "test": ["c"]}, things)  # and "b": a car
    found = VocFolder(VocFolder.Config(root=str(tmp_path), val_size=1))
    assert (found.num_classes, target(found, "test")["labels"].tolist()) == (3, [0])
    given = ["zebra", "ant", "car", "bus"]
    named = VocFolder(VocFolder.Config(root=str(tmp_path), val_size=1, classes=given))
    assert (named.num_classes, target(named, "test")["labels"].tolist()) == (4, [1])
    few = VocFolder(VocFolder.Config(root=str(tmp_path), val_size=1, classes=["zebra", "car"]))
    with pytest.raises(DatasetError, match=r"c\.xml: 'ant' is none of the 2 classes: zebra, car"):
        few.split("train")


def test_other_suffixes_and_grey_photos(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": ["a", "b"], "test": ["c"]})
    (tmp_path / "JPEGImages" / "c.jpg").unlink()
    PIL.Image.new("L", (60, 40), 7).save(tmp_path / "JPEGImages" / "c.PNG")
    image, _ = VocFolder(VocFolder.Config(root=str(tmp_path), val_size=1)).split("test").samples[0]
    assert (image.mode, image.size, image.getpixel((3, 3))) == ("RGB", (60, 40), (7, 7, 7))


def test_what_identifies_a_folder(tmp_path: Path) -> None:
    for place in ("one", "two/deeper"):
        write_voc(tmp_path / place, {"train": ["a", "b"], "test": ["c"]})
    one, two = (VocFolder(VocFolder.Config(root=str(tmp_path / p))) for p in ("one", "two/deeper"))
    before = one.content()
    assert before == two.content()
    assert str(tmp_path) not in str(before)
    path = tmp_path / "one" / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<xmin>21", "<xmin>22"))
    moved = one.content()
    (tmp_path / "one" / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    assert before != moved != one.content() != before


def test_bccd() -> None:
    """364 photos with 4,888 boxes, of which two are points."""
    archive = SHARED / "bccd_voc.tar"
    if not archive.is_file():
        pytest.skip(f"{archive} is not here (it is not part of the project)")
    with tarfile.open(archive) as members:
        members.extractall("bccd", filter="data")
    dataset = VocFolder(VocFolder.Config(root="bccd/BCCD"))
    assert dataset.num_classes == 3
    assert lengths(dataset) == {"train": 205, "val": 87, "test": 72}
    assert sum(dataset.dropped_boxes.values()) == 2
    labels = torch.cat(
        [
            target(dataset, name, n)["labels"]
            for name, length in lengths(dataset).items()
            for n in range(length)
        ]
    )
    assert len(labels) == 4888 - 2
    # Platelets, RBC and WBC as `grep -c "<name>RBC<"` counts them; the two points are red cells.
    assert labels.bincount().tolist() == [361, 4155 - 2, 372]
    first = target(dataset, "val")  # BloodImage_00000
    assert first["boxes"][0].tolist() == [259, 176, 491, 376]
    assert first["labels"][0] == 2


# COCO -----------------------------------------------------------------------------------------


def test_coco_is_tested_on_its_official_validation_images(make: Make) -> None:
    dataset = boxed(make("coco", val_size=3))
    assert dataset.num_classes == 80
    assert lengths(dataset) == {"train": 5, "val": 3, "test": 2}  # 2 of 10 have no object
    assert names(dataset, "test") == ["val2017/000000000100.jpg", "val2017/000000000101.jpg"]
    found = target(dataset, "test")
    assert found["boxes"].tolist() == [[5.5, 4, 25.5, 14]]
    assert found["labels"].tolist() == [20]  # image 100 has category COCO_IDS[100 % 80]
    assert found["area"].tolist() == [90.5]  # of the outline, not of the box
    assert len(target(dataset, "test", 1)["boxes"]) == 0


def test_coco_ids_crowds_and_images_without_objects(tmp_path: Path) -> None:
    crowd = {"segmentation": {"counts": [3, 2], "size": [30, 50]}, "iscrowd": 1}
    annotations: list[dict[str, Any]] = [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 12},
        {"image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 50},
        {"image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 50, **crowd},
        {"image_id": 7, "category_id": 13, "bbox": [4, 4, 9, 9], "area": 70, **crowd},
        {"image_id": 7, "category_id": 11, "bbox": [4, 4, 0, 9], "area": 0},
    ]
    photos = [(7, 50, 30), (5, 50, 30), (3, 50, 30), (2, 50, 30)]
    for split in ("train2017", "val2017"):
        write_coco(tmp_path, split, coco_json(photos, annotations))
    dataset = Coco(Coco.Config(root=str(tmp_path), val_size=1))
    assert dataset.dropped_boxes == {"train": 1, "test": 1}
    # Image 5 has a crowd alone, image 2 nothing.
    kept = sorted([*names(dataset, "train"), *names(dataset, "val")])
    assert kept == ["train2017/000000000003.jpg", "train2017/000000000007.jpg"]
    assert names(dataset, "test") == [f"val2017/{n:012d}.jpg" for n in (2, 3, 5, 7)]
    last = target(dataset, "test", 3)
    assert last["boxes"].tolist() == [[1, 2, 4, 6], [4, 4, 13, 13]]
    assert last["labels"].tolist() == [79, COCO_IDS.index(13)] == [79, 11]
    assert last["ignore"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": [{"id": 1}]}, "has 1 categories, COCO has 80"),
        (
            {"annotations": [{"image_id": 1, "category_id": 12, "bbox": [0, 0, 1, 1]}]},
            "category 12",
        ),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0]}]}, "cannot read"),
        ({"images": [{"id": 1}]}, "no 'file_name'"),
    ],
)
def test_a_broken_coco_file_is_named(tmp_path: Path, change: Any, message: str) -> None:
    content = coco_json([(1, 50, 30), (2, 50, 30)], [])
    write_coco(tmp_path, "val2017", content)
    write_coco(tmp_path, "train2017", content)
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(DatasetError, match=message) as error:
        Coco(Coco.Config(root=str(tmp_path))).split("train")
    assert str(path) in str(error.value)
    path.write_text(json.dumps(content)[:-9])
    with pytest.raises(DatasetError, match=f"cannot read {path}: "):
        Coco(Coco.Config(root=str(tmp_path))).split("train")


def test_coco_keeps_no_outlines_in_memory(tmp_path: Path) -> None:
    outline = [[float(n) for n in range(2000)]]
    objects = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 9, "segmentation": outline}
    ] * 400
    for split, things in [("train2017", objects), ("val2017", [])]:
        write_coco(tmp_path, split, coco_json([(1, 50, 30), (2, 50, 30)], things))
    size = (tmp_path / "annotations" / "instances_train2017.json").stat().st_size
    dataset = Coco(Coco.Config(root=str(tmp_path)))
    tracemalloc.start()
    dataset.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The text and its decoding take up to twice its size; the outlines as lists four times.
    assert peak < 3 * size


# VisDrone -------------------------------------------------------------------------------------


def test_visdrone_categories(tmp_path: Path) -> None:
    lines = [
        "0,0,30,20,0,0,0,0,",  # a region to be ignored; some lines end with a comma
        "10,12,8,6,1,1,0,0",
        "20,12,8,6,1,10,1,2",
        "30,12,8,6,0,4,0,0",  # an object that is not considered
        "40,12,8,6,1,11,0,0",  # others
    ]
    write_visdrone(tmp_path, "train", {"a": [], "b": []})
    write_visdrone(tmp_path, "val", {"z": [], "y": lines})
    dataset = VisDrone(VisDrone.Config(root=str(tmp_path), val_size=1))
    assert dataset.num_classes == 10
    assert names(dataset, "test") == [f"VisDrone2019-DET-val/images/{n}.jpg" for n in "yz"]
    found = target(dataset, "test")
    assert found["boxes"].tolist() == [
        [0, 0, 30, 20],
        [10, 12, 18, 18],
        [20, 12, 28, 18],
        [30, 12, 38, 18],
    ]
    assert found["labels"].tolist() == [ANY_CLASS, 0, 9, 3]
    assert found["ignore"].tolist() == [True, False, False, True]
    assert found["area"].tolist() == [600, 48, 48, 48]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3,4,1,4,0", r"a\.txt, line 2: not enough values"),
        ("1,2,x,4,1,4,0,0", r"a\.txt, line 2: .*'x'"),
        ("1,2,3,4,1,12,0,0", r"a\.txt, line 2: category \(=12\) must be 0 to 11"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write_visdrone(tmp_path, "train", {"a": ["1,2,3,4,1,4,0,0", line], "b": []})
    write_visdrone(tmp_path, "val", {"c": []})
    with pytest.raises(DatasetError, match=message):
        VisDrone(VisDrone.Config(root=str(tmp_path))).split("test")


def test_an_annotation_that_is_missing_is_named(tmp_path: Path) -> None:
    write_visdrone(tmp_path, "train", {"a": [], "b": []})
    write_visdrone(tmp_path, "val", {"c": []})
    write_photo(tmp_path / "VisDrone2019-DET-val" / "images" / "d.jpg", 96, 54)
    with pytest.raises(DatasetError, match=r"cannot read .*annotations/d\.txt"):
        VisDrone(VisDrone.Config(root=str(tmp_path))).split("test")
