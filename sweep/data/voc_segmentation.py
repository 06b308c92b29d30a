"""PASCAL VOC 2012 for semantic segmentation, with the training masks of SBD ("train_aug").

    root/VOCdevkit/VOC2012/JPEGImages/*.jpg
                           SegmentationClass/*.png                      val, and train
                           SegmentationClassAug/*.png                   train_aug
                           ImageSets/Segmentation/{train,val,train_aug}.txt

M. Everingham et al. The PASCAL Visual Object Classes (VOC) Challenge, 2010.
B. Hariharan et al. Semantic Contours from Inverse Detectors (SBD), 2011.

The 1,449 images of val.txt are the TEST split here, as papers report them; validation is split off
training, at random. A mask has one class number per pixel: 0 is the background, 1 to 20 the
objects, 255 is ignored. VOC's own masks have a line of it around every object; those that come
from SBD do not.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import (
    IGNORED,
    Augmentation,
    Dataset,
    DatasetConfig,
    DatasetError,
    Images,
    ImageSize,
    MissingDatasetError,
    SplitName,
    StreamSplit,
    ValSize,
)
from sweep.data.labelled import FileSource, opened
from sweep.data.places import fetch_hint, find_folder
from sweep.registry import DATASETS

if TYPE_CHECKING:
    from PIL.Image import Image

ListName = Literal["train_aug", "train", "val"]

PUBLISHED: dict[ListName, int] = {"train_aug": 10_582, "train": 1_464, "val": 1_449}
"""Images of each list."""

HOW_TO_AUGMENT = (
    "get SegmentationClassAug (a zip file) and train_aug.txt by the links in the README of "
    "https://github.com/VainF/DeepLabV3Plus-Pytorch, and put them at VOC2012/SegmentationClassAug "
    "and VOC2012/ImageSets/Segmentation/train_aug.txt; or train without them: training: train"
)


class VOC2012AugConfig(DatasetConfig):
    """Settings of VOC 2012; ``root`` holds ``VOCdevkit``."""

    image_size: ImageSize = 513
    """Height and width of the images that a model sees, in pixels."""
    val_size: ValSize = 500
    """Validation images split off training: a number, or a fraction of the training split."""
    subset: Images | None = None
    """Keep only this many training images, drawn at random after validation was split off."""
    training: Literal["train_aug", "train"] = "train_aug"
    """List of training images: "train_aug" (10,582, with SBD) or "train" (1,464 of VOC alone)."""


@DATASETS.register("voc2012_aug")
class VOC2012Aug(Dataset):
    """21 classes, background included; 10,582 or 1,464 training and 1,449 test images."""

    Config = VOC2012AugConfig
    config: VOC2012AugConfig
    task = "segmentation"
    num_classes = 21
    mean = (0.485, 0.456, 0.406)  # ImageNet's, as the pretrained weights expect them
    std = (0.229, 0.224, 0.225)
    resident = False
    stratified = False

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(scale=(0.5, 2.0), flip=True)

    @property
    def published_train_images(self) -> int:
        return PUBLISHED[self.config.training]

    def find(self) -> Path:
        augmented, get = self.config.training == "train_aug", fetch_hint("voc2012_aug")
        folder = find_folder(
            "voc2012_aug",
            self.config.root,
            "VOCdevkit/VOC2012",
            holds=_holds_voc,
            get=f"{get}, then {HOW_TO_AUGMENT}" if augmented else get,
        )
        if augmented and not _holds_augmented(folder):
            raise MissingDatasetError(
                f"voc2012_aug: {folder} has no SegmentationClassAug with "
                f"ImageSets/Segmentation/train_aug.txt; {HOW_TO_AUGMENT}"
            )
        return folder

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download VOC 2012 itself into ``root``; torchvision compares the checksum.

        Raises:
            NotImplementedError: the rest is not there yet, and cannot be downloaded by a program.
        """
        import torchvision

        torchvision.datasets.VOCSegmentation(root, year="2012", image_set="train", download=True)
        if not _holds_augmented(root / "VOCdevkit/VOC2012"):
            raise NotImplementedError(
                f"VOC 2012 is in {root}; train_aug cannot be downloaded by a program: "
                f"{HOW_TO_AUGMENT}"
            )

    def split(self, name: SplitName) -> StreamSplit:
        names = self._names[name]
        masks = "SegmentationClass"
        if name != "test" and self.config.training == "train_aug":
            masks = "SegmentationClassAug"
        return StreamSplit(_Pairs(self.find(), masks, names), len(names))

    @cached_property
    def _names(self) -> dict[SplitName, list[str]]:
        """The names of the images of each split, in alphabetical order.

        Raises:
            MissingDatasetError: the files are not here.
            DatasetError: a list is not the published one, or ``val_size`` or ``subset`` is more
                than there is.
        """
        lists = self.find() / "ImageSets/Segmentation"
        names, test = _read_list(lists, self.config.training), _read_list(lists, "val")
        if both := sorted(set(names) & set(test)):
            raise DatasetError(
                f"{lists / self.config.training}.txt names {len(both)} images of val.txt, such as "
                f"{both[0]}: they would be trained and tested on"
            )
        held = self.held_out(len(names))
        # RandomState, because it draws the same in every version of NumPy.
        order = np.random.RandomState(self.config.split_seed).permutation(len(names))
        drawn = [names[number] for number in order]
        train = drawn[held:] if self.config.subset is None else drawn[held:][: self.config.subset]
        return {"train": sorted(train), "val": sorted(drawn[:held]), "test": test}


