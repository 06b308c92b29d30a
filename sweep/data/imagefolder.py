"""Any photos in one folder per class.

    root/train/CLASS/*.jpg                     the training images, and
    root/test/CLASS/*.jpg                      the test images; or, where there is no test folder,
    root/val/CLASS/*.jpg                       these are the test images (as in ImageNet)
    root/train, root/val, root/test            all three: val is validation, val_size has no use
    root/train alone, or root/CLASS/*.jpg      a fifth, stratified, is the test split: taken off
                                               with a fixed seed before validation is split off

Classes are numbered in the order of their sorted names, by the training folder. Images may lie
deeper in a class's folder.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from sweep.data.base import DatasetConfig, MissingDatasetError, Root, SplitName
from sweep.data.folders import FolderDataset, class_folders, read_classes
from sweep.data.labelled import TEST_SEED, TEST_SHARE, Pool
from sweep.registry import DATASETS
from sweep.spec.confined import data_folder
from sweep.spec.fingerprint import folder_digest


class ImageFolderConfig(DatasetConfig):
    """Settings of a folder of images."""

    root: Root
    """Folder that holds the files; what it holds determines a result, where it lies does not."""


@DATASETS.register("imagefolder")
class ImageFolder(FolderDataset):
    """As many classes as there are folders; grey images become RGB."""

    Config = ImageFolderConfig
    config: ImageFolderConfig

    @property
    def num_classes(self) -> int:
        return len(class_folders(self._training_folder()))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(class_folders(self._training_folder()))

    @property
    def train_images(self) -> int:
        return len(self.pools["train"])

    def find(self) -> Path:
        self._training_folder()
        return self._root

    @classmethod
    def fetch(cls, root: Path) -> None:
        raise NotImplementedError(
            "imagefolder is a folder of your own: name it as `root`, with one folder per class"
        )

    def content(self) -> dict[str, Any]:
        return super().content() | {"files": self._digest}

    def read(self) -> dict[SplitName, Pool]:
        training = self._training_folder()
        classes = class_folders(training)
        pools: dict[SplitName, Pool] = {"train": read_classes(training, classes)}
        others = [self._root / name for name in ("val", "test")]
        given = [folder for folder in others if folder.is_dir()] if training != self._root else []
        match given:
            case [val, test]:
                pools["val"], pools["test"] = (
                    read_classes(val, classes),
                    read_classes(test, classes),
                )
            case [test]:
                pools["test"] = read_classes(test, classes)
            case _:
                pools["train"], pools["test"] = pools["train"].hold_out(
                    TEST_SHARE, seed=TEST_SEED, field="test share"
                )
        return pools

    @property
    def _root(self) -> Path:
        return data_folder(self.config.root)

    @cached_property
    def _digest(self) -> str:
        return folder_digest(self.find())

    def _training_folder(self) -> Path:
        for folder in (self._root / "train", self._root):
            if set(class_folders(folder)) - {"train", "val", "test"}:
                return folder
        raise MissingDatasetError(
            f"imagefolder: no files in {self._root}; give it one folder of images per class, or "
            "train/ and test/ of such folders"
        )
