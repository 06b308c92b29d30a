"""Loaders: the same batches for the same seed and epoch, however they are loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from sweep.data.base import Dataset, DatasetError, StreamSplit, TensorSplit
from sweep.data.digits import Digits
from sweep.tasks.classification import Classification
from sweep.training import loading
from sweep.training.loading import Loader, make_loader

from .formats import write_class_folders

CPU = torch.device("cpu")
Make = Callable[..., Dataset]

# torch warns where there are fewer cores than the two workers that a test starts.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    loading._kept.clear()
    yield
    loading._kept.clear()


@pytest.fixture
def resident(make: Make) -> Dataset:
    return make("cifar10", val_size=20)


@pytest.fixture
def streamed(make: Make) -> Dataset:
    return make("imagefolder", image_size=72)


@pytest.fixture(params=["resident", "streamed"])
def either(request: pytest.FixtureRequest) -> Dataset:
    dataset: Dataset = request.getfixturevalue(request.param)
    return dataset


def loader(dataset: Dataset, split: Any = "train", **changes: Any) -> Loader:
    train = split == "train"
    settings: dict[str, Any] = {
        "batch_size": 16,
        "train": train,
        "augmentation": "standard" if train else "none",
        "seed": 5,
        "device": CPU,
        "workers": 0,
    } | changes
    return make_loader(dataset, split, Classification(dataset.num_classes), **settings)


def assert_equal(one: list[tuple[Tensor, Any]], other: list[tuple[Tensor, Any]]) -> None:
    assert len(one) == len(other)
    for (images, targets), (images_2, targets_2) in zip(one, other, strict=True):
        torch.testing.assert_close(images, images_2, rtol=0, atol=0)
        torch.testing.assert_close(targets, targets_2, rtol=0, atol=0)


def differ(one: list[tuple[Tensor, Any]], other: list[tuple[Tensor, Any]]) -> bool:
    return not torch.equal(torch.cat([x for x, _ in one]), torch.cat([x for x, _ in other]))


def test_batches_are_float_images_and_class_numbers(either: Dataset) -> None:
    size = either.config.image_size
    train = loader(either)
    batches = list(train.epoch(1))
    assert len(batches) == len(train)
    assert sum(len(targets) for _, targets in batches) == train.num_samples
    for images, targets in batches:
        assert images.shape == (len(targets), 3, size, size)
        assert images.dtype == torch.float32
        assert targets.dtype == torch.int64


def test_evaluation_keeps_the_order_and_everything(either: Dataset) -> None:
    split = either.split("test")
    expected = (
        split.targets.tolist()
        if isinstance(split, TensorSplit)
        else [split.samples[number][1] for number in range(len(split))]
    )
    test = loader(either, "test", batch_size=7)
    assert torch.cat([targets for _, targets in test.epoch(0)]).tolist() == expected
    assert test.num_samples == len(split)


def test_evaluation_is_the_normalised_image_whatever_the_storage(make: Make) -> None:
    dataset = make("cifar10", val_size=20)
    (batch,) = loader(dataset, "test", batch_size=20).epoch(0)
    split = dataset.split("test")
    assert isinstance(split, TensorSplit)
    transform = Classification(10).transform(32, dataset.mean, dataset.std, None)
    for pixels, image in zip(split.images, batch[0], strict=True):
        photo = PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy())
        torch.testing.assert_close(transform(photo), image)
        by_hand = (np.asarray(photo) / 255 - dataset.mean) / dataset.std
        np.testing.assert_allclose(image.permute(1, 2, 0), by_hand, atol=1e-5)


def test_an_epoch_depends_on_seed_and_number_alone(either: Dataset) -> None:
    never_stopped = loader(either)
    epochs = [list(never_stopped.epoch(number)) for number in (1, 2, 3)]
    torch.manual_seed(123)  # whatever the model drew
    resumed = loader(either)
    assert_equal(list(resumed.epoch(3)), epochs[2])
    assert_equal(list(never_stopped.epoch(1)), epochs[0])
    assert differ(epochs[0], epochs[1])
    assert differ(list(loader(either, seed=6).epoch(1)), epochs[0])


def test_an_epoch_is_every_sample_once_in_another_order(either: Dataset) -> None:
    train = loader(either, batch_size=9)
    first, second = train.order(1), train.order(2)
    assert first.sort().values.tolist() == list(range(train.num_samples))
    assert first.tolist() != second.tolist()
    plain = loader(either, batch_size=9, augmentation="none")
    assert differ(list(train.epoch(1)), list(plain.epoch(1)))
    shown = [targets.tolist() for _, targets in train.epoch(1)]
    assert shown == [targets.tolist() for _, targets in plain.epoch(1)]


def test_the_seed_of_a_trial_does_not_move_the_evaluation(either: Dataset) -> None:
    one, other = (list(loader(either, "val", seed=seed).epoch(0)) for seed in (1, 2))
    assert_equal(one, other)


def test_loading_leaves_the_global_generator_alone(either: Dataset) -> None:
    before = torch.get_rng_state()
    list(loader(either).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_do_not_change_a_batch(streamed: Dataset, monkeypatch: Any) -> None:
    alone = loader(streamed)
    shared = loader(streamed, workers=2)
    for number in (1, 2):
        assert_equal(list(shared.epoch(number)), list(alone.epoch(number)))
    monkeypatch.setattr(loading, "PREFETCH", 1)
    assert_equal(list(loader(streamed, workers=1).epoch(2)), list(alone.epoch(2)))


def test_a_sample_is_augmented_alike_in_any_batch(streamed: Dataset) -> None:
    together, apart = loader(streamed, batch_size=27), loader(streamed, batch_size=9)
    one = torch.cat([images for images, _ in together.epoch(1)])
    other = torch.cat([images for images, _ in apart.epoch(1)])
    assert torch.equal(one, other)


def test_an_abandoned_epoch_leaves_no_trace(streamed: Dataset) -> None:
    shared = loader(streamed, workers=2, batch_size=9)
    expected = list(loader(streamed, batch_size=9).epoch(2))
    next(shared.epoch(1))
    assert_equal(list(shared.epoch(2)), expected)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(79, [79]), (40, [40, 40]), (1, [1] * 80), (27, [27, 27, 26]), (100, [80])],
)
def test_training_batches(resident: Dataset, batch_size: int, sizes: list[int]) -> None:
    train = loader(resident, batch_size=batch_size)
    assert [len(targets) for _, targets in train.epoch(1)] == sizes
    assert (len(train), train.num_samples) == (len(sizes), sum(sizes))


def test_the_sample_left_out_changes_with_the_epoch(resident: Dataset) -> None:
    train = loader(resident, batch_size=79)
    seen = [set(train.order(number).tolist()) for number in range(1, 20)]
    assert len(set.union(*seen)) == 80
    assert len({frozenset(numbers) for numbers in seen}) > 10


def test_evaluation_keeps_a_last_batch_of_one(resident: Dataset) -> None:
    assert [len(targets) for _, targets in loader(resident, "val", batch_size=19).epoch(0)] == [
        19,
        1,
    ]


def test_one_image_makes_no_training_batch(make: Make) -> None:
    split = make("cifar10", val_size=20).split("train")
    assert isinstance(split, TensorSplit)
    one = TensorSplit(split.images[:1], split.targets[:1])
    with pytest.raises(DatasetError, match="1 image"):
        loading.ResidentLoader(
            one,
            Classification(10),
            (0, 0, 0),
            (1, 1, 1),
            None,
            torch.contiguous_format,
            batch_size=4,
            train=True,
            seed=0,
        )


def test_channels_last(either: Dataset) -> None:
    (images, _), *_ = loader(either, channels_last=True).epoch(1)
    assert images.is_contiguous(memory_format=torch.channels_last)
    (images, _), *_ = loader(either).epoch(1)
    assert images.is_contiguous()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_told_in_one_line(tmp_path: Path, make: Make, workers: int) -> None:
    write_class_folders(tmp_path, {"a": 20, "b": 20})
    for path in tmp_path.glob("*/*.jpg"):
        os.truncate(path, 300)
    dataset = make("imagefolder", root=str(tmp_path), image_size=72)
    with pytest.raises(DatasetError, match=r"^cannot read the image .*\.jpg: [^\n]*$"):
        list(loader(dataset, workers=workers).epoch(1))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    decoded: list[str] = []
    split = Digits.split

    def counting(self: Digits, name: Any) -> TensorSplit | StreamSplit:
        decoded.append(name)
        return split(self, name)

    monkeypatch.setattr(Digits, "split", counting)
    return decoded


def test_a_resident_set_is_decoded_once_for_many_trials(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch)
    for seed in (1, 2, 3):
        for split in ("train", "val", "test"):
            loader(make("digits"), split, seed=seed)
    assert decoded == ["train", "val", "test"]
    loader(make("digits", image_size=9))
    assert decoded == ["train", "val", "test", "train"]


def test_only_the_last_sets_are_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    for image_size in (8, 9, 8, 10, 8, 9):
        loader(make("digits", image_size=image_size))
    assert len(decoded) == 4  # 8, 9, 10, and 9 again: it was the one not used for longest
    assert len(loading._kept) == loading.KEPT_DATASETS


def test_a_folder_that_changed_is_read_again(tmp_path: Path, make: Make) -> None:
    write_class_folders(tmp_path, {"a": 20, "b": 20})
    settings = {"root": str(tmp_path), "val_size": 8}
    assert loader(make("imagefolder", **settings)).num_samples == 40 - 8 - 8
    write_class_folders(tmp_path, {"c": 20})
    assert loader(make("imagefolder", **settings)).num_samples == 60 - 12 - 8


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_done_to_a_batch_does_not_reach_the_kept_split(
    resident: Dataset, split: str
) -> None:
    expected = [
        (images.clone(), targets.clone()) for images, targets in loader(resident, split).epoch(1)
    ]
    for images, targets in loader(resident, split).epoch(1):
        images.zero_()
        targets.fill_(7)
    assert_equal(list(loader(resident, split).epoch(1)), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_evaluation_is_that_of_the_cpu(either: Dataset) -> None:
    cuda = torch.device("cuda", 0)
    here = list(loader(either, "test").epoch(0))
    there = list(loader(either, "test", device=cuda).epoch(0))
    for (images, targets), (images_2, targets_2) in zip(here, there, strict=True):
        assert images_2.device == targets_2.device == cuda
        torch.testing.assert_close(images_2.cpu(), images)
        assert torch.equal(targets_2.cpu(), targets)
    train = loader(either, device=cuda)
    assert_equal(list(train.epoch(3)), list(loader(either, device=cuda).epoch(3)))
