"""Batches of a split, for the training loop: from the device's memory, or from worker processes.

A batch is (images, targets) on the device; images are float (B, 3, H, W), normalised.

The order of training samples and all augmentation follow from the seed, the epoch and what is
loaded (in streamed mode from the number of each sample, so that workers and prefetching have no
influence; in resident mode from the batch), and from nothing that was drawn before. A trial that
was resumed therefore sees the very batches of one that was never stopped.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import Augmentation, Dataset, DatasetError, SplitName, StreamSplit, TensorSplit
from sweep.tasks.base import SampleTransform, Task
from sweep.training.seeding import derive_seed

PREFETCH = 4
"""Batches that every worker has ready."""
KEPT_DATASETS = 2
"""Resident data sets that a process keeps for its next trials."""

_kept: dict[tuple[object, ...], dict[SplitName, TensorSplit]] = {}
"""By what they hold and their device; the one used last is last."""


class Loader(ABC):
    """Batches of one split; ``num_samples`` is how many samples an epoch yields.

    In training the samples are shuffled, and a last batch of one sample is left out: batch
    normalisation cannot train on it. In evaluation they come in order, all of them.

    Raises:
        DatasetError: no batch is left.
    """

    def __init__(self, total: int, *, batch_size: int, train: bool, seed: int) -> None:
        lonely = train and batch_size > 1 and total % batch_size == 1
        self.num_samples = total - lonely
        if self.num_samples == 0:
            raise DatasetError(f"{total} image makes no batch to train on, two are needed")
        self.total, self.batch_size, self.train, self.seed = total, batch_size, train, seed

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    @abstractmethod
    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield the batches of an epoch; one epoch at a time.

        Raises:
            DatasetError: a sample cannot be decoded; the text names its file.
        """

    def order(self, epoch: int) -> Tensor:
        """Return the numbers of the samples in the order of an epoch: int64 (num_samples,)."""
        if not self.train:
            return torch.arange(self.num_samples)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        return torch.randperm(self.total, generator=generator)[: self.num_samples]


def make_loader(
    dataset: Dataset,
    split_name: SplitName,
    task: Task,
    *,
    batch_size: int,
    train: bool,
    augmentation: Literal["standard", "flip", "none"],
    seed: int,
    device: torch.device,
    workers: int,
    channels_last: bool = False,
) -> Loader:
    """Return the loader of one split.

    Args:
        dataset: whose ``split`` is read, or taken from what this process has kept of it.
        split_name: "train", "val" or "test".
        task: says how to transform, collate and augment.
        batch_size: images per batch; the last batch may be smaller.
        train: shuffle, and never yield a batch of one sample where ``batch_size`` is larger.
        augmentation: "standard" is the data set's own, "flip" left and right alone.
        seed: of order and augmentation, the trial's.
        device: where batches are wanted.
        workers: processes that decode a streamed split; 0 decodes in this one.
        channels_last: memory format of the images.

    Raises:
        MissingDatasetError: the files are not here.
        DatasetError: the split cannot be made, or makes no batch.
    """
    changes = {"standard": dataset.augmentation, "flip": Augmentation(flip=True), "none": None}
    chosen = changes[augmentation]
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    if dataset.resident:
        return ResidentLoader(
            _resident_split(dataset, split_name, device),
            task,
            dataset.mean,
            dataset.std,
            chosen,
            memory_format,
            batch_size=batch_size,
            train=train,
            seed=seed,
        )
    split = dataset.split(split_name)
    assert isinstance(split, StreamSplit)
    if chosen is not None:
        split = task.compose(split, dataset.config.image_size, chosen)
    transform = task.transform(
        dataset.config.image_size, dataset.mean, dataset.std, chosen, dataset.eval_crop
    )
    return StreamLoader(
        split,
        task,
        transform,
        device,
        memory_format,
        batch_size=batch_size,
        train=train,
        seed=seed,
        workers=workers,
    )


