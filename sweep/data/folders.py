"""Photos in one folder per class: what ImageNet and a user's own folder share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sweep.data.base import Augmentation, DatasetError
from sweep.data.labelled import FileSource, LabelledDataset, Pool
from sweep.spec.fingerprint import image_files, readable


class FolderDataset(LabelledDataset):
    """Base of both: normalised by ImageNet's statistics, augmented as photos of their size are."""

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    @property
    def augmentation(self) -> Augmentation:
        """Streamed: a random resized crop and a flip; resident: a padded crop and a flip."""
        return super().augmentation if self.resident else Augmentation(resized_crop=True, flip=True)

    @property
    def eval_crop(self) -> float:
        """224/256: resize the shorter side to 256 for a centre crop of 224."""
        return 224 / 256


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders with images in ``folder``, sorted; [] if it is no folder.

    Raises:
        UnreadableError: it cannot be looked into, or a folder in it; the text names it.
    """
    with readable(folder):
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return sorted(name for name in names if any(True for _ in image_files(folder / name)))


def read_classes(folder: Path, classes: list[str]) -> Pool:
    """Return the images of ``folder``; the label is the position of their folder in ``classes``.

    Raises:
        DatasetError: a folder is not in ``classes``, or there is none; the text names it.
    """
    labels = {name: label for label, name in enumerate(classes)}
    found = class_folders(folder)
    if unknown := [name for name in found if name not in labels]:
        raise DatasetError(f"{folder / unknown[0]} is not one of the {len(classes)} classes")
    names = sorted(f"{name}/{image}" for name in found for image, _ in image_files(folder / name))
    if not names:
        raise DatasetError(f"{folder} holds no image in a folder of its class")
    targets = np.array([labels[name.partition("/")[0]] for name in names], np.int64)
    encoded = np.array([os.fsencode(name) for name in names])
    return Pool.whole(FileSource(folder, encoded), targets)
