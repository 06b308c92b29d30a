"""CIFAR-10: 60,000 colour photos (32x32) of 10 classes; see ``cifar.py`` for the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from sweep.data.base import SplitName
from sweep.data.cifar import CIFAR
from sweep.registry import DATASETS


@DATASETS.register("cifar10")
class CIFAR10(CIFAR):
    """10 classes, 50,000 training and 10,000 test images."""

    num_classes = 10
    class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    name = "cifar10"
    folder = "cifar-10-batches-py"
    files: ClassVar[Mapping[SplitName, Sequence[str]]] = {
        "train": [f"data_batch_{number}" for number in range(1, 6)],
        "test": ["test_batch"],
    }
    label_key = b"labels"

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Download the files into ``root``; torchvision compares their checksums."""
        import torchvision

        torchvision.datasets.CIFAR10(root, download=True)
