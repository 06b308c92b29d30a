"""MS COCO 2017, detection: 80 classes, in the publishers' files.

    root/train2017/*.jpg, root/val2017/*.jpg,
    root/annotations/instances_train2017.json, root/annotations/instances_val2017.json

T.-Y. Lin et al. Microsoft COCO: Common Objects in Context. arXiv:1405.0312.

The official validation images are the TEST split here, as papers report them; validation is split
off training. The publishers' category ids, 1 to 90 with gaps, become 0 to 79 in their order.
Crowds are to be ignored. Of the 118,287 training images, the 1,021 without an object other than a
crowd are left out, as in torchvision's and Detectron2's training; no test image is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data.base import DatasetError, SplitName, ValSize
from sweep.data.detection import (
    AnnotatedImage,
    BoxPool,
    DetectionConfig,
    DetectionDataset,
    gather,
)
from sweep.data.places import find_folder
from sweep.registry import DATASETS

HOW_TO_GET = (
    "get train2017.zip, val2017.zip and annotations_trainval2017.zip at "
    "https://cocodataset.org/#download and unpack them in one folder"
)
FOLDERS: dict[SplitName, str] = {"train": "train2017", "test": "val2017"}


class CocoConfig(DetectionConfig):
    """Settings of COCO; ``root`` holds ``train2017``, ``val2017`` and ``annotations``."""

    val_size: ValSize = 5000
    """Validation images split off training: a number, or a fraction of the training split."""


@DATASETS.register("coco")
class Coco(DetectionDataset):
    """80 classes, 117,266 training images with objects and 5,000 test images."""

    Config = CocoConfig
    num_classes = 80
    published_train_images = 117_266

    def find(self) -> Path:
        return find_folder("coco", self.config.root, "coco", holds=_holds_all, get=HOW_TO_GET)

    @classmethod
    def fetch(cls, root: Path) -> None:
        raise NotImplementedError(f"coco is 19 GB that you download once: {HOW_TO_GET}")

    def read(self) -> dict[SplitName, BoxPool]:
        pools = {split: self._pool(name) for split, name in FOLDERS.items()}
        return pools | {"train": pools["train"].trainable()}

    def _pool(self, name: str) -> BoxPool:
        folder = self.find()
        path = _annotations(folder, name)
        try:
            with path.open(encoding="utf-8") as file:
                content = json.load(file, object_hook=_without_outlines)
            return gather(folder, _images(name, content, self._category_ids(path, content)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, DatasetError):
                raise
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"cannot read {path}: {reason}") from error

    def _category_ids(self, path: Path, content: dict[str, Any]) -> NDArray[np.int64]:
        """Return the ids of the categories, sorted: int64 (80,).

        Raises:
            DatasetError: there are not 80, so that their numbers would be others.
        """
        ids = np.unique([category["id"] for category in content["categories"]])
        if len(ids) != self.num_classes:
            raise DatasetError(f"{path} has {len(ids)} categories, COCO has {self.num_classes}")
        return ids


def _holds_all(folder: Path) -> bool:
    return all(
        (folder / name).is_dir() and _annotations(folder, name).is_file()
        for name in FOLDERS.values()
    )


def _annotations(folder: Path, name: str) -> Path:
    return folder / "annotations" / f"instances_{name}.json"


def _without_outlines(item: dict[str, Any]) -> Any:
    """Keep eight numbers of an annotation: the outlines of all would take some gigabytes."""
    if "bbox" not in item:
        return item
    return (
        item["image_id"],
        *item["bbox"],
        item["category_id"],
        item.get("iscrowd", 0),
        item.get("area", np.nan),
    )


def _images(name: str, content: dict[str, Any], ids: NDArray[np.int64]) -> list[AnnotatedImage]:
    """Return the images of one file in the order of their ids.

    Raises:
        ValueError: an annotation has a category that the file does not describe.
    """
    rows = np.array(content["annotations"], np.float64).reshape(-1, 8)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    owners, categories = rows[:, 0], rows[:, 5]
    if not (known := np.isin(categories, ids)).all():
        raise ValueError(f"category {categories[~known][0]:.0f} is not described")
    rows[:, 5] = np.searchsorted(ids, categories)
    rows[:, 3:5] += rows[:, 1:3]  # width and height to x2 and y2
    images = sorted(content["images"], key=lambda image: int(image["id"]))
    starts, ends = (
        np.searchsorted(owners, [image["id"] for image in images], side=side)
        for side in ("left", "right")
    )
    return [
        AnnotatedImage(
            f"{name}/{image['file_name']}", (image["width"], image["height"]), rows[start:end, 1:]
        )
        for image, start, end in zip(images, starts, ends, strict=True)
    ]
