"""Ratios measured side by side in one run: `make bench`.

Absolute times depend on the machine and on who shares it; each table therefore compares candidates
that take turns, and prints the median ratio to the first of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scheduling import EARLY, compare
from sweep.data.base import StreamSplit
from sweep.data.labelled import ArraySource, Pool, Samples
from sweep.models.build import build_model
from sweep.orchestration.attempt import pick_device
from sweep.registry import ATTENTION, DATASETS, TASKS
from sweep.training.loading import StreamLoader, make_loader

ROUNDS = 7
TRIALS = 500
SETTINGS = {"sa": {"groups": 32}}
"""Of modules whose default does not fit ResNet-18: 64 groups need 128 channels."""


def measure(candidates: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return seconds of every candidate in every round; they take turns, after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(ROUNDS + 1):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_number > 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def show(title: str, seconds: dict[str, list[float]]) -> None:
    """Print the median ratio to the first candidate, and its range over the rounds."""
    first = next(iter(seconds.values()))
    table = Table("candidate", "median (ms)", "time / first", "range", title=title)
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, first, strict=True)]
        table.add_row(
            name,
            f"{1000 * statistics.median(own):.1f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
        )
    Console().print(table)


def show_scheduling(measured: dict[str, dict[str, float]]) -> None:
    """Print the overhead of a trial, and the driver's memory, of each candidate."""
    table = Table(
        "candidate",
        "a trial (ms)",
        "time / first",
        f"MiB at {EARLY}",
        f"MiB at {TRIALS}",
        "KiB a trial",
        title=f"scheduling: {TRIALS} trials of one epoch that does nothing",
    )
    first = next(iter(measured.values()))["seconds_per_trial"]
    for name, own in measured.items():
        growth = 1024 * (own["mib_end"] - own["mib_early"]) / (TRIALS - EARLY)
        table.add_row(
            name,
            f"{1000 * own['seconds_per_trial']:.0f}",
            f"{own['seconds_per_trial'] / first:.2f}",
            f"{own['mib_early']:.0f}",
            f"{own['mib_end']:.0f}",
            f"{growth:.0f}",
        )
    Console().print(table)


def attention_steps(device: torch.device) -> dict[str, Callable[[], object]]:
    """Return a forward and backward pass of ResNet-18 on 32 CIFAR-sized images, by module."""
    images = torch.randn(32, 3, 32, 32, device=device)

    def step(name: str) -> Callable[[], object]:
        module = {"name": name, **SETTINGS.get(name, {})}
        model = build_model("resnet18", module, num_classes=10, stem="imagenet").to(device)
        return lambda: model(images).sum().backward()

    names = ["none", *(name for name in ATTENTION.names() if name != "none")]
    return {name: step(name) for name in names}


def loaders(device: torch.device) -> dict[str, Callable[[], object]]:
    """Return an epoch of the digits from the device's memory, and decoded sample by sample."""
    digits = DATASETS["digits"](DATASETS["digits"].Config())
    task = TASKS["classification"](digits.num_classes)
    resident = make_loader(
        digits,
        "train",
        task,
        batch_size=64,
        train=True,
        augmentation="standard",
        seed=0,
        device=device,
        workers=0,
    )
    pool = digits.pools["train"]
    assert isinstance(pool, Pool)
    assert isinstance(pool.source, ArraySource)
    transform = task.transform(8, digits.mean, digits.std, digits.augmentation)
    streamed = StreamLoader(
        StreamSplit(Samples(pool), len(pool)),
        task,
        transform,
        device,
        torch.contiguous_format,
        batch_size=64,
        train=True,
        seed=0,
        workers=0,
    )
    return {
        "resident": lambda: sum(len(targets) for _, targets in resident.epoch(1)),
        "streamed": lambda: sum(len(targets) for _, targets in streamed.epoch(1)),
    }


def audit() -> dict[str, Callable[[], object]]:
    """Return the audit of both papers from a cold start, and the imports that it needs."""

    def command(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    return {
        "import torchvision": command(sys.executable, "-c", "import torchvision"),
        "sweep paper audit": command(
            str(Path(sys.executable).with_name("sweep")), "paper", "audit"
        ),
    }


def main() -> None:
    """Print every comparison."""
    device = pick_device(torch.cuda.device_count())
    torch.set_num_threads(1)
    show(f"attention: a training step on {device.type}", measure(attention_steps(device)))
    show(f"data: an epoch of 1,293 digits on {device.type}", measure(loaders(device)))
    show_scheduling(compare(TRIALS))
    show("The audit of both papers", measure(audit()))


if __name__ == "__main__":
    main()
