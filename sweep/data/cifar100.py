"""CIFAR-100: 60,000 colour photos (32x32) of 100 classes; see ``cifar.py`` for the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from sweep.data.base import SplitName
from sweep.data.cifar import CIFAR
from sweep.registry import DATASETS


@DATASETS.register("cifar100")
class CIFAR100(CIFAR):
    """100 classes (the fine labels), 50,000 training and 10,000 test images."""

    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    name = "cifar100"
    folder = "cifar-100-python"
    files: ClassVar[Mapping[SplitName, Sequence[str]]] = {"train": ["train"], "test": ["test"]}
    label_key = b"fine_labels"

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files into ``root``; torchvision compares their checksums."""
        import torchvision

        torchvision.datasets.CIFAR100(root, download=True)
