"""Digits: 1,797 grey images (8x8) of handwritten digits, embedded in scikit-learn.

E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).

The set has no test split of its own here: a fifth (360 images), stratified, is taken off with a
fixed seed; validation is then split off the other 1,437.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sweep.data.base import Augmentation, DatasetConfig, ImageSize, SplitName
from sweep.data.labelled import TEST_SEED, TEST_SHARE, ArraySource, LabelledDataset, Pool
from sweep.registry import DATASETS


class DigitsConfig(DatasetConfig):
    """Settings of digits; ``root`` has no meaning, there are no files."""

    image_size: ImageSize = 8
    """Height and width of the images that a model sees, in pixels; 8 is not resized."""


@DATASETS.register("digits")
class Digits(LabelledDataset):
    """10 classes, 1,437 training and 360 test images; grey repeated to three channels."""

    Config = DigitsConfig
    num_classes = 10
    published_train_images = 1437
    mean = (0.3054, 0.3054, 0.3054)
    std = (0.3760, 0.3760, 0.3760)

    @property
    def augmentation(self) -> Augmentation:
        """A random crop, and no flip: a mirrored digit is another one, or none."""
        return Augmentation(crop_padding=self.config.image_size // 8)

    def find(self) -> None:
        return None

    @classmethod
    def fetch(cls, root: Path) -> None:
        """Do nothing: the images come with scikit-learn."""

    def read(self) -> dict[SplitName, Pool]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
        pool = Pool.whole(ArraySource(grey), digits.target.astype(np.int64))
        train, test = pool.hold_out(TEST_SHARE, seed=TEST_SEED, field="test share")
        return {"train": train, "test": test}
