"""How much of a GPU a trial needs, measured by two steps of its own training, and remembered.

The first step makes the gradients, the second has the optimizer's state beside them: from then on
the peak is that of the whole training, up to the number of boxes of an image. What the allocator
has reserved counts, and not what is in use: nobody else can have it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from sweep.durable import read_record, write_record
from sweep.spec.trial import Trial
from sweep.training.checkpoint import Checkpoints
from sweep.training.loop import Training
from sweep.training.seeding import seed_everything

STEPS = 2
CONTEXT_AT_MOST = 2**30
"""Bytes of a process's CUDA context; what is in use beyond that belongs to other processes."""

HEADROOM, HEADROOM_BYTES = 0.1, 2**29
"""Left free beside a measured peak: a share of it, and bytes."""
MOST_SHARING = 10
"""Trials on one GPU."""

PEAK_FIELDS = frozenset(
    {
        "task",
        "dataset",
        "dataset_content",
        "num_classes",
        "sites",
        "attention",
        "hyperparameters",
        "plugins",
        "on_indivisible",
    }
)
"""Of a trial; small images lie on the GPU themselves."""
PEAK_RECIPE = frozenset({"batch_size", "accumulate", "optimizer", "precision", "channels_last"})


def probe_memory(trial: Trial, device: torch.device) -> int:
    """Return the bytes of GPU memory that a process takes that trains a trial.

    What the trial put on the GPU is given back, but for the CUDA context and resident images.

    Args:
        trial: with its data set on this machine: a batch of it is trained on.
        device: a CUDA device; best with nothing else on it.

    Raises:
        ValueError: the device is not a GPU.
        torch.cuda.OutOfMemoryError: the trial does not fit.
        MissingDatasetError: the data set is not here.
    """
    if device.type != "cuda":
        raise ValueError(f"device (={device}) must be a CUDA device: others are not shared")
    torch.cuda.empty_cache()
    try:
        take_steps(trial, device)
        torch.cuda.synchronize(device)
        free, total = torch.cuda.mem_get_info(device)
        context = total - free - torch.cuda.memory_reserved(device)
        return torch.cuda.max_memory_reserved(device) + min(max(context, 0), CONTEXT_AT_MOST)
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def take_steps(trial: Trial, device: torch.device) -> torch.optim.Optimizer:
    """Take the first steps of a trial's training, with its first batch; return the optimizer."""
    checkpoints = Checkpoints(Path())  # nothing is saved
    run = Training(trial, checkpoints, device, workers=0, pieces=1)
    seed_everything(trial.seed, "epoch", 1)
    run.model.train()
    images, targets = next(iter(run.data.train.epoch(1)))
    for _ in range(STEPS):
        run.step(images, targets, run.task.training_meter(device))
    return run.optimizer


def probe_key(trial: Trial) -> str:
    """Return a digest of all of a trial that its peak of memory depends on.

    Not of the seed, the learning rate or the number of epochs: they share a measurement.
    """
    content = {
        **trial.model_dump(mode="json", include=set(PEAK_FIELDS)),
        "backbone": [trial.backbone.name, trial.backbone.stem],
        "image_size": trial.dataset_settings["image_size"],
        "recipe": trial.recipe.model_dump(mode="json", include=set(PEAK_RECIPE)),
        "momentum": trial.recipe.momentum > 0,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def fraction(peak_bytes: int, total_bytes: int) -> float:
    """Return the share of a GPU for a trial of that peak: 1, or 1/n for n up to 10.

    It is cut off after four digits, in which Ray counts: six times 0.1667 is more than a GPU.
    """
    needed = peak_bytes * (1 + HEADROOM) + HEADROOM_BYTES
    sharing = max(1, min(MOST_SHARING, int(total_bytes // needed)))
    return math.floor(10_000 / sharing) / 10_000


@dataclass(frozen=True)
class Gpu:
    """What a measured peak holds for."""

    name: str
    memory: int
    """In bytes."""
    torch_version: str

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """Return what a CUDA device of this process is."""
        properties = torch.cuda.get_device_properties(device)
        return cls(properties.name, properties.total_memory, torch.__version__)


class ProbeCache:
    """The peaks that were measured in a working folder: ``probes.json``.

    Args:
        folder: the working folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "probes.json"

    def known(self, trial: Trial, gpu: Gpu) -> int | None:
        """Return the peak of a trial in bytes if one like it was measured on such a GPU."""
        return self._read().get(_entry(trial, gpu))

    def peak(self, trial: Trial, gpu: Gpu, measure: Callable[[Trial], int]) -> int:
        """Return the peak of a trial in bytes, by ``measure`` if it is not known yet."""
        known = self.known(trial, gpu)
        if known is None:
            known = measure(trial)
            peaks = {**self._read(), _entry(trial, gpu): known}
            write_record(self.path, peaks)
        return known

    def _read(self) -> dict[str, int]:
        return read_record(self.path) or {}  # what a damaged file said is measured anew


def _entry(trial: Trial, gpu: Gpu) -> str:
    return f"{probe_key(trial)} {gpu.name}, {gpu.memory} bytes, torch {gpu.torch_version}"