class ResidentLoader(Loader):
    """Batches gathered, augmented and normalised on the device that holds the whole split."""

    def __init__(
        self,
        split: TensorSplit,
        task: Task,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augmentation: Augmentation | None,
        memory_format: torch.memory_format,
        *,
        batch_size: int,
        train: bool,
        seed: int,
    ) -> None:
        super().__init__(len(split), batch_size=batch_size, train=train, seed=seed)
        self.split, self.task = split, task
        self.augmentation, self.memory_format = augmentation, memory_format
        self.device = split.images.device
        self.mean = 255 * torch.tensor(mean, device=self.device).view(3, 1, 1)
        self.std = 255 * torch.tensor(std, device=self.device).view(3, 1, 1)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        generator = torch.Generator(self.device)
        generator.manual_seed(derive_seed(self.seed, "augmentation", epoch))
        for numbers in torch.split(self.order(epoch).to(self.device), self.batch_size):
            # This copies: whatever is done to a batch, the split stays as it is.
            images = self.split.images.index_select(0, numbers)
            targets = self.split.targets.index_select(0, numbers)
            if self.augmentation is not None:
                images, targets = self.task.augment(images, targets, self.augmentation, generator)
            normalised = (images.float() - self.mean) / self.std
            yield normalised.contiguous(memory_format=self.memory_format), targets


class StreamLoader(Loader):
    """Batches read, decoded and transformed sample by sample, in worker processes if there are."""

    def __init__(
        self,
        split: StreamSplit,
        task: Task,
        transform: SampleTransform,
        device: torch.device,
        memory_format: torch.memory_format,
        *,
        batch_size: int,
        train: bool,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__(len(split), batch_size=batch_size, train=train, seed=seed)
        self.device, self.memory_format = device, memory_format
        self.sampler = _EpochBatches(self)
        self.batches = DataLoader(
            _SeededBatches(split.samples, transform, task, seed),
            batch_size=None,  # the sampler makes the batches
            sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0 and train,
            prefetch_factor=PREFETCH if workers > 0 else None,
            pin_memory=device.type == "cuda",
            # Its own: by default it would draw from the generator of the training loop.
            generator=torch.Generator(),
        )

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        self.sampler.epoch = epoch
        for batch in self.batches:
            if isinstance(batch, DatasetError):
                raise batch
            images, targets = batch
            on_device = images.to(self.device, non_blocking=True, memory_format=self.memory_format)
            yield on_device, _to(self.device, targets)


class _EpochBatches(Sampler[tuple[int, list[int]]]):
    """Yields (epoch, numbers of the samples) of each batch.

    The epoch travels with every batch, because persistent workers outlive it.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for numbers in torch.split(self.loader.order(self.epoch), self.loader.batch_size):
            yield self.epoch, numbers.tolist()


class _SeededBatches(TorchDataset[tuple[Tensor, Any] | DatasetError]):
    """Batches of transformed samples; what is drawn for one follows from its epoch and number.

    An image that cannot be decoded gives the error in place of the batch: raised in a worker, its
    one line would reach the user inside the worker's traceback.
    """

    def __init__(
        self,
        samples: TorchDataset[tuple[Any, Any]],
        transform: SampleTransform,
        task: Task,
        seed: int,
    ) -> None:
        self.samples, self.transform, self.task, self.seed = samples, transform, task, seed

    def __getitem__(self, key: tuple[int, list[int]]) -> tuple[Tensor, Any] | DatasetError:
        epoch, numbers = key
        try:
            return self.task.collate([self._sample(epoch, number) for number in numbers])
        except DatasetError as error:
            return error

    def _sample(self, epoch: int, number: int) -> tuple[Any, Any]:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: without workers it would reseed the GPU of the model too.
            torch.default_generator.manual_seed(
                derive_seed(self.seed, "augmentation", epoch, number)
            )
            return self.transform(*self.samples[number])


def _to(device: torch.device, targets: Any) -> Any:
    """Return targets, tensors in lists and dicts of any depth, on the device."""
    if isinstance(targets, Tensor):
        return targets.to(device, non_blocking=True)
    if isinstance(targets, dict):
        return {name: _to(device, target) for name, target in targets.items()}
    if isinstance(targets, list | tuple):
        return [_to(device, target) for target in targets]
    return targets


def _resident_split(dataset: Dataset, name: SplitName, device: torch.device) -> TensorSplit:
    """Return a split on the device, decoded once for successive trials of this process."""
    content = json.dumps(dataset.content(), sort_keys=True)
    key = (type(dataset), str(dataset.find()), content, device)
    splits = _kept.pop(key, {})
    _kept[key] = splits
    while len(_kept) > KEPT_DATASETS:
        del _kept[next(iter(_kept))]
    if name not in splits:
        split = dataset.split(name)
        assert isinstance(split, TensorSplit)
        splits[name] = TensorSplit(split.images.to(device), split.targets.to(device))
    return splits[name]
