"""Pascal VOC 2007, detection: 20 classes, in the publishers' files.

    root/VOCdevkit/VOC2007/JPEGImages/ID.jpg, Annotations/ID.xml, ImageSets/Main/{trainval,test}.txt
    root/VOCdevkit/VOC2012/...                                    ImageSets/Main/trainval.txt

M. Everingham et al. The Pascal Visual Object Classes (VOC) Challenge. IJCV 88, 2010.

Trained on trainval of 2007 and 2012, tested on test of 2007, as papers report it. Validation is
split off training. Objects marked difficult are to be ignored; VOC's own program ignores what
overlaps them by half, COCO's measure, which is used here, ignores what lies in them.

VOC counts pixels from 1 and includes the last one: xmin..xmax cover [xmin - 1, xmax].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import numpy as np

from sweep.data.base import DatasetError, SplitName
from sweep.data.detection import (
    COLUMNS,
    AnnotatedImage,
    BoxPool,
    DetectionConfig,
    DetectionDataset,
    gather,
    image_size,
)
from sweep.data.places import fetch_hint, find_folder
from sweep.registry import DATASETS
from sweep.spec.fingerprint import check_regular, image_files

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

TRAINVAL = {"07": (("2007", "trainval"),), "07+12": (("2007", "trainval"), ("2012", "trainval"))}
TEST = (("2007", "test"),)


class VocObject(NamedTuple):
    """One object of an annotation."""

    name: str
    corners: tuple[float, float, float, float]
    """x1, y1, x2, y2 with x2 and y2 exclusive, from 0."""
    difficult: bool


@dataclass(frozen=True)
class VocImage:
    """One image with its objects as they are annotated."""

    name: str
    size: tuple[int, int]
    annotation: Path
    objects: tuple[VocObject, ...]


class VocConfig(DetectionConfig):
    """Settings of VOC; ``root`` holds ``VOCdevkit`` or the folders in it."""

    train_on: Literal["07+12", "07"] = "07+12"
    """Whose trainval images are trained on: those of 2007 and 2012, 16,551, or of 2007, 5,011."""


@DATASETS.register("voc2007")
class Voc2007(DetectionDataset):
    """20 classes, 16,551 training images (or 5,011) and 4,952 test images."""

    Config = VocConfig
    config: VocConfig
    num_classes = len(CLASSES)

    @property
    def published_train_images(self) -> int:
        return {"07": 5011, "07+12": 16_551}[self.config.train_on]

    def find(self) -> Path:
        return find_folder(
            "voc2007",
            self.config.root,
            "VOCdevkit",
            holds=self._holds_all,
            get=fetch_hint("voc2007"),
        )

    @classmethod
    def fetch(cls, root: Path) -> None:
        from torchvision.datasets import VOCDetection

        for year, image_set in (*TRAINVAL["07+12"], *TEST):
            VOCDetection(root, year=year, image_set=image_set, download=True)

    def read(self) -> dict[SplitName, BoxPool]:
        return {
            "train": self._pool(TRAINVAL[self.config.train_on]),
            "test": self._pool(TEST),
        }

    def _pool(self, parts: Sequence[tuple[str, str]]) -> BoxPool:
        folder = self.find()
        images: list[VocImage] = []
        for year, image_set in parts:
            images += read_images(folder, f"VOC{year}", image_set)
        return number_classes(folder, images, CLASSES)

    def _holds_all(self, folder: Path) -> bool:
        return all(
            list_path(folder / f"VOC{year}", image_set).is_file()
            for year, image_set in (*TRAINVAL[self.config.train_on], *TEST)
        )


def list_path(folder: Path, image_set: str) -> Path:
    """Return the file that lists the images of a split, below a folder in VOC's format."""
    return folder / "ImageSets" / "Main" / f"{image_set}.txt"


def read_images(root: Path, part: str, image_set: str) -> Iterator[VocImage]:
    """Yield the images of a split in the order of its list.

    Args:
        root: that the names of the images are relative to.
        part: folder in ``root`` in VOC's format.
        image_set: name of the list, without ".txt".

    Raises:
        DatasetError: an image or an annotation is not there or cannot be read; the text names it.
    """
    folder = root / part
    photos = folder / "JPEGImages"
    names = {Path(name).stem: name for name, _ in image_files(photos)} if photos.is_dir() else {}
    for line in _lines(list_path(folder, image_set)):
        if line not in names:
            raise DatasetError(f"{photos} has no image {line}, which {image_set}.txt lists")
        name = (Path(part) / "JPEGImages" / names[line]).as_posix()
        annotation = folder / "Annotations" / f"{line}.xml"
        # The size from the file itself: what annotations say of it is wrong or 0 now and then.
        yield VocImage(name, image_size(root / name), annotation, _objects(annotation))


def number_classes(root: Path, images: Iterable[VocImage], classes: Sequence[str]) -> BoxPool:
    """Return images with their boxes; a label is the position of a name in ``classes``.

    Raises:
        DatasetError: a name is not in ``classes``; the text names it and the annotation.
    """
    labels = {name: label for label, name in enumerate(classes)}

    def numbered(image: VocImage) -> AnnotatedImage:
        for thing in image.objects:
            if thing.name not in labels:
                raise DatasetError(
                    f"{image.annotation}: {thing.name!r} is none of the {len(labels)} classes: "
                    + ", ".join(classes)
                )
        rows = [(*o.corners, labels[o.name], o.difficult, np.nan) for o in image.objects]
        boxes = np.array(rows, np.float64).reshape(-1, COLUMNS)
        return AnnotatedImage(image.name, image.size, boxes)

    return gather(root, map(numbered, images))


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _objects(path: Path) -> tuple[VocObject, ...]:
    try:
        check_regular(path)
        annotation = ElementTree.parse(path).getroot()
        return tuple(_object(node) for node in annotation.findall("object"))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def _object(node: ElementTree.Element) -> VocObject:
    left, top, right, bottom = (
        float(_text(node, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    if right > left and bottom > top:  # a point or a line does not become a pixel wide
        left, top = left - 1, top - 1
    difficult = node.findtext("difficult", "0").strip() == "1"
    return VocObject(_text(node, "name").strip(), (left, top, right, bottom), difficult)


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f"an object without <{path}>")
    return text
