"""VisDrone2019-DET: photos from drones with up to 900 small objects of 10 classes.

    root/VisDrone2019-DET-{train,val}/images/NAME.jpg, annotations/NAME.txt

P. Zhu et al. Detection and Tracking Meet Drones Challenge. arXiv:2001.06303.

A line of an annotation is x, y, width, height, score, category, truncation, occlusion. Categories 1
to 10 become 0 to 9; category 0 is a region to be ignored whatever is found there, and an object of
score 0 is to be ignored. Category 11, "others", is left out, as the publishers' program does, which
measures the ten classes alone: it is background.

The official validation images are the TEST split here, as papers report them (those of the
challenge have no published annotations); validation is split off training.

Deviations from the publishers' program: it removes what overlaps ignored regions by half before it
measures, objects too; here a detection is ignored that COCO's measure would ignore in a crowd.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.data.base import DatasetError, SplitName
from sweep.data.detection import (
    ANY_CLASS,
    COLUMNS,
    AnnotatedImage,
    BoxPool,
    DetectionConfig,
    DetectionDataset,
    gather,
    image_size,
)
from sweep.data.places import find_folder
from sweep.registry import DATASETS
from sweep.spec.fingerprint import check_regular, image_files

HOW_TO_GET = (
    "get VisDrone2019-DET-train.zip and VisDrone2019-DET-val.zip at "
    "https://github.com/VisDrone/VisDrone-Dataset and unpack them in one folder"
)
FOLDERS: dict[SplitName, str] = {"train": "VisDrone2019-DET-train", "test": "VisDrone2019-DET-val"}

REGION, OTHERS = 0, 11
"""Categories that are no class."""


class VisDroneConfig(DetectionConfig):
    """Settings of VisDrone; ``root`` holds the folders of both splits."""


@DATASETS.register("visdrone")
class VisDrone(DetectionDataset):
    """10 classes, 6,471 training and 548 test images."""

    Config = VisDroneConfig
    num_classes = 10
    published_train_images = 6471

    def find(self) -> Path:
        return find_folder(
            "visdrone", self.config.root, "VisDrone", holds=_holds_all, get=HOW_TO_GET
        )

    @classmethod
    def fetch(cls, root: Path) -> None:
        raise NotImplementedError(f"visdrone cannot be downloaded by a program: {HOW_TO_GET}")

    def read(self) -> dict[SplitName, BoxPool]:
        folder = self.find()
        return {split: gather(folder, _images(folder, name)) for split, name in FOLDERS.items()}


def _holds_all(folder: Path) -> bool:
    return all(
        (folder / name / part).is_dir()
        for name in FOLDERS.values()
        for part in ("images", "annotations")
    )


def _images(folder: Path, part: str) -> list[AnnotatedImage]:
    """Return the images of one split, sorted by name.

    Raises:
        DatasetError: an annotation is not there or cannot be read; the text names it.
    """
    images = []
    for name in sorted(name for name, _ in image_files(folder / part / "images")):
        photo = f"{part}/images/{name}"
        boxes = _boxes((folder / part / "annotations" / name).with_suffix(".txt"))
        images.append(AnnotatedImage(photo, image_size(folder / photo), boxes))
    return images


def _boxes(path: Path) -> NDArray[np.float64]:
    try:
        check_regular(path)
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=1)]
    return np.array([row for row in rows if row], np.float64).reshape(-1, COLUMNS)


def _row(path: Path, number: int, line: str) -> tuple[float, ...]:
    """Return the columns of one box; none if it is not one of the classes."""
    try:
        # Some lines of the publishers' files end with a comma.
        x, y, width, height, score, category, _, _ = map(int, line.rstrip(",").split(","))
    except ValueError as error:
        raise DatasetError(f"cannot read {path}, line {number}: {error}") from error
    if not REGION <= category <= OTHERS:
        raise DatasetError(f"{path}, line {number}: category (={category}) must be 0 to 11")
    if category == OTHERS:
        return ()
    label = ANY_CLASS if category == REGION else category - 1
    ignore = category == REGION or score == 0
    return x, y, x + width, y + height, label, ignore, np.nan
