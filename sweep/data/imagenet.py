"""ImageNet (ILSVRC 2012): 1.28 million photos of 1,000 classes, as torchvision unpacks them.

    root/train/WNID/*.JPEG, root/val/WNID/*.JPEG, root/meta.bin

O. Russakovsky et al. ImageNet Large Scale Visual Recognition Challenge. arXiv:1409.0575.

The official validation images are the TEST split here, as papers report them; validation is split
off training. meta.bin (torchvision's list of classes) is compared where it is there.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sweep.data.base import DatasetConfig, DatasetError, ImageSize, SplitName, ValSize
from sweep.data.folders import FolderDataset, class_folders, read_classes
from sweep.data.labelled import Pool
from sweep.data.places import find_folder
from sweep.registry import DATASETS

HOW_TO_GET = (
    "get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz at "
    "https://image-net.org/download (it asks for an account), put them in one folder and unpack "
    'them with torchvision.datasets.ImageNet(folder, split) for the splits "train" and "val"'
)


class ImageNetConfig(DatasetConfig):
    """Settings of ImageNet; ``root`` holds ``train`` and ``val``."""

    image_size: ImageSize = 224
    """Height and width of the images that a model sees, in pixels."""
    val_size: ValSize = 50_000
    """Validation images split off training: a number, or a fraction of the training split."""


@DATASETS.register("imagenet")
class ImageNet(FolderDataset):
    """1,000 classes, 1,281,167 training and 50,000 test images."""

    Config = ImageNetConfig
    num_classes = 1000
    published_train_images = 1_281_167

    @property
    def class_names(self) -> tuple[str, ...]:
        """By meta.bin, where it is there; else the names of the folders (WNIDs)."""
        folder = self.find()
        meta = folder / "meta.bin"
        names = _read_meta(meta) if meta.is_file() else {}
        return tuple(names.get(wnid, [wnid])[0] for wnid in class_folders(folder / "train"))

    def find(self) -> Path:
        return find_folder(
            "imagenet", self.config.root, "ImageNet", holds=_holds_both, get=HOW_TO_GET
        )

    @classmethod
    def fetch(cls, root: Path) -> None:
        raise NotImplementedError(f"imagenet cannot be downloaded by a program: {HOW_TO_GET}")

    def read(self) -> dict[SplitName, Pool]:
        folder = self.find()
        classes = class_folders(folder / "train")
        self._check(folder, classes)
        return {
            "train": read_classes(folder / "train", classes),
            "test": read_classes(folder / "val", classes),
        }

    def _check(self, folder: Path, classes: list[str]) -> None:
        """Refuse a part of ImageNet: its classes would be numbered otherwise.

        Raises:
            DatasetError: there are not the 1,000 class folders, or not those of meta.bin.
        """
        if len(classes) != self.num_classes:
            raise DatasetError(
                f"{folder / 'train'} holds {len(classes)} class folders, ImageNet has "
                f"{self.num_classes}; for a part of it, use the data set imagefolder"
            )
        meta = folder / "meta.bin"
        known = set(_read_meta(meta)) if meta.is_file() else set(classes)
        if unknown := sorted(set(classes) - known):
            raise DatasetError(f"{folder / 'train' / unknown[0]} is no class of {meta}")


def _read_meta(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of every class by its WNID.

    Raises:
        DatasetError: it is not torchvision's list; the text names the file.
    """
    try:
        names, _ = torch.load(path, weights_only=True)  # {wnid: names}, wnids of val
    except Exception:  # whatever a damaged file makes torch raise; its text advises to trust it
        raise DatasetError(f"cannot read {path}: it is not torchvision's list of classes") from None
    assert isinstance(names, dict)
    return names


def _holds_both(folder: Path) -> bool:
    return (folder / "train").is_dir() and (folder / "val").is_dir()