def _holds_voc(folder: Path) -> bool:
    lists = folder / "ImageSets/Segmentation"
    return all(
        [
            (folder / "JPEGImages").is_dir(),
            (folder / "SegmentationClass").is_dir(),
            (lists / "train.txt").is_file(),
            (lists / "val.txt").is_file(),
        ]
    )


def _holds_augmented(folder: Path) -> bool:
    listed = (folder / "ImageSets/Segmentation/train_aug.txt").is_file()
    return listed and (folder / "SegmentationClassAug").is_dir()


def _read_list(folder: Path, name: ListName) -> list[str]:
    """Return the names in a list, sorted: the lists in circulation differ in their order.

    Raises:
        DatasetError: it has not as many names as were published; a part of VOC, or another list
            of the same name, would give a result that passes for one on VOC.
    """
    path = folder / f"{name}.txt"
    names = sorted(set(path.read_text().split()))
    if len(names) != PUBLISHED[name]:
        raise DatasetError(f"{path} names {len(names)} images, {name} has {PUBLISHED[name]}")
    return names


class _Pairs(TorchDataset[tuple["Image", "Image"]]):
    """Photos in RGB and their masks of class numbers, read when asked for."""

    def __init__(self, folder: Path, masks: str, names: list[str]) -> None:
        self.photos = FileSource(folder / "JPEGImages", _encoded(names, ".jpg"))
        self.masks = folder / masks
        self.mask_names = _encoded(names, ".png")

    def __len__(self) -> int:
        return len(self.mask_names)

    def __getitem__(self, position: int) -> tuple[Image, Image]:
        photo = self.photos[position]
        path = self.masks / os.fsdecode(bytes(self.mask_names[position]))
        mask = read_mask(path, VOC2012Aug.num_classes)
        if mask.size != photo.size:
            raise DatasetError(
                f"{path} has {mask.width}x{mask.height} pixels, its photo has "
                f"{photo.width}x{photo.height}"
            )
        return photo, mask


def _encoded(names: list[str], suffix: str) -> NDArray[np.bytes_]:
    """Return file names as ``FileSource`` takes them."""
    return np.array([os.fsencode(name + suffix) for name in names])


def read_mask(path: Path, num_classes: int) -> Image:
    """Return a mask of class numbers as they are in the file, in mode "L" or "P".

    Raises:
        CorruptImageError: it cannot be decoded.
        DatasetError: it does not hold class numbers, or one that there is not.
    """
    with opened(path, "mask") as file:
        mask = file.copy()  # reads it
    if mask.mode not in ("L", "P"):
        raise DatasetError(
            f"{path} is of mode {mask.mode}: a mask has one class number per pixel (mode L or P)"
        )
    pixels_of = mask.histogram()
    if unknown := [value for value in range(num_classes, IGNORED) if pixels_of[value]]:
        raise DatasetError(
            f"{path} has pixels of class {unknown[0]}; classes are 0 to {num_classes - 1}, and "
            f"{IGNORED} is ignored"
        )
    return mask
