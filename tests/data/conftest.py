from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.data.base import Dataset
from sweep.registry import DATASETS

from .box_formats import write_small_coco, write_small_visdrone, write_voc, write_voc2007
from .formats import (
    write_cifar10,
    write_cifar100,
    write_class_folders,
    write_fashion_mnist,
    write_imagenet,
    write_voc2012,
)


@pytest.fixture(autouse=True)
def _nowhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set of this machine is found by accident."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    monkeypatch.setattr("sweep.data.fashion_mnist.DEBIAN_FOLDER", Path("no-such-folder"))


@pytest.fixture(scope="session")
def small_roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """A folder for every registered data set; tests only read them."""
    base = tmp_path_factory.mktemp("small")
    write_cifar10(base / "cifar10")
    write_cifar100(base / "cifar100")
    write_fashion_mnist(base / "fashion_mnist", zipped=True)
    write_imagenet(base / "imagenet")
    write_class_folders(base / "imagefolder" / "train", {"ant": 30, "bee": 20, "cat": 40})
    write_class_folders(base / "imagefolder" / "test", {"ant": 4, "bee": 5, "cat": 6}, seed=9)
    write_voc2012(
        base / "voc2012_aug", {"train": ["a", "b"], "train_aug": ["a", "b"], "val": ["c"]}
    )
    write_voc2007(base / "voc2007")
    write_voc(base / "voc_folder", {"train": [f"a{n}" for n in range(9)], "test": ["b", "c"]})
    write_small_coco(base / "coco")
    write_small_visdrone(base / "visdrone")
    return {"digits": None} | {folder.name: folder for folder in base.iterdir()}


@pytest.fixture
def make(small_roots: dict[str, Path | None]) -> Callable[..., Dataset]:
    """make(name, **settings) returns a small data set of that name."""

    def build(name: str, **settings: Any) -> Dataset:
        kind = DATASETS[name]
        if "root" not in settings and small_roots[name] is not None:
            settings["root"] = str(small_roots[name])
        return kind(kind.Config(**settings))

    return build
