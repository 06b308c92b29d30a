"""Any photos with boxes in the format of Pascal VOC, as labelling programs write it.

    root/JPEGImages/ID.jpg (or another suffix), Annotations/ID.xml, and lists of IDs:
    root/ImageSets/Main/train.txt    the training images, and
    root/ImageSets/Main/test.txt     the test images; or, where there is no such list,
    root/ImageSets/Main/val.txt      these are the test images
    train.txt, val.txt, test.txt     all three: val is validation, val_size has no use
    train.txt alone                  a fifth is the test split: taken off with a fixed seed before
                                     validation is split off

Classes are numbered in the order of their sorted names, by all annotations that are listed, or as
``classes`` names them. Objects marked difficult are to be ignored.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from sweep.data.base import DatasetError, MissingDatasetError, Root, SplitName
from sweep.data.detection import BoxPool, DetectionConfig, DetectionDataset
from sweep.data.labelled import TEST_SEED, TEST_SHARE
from sweep.data.voc_detection import VocImage, list_path, number_classes, read_images
from sweep.registry import DATASETS
from sweep.spec.confined import data_folder
from sweep.spec.fingerprint import annotations_digest, folder_digest, readable


class VocFolderConfig(DetectionConfig):
    """Settings of a folder in VOC's format."""

    root: Root
    """Folder that holds the files; what it holds determines a result, where it lies does not."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the classes in the order of their numbers; by default those of the annotations."""

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: list[str] | None) -> list[str] | None:
        seen: set[str] = set()
        for name in classes or ():
            if name in seen:
                raise ValueError(f"names {name!r} twice")
            seen.add(name)
        return classes


@DATASETS.register("voc_folder")
class VocFolder(DetectionDataset):
    """As many classes as the annotations name."""

    Config = VocFolderConfig
    config: VocFolderConfig

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    @property
    def train_images(self) -> int:
        return len(self.pools["train"])

    def find(self) -> Path:
        with readable(self._root):
            listed = list_path(self._root, "train").is_file()
        if not listed:
            raise MissingDatasetError(
                f"voc_folder: no files in {self._root}; give it JPEGImages, Annotations and "
                "ImageSets/Main/train.txt"
            )
        return self._root

    @classmethod
    def fetch(cls, root: Path) -> None:
        raise NotImplementedError(
            "voc_folder is a folder of your own: name it as `root`, with JPEGImages, Annotations "
            "and ImageSets/Main/train.txt in it"
        )

    def content(self) -> dict[str, Any]:
        return super().content() | {
            "files": folder_digest(self.find()),
            "annotations": annotations_digest(self.find()),
        }

    def read(self) -> dict[SplitName, BoxPool]:
        pools: dict[SplitName, BoxPool] = {
            name: number_classes(self._root, images, self._classes)
            for name, images in self._images.items()
        }
        if "test" not in pools and "val" in pools:
            pools["test"] = pools.pop("val")
        elif "test" not in pools:
            pools["train"], pools["test"] = pools["train"].hold_out(
                TEST_SHARE, seed=TEST_SEED, field="test share"
            )
        return pools

    @property
    def _root(self) -> Path:
        return data_folder(self.config.root)

    @cached_property
    def _images(self) -> dict[SplitName, list[VocImage]]:
        """The images of every list that is there."""
        folder = self.find()
        names: tuple[SplitName, ...] = ("train", "val", "test")
        given = [name for name in names if list_path(folder, name).is_file()]
        return {name: list(read_images(folder, "", name)) for name in given}

    @property
    def _classes(self) -> list[str]:
        if self.config.classes is not None:
            return self.config.classes
        images = [image for split in self._images.values() for image in split]
        found = sorted({thing.name for image in images for thing in image.objects})
        if not found:
            raise DatasetError(f"{self._root / 'Annotations'}: no object is annotated")
        return found
