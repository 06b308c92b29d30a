"""Ratios measured side by side in one run: `make bench`.

Absolute times depend on the machine and on who shares it; each table therefore compares candidates
that take turns, and prints the median ratio to the first of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sweep.data.base import StreamSplit
from sweep.data.labelled import ArraySource, Pool, Samples
from sweep.models.build import build_model
from sweep.orchestration.attempt import pick_device
from sweep.registry import ATTENTION, DATASETS, TASKS
from sweep.training.loading import StreamLoader, make_loader

ROUNDS = 7
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


def actor_reuse() -> dict[str, list[float]]:
    """Return seconds per trial on Ray: of the first one, which starts the actor, and of others."""
    from sweep.orchestration.attempt import Job, Outcome
    from sweep.orchestration.ray_tune import RayRunner
    from sweep.plan import make_plan
    from sweep.spec.load import load_space
    from sweep.training.loop import EpochReport

    class Clock:
        ends: list[float]

        def __init__(self) -> None:
            self.ends = [time.perf_counter()]

        def started(self, trial_id: str) -> None: ...
        def restarted(self, trial_id: str) -> None: ...
        def epoch(self, trial_id: str, report: EpochReport) -> None: ...
        def stopping(self) -> None: ...
        def ended(self, trial_id: str, outcome: Outcome) -> None:
            self.ends.append(time.perf_counter())

    space = load_space(
        Path("search_spaces/quickstart.yaml"),
        (
            "recipe.epochs=1",
            "recipe.warmup_epochs=0",
            "dataset.subset=64",
            "attention=[none]",
            f"seeds={list(range(ROUNDS + 1))}",
            "backbones=[mobilenet_v2]",
        ),
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            Job(p.trial, folder, cpus=1, gpus=0, workers=0, keep_best=False)
            for p in make_plan(space).trials
        ]
        runner = RayRunner(max_concurrent=1)
        clock.ends = [time.perf_counter()]
        runner.run(jobs, clock, lambda: False)
        runner.close()
    seconds = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
    return {"a reused actor": seconds[1:], "a new actor": seconds[:1] * ROUNDS}


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
    device = pick_device(1.0)
    torch.set_num_threads(1)
    show(f"attention: a training step on {device.type}", measure(attention_steps(device)))
    show(f"data: an epoch of 1,293 digits on {device.type}", measure(loaders(device)))
    show("Ray: seconds a trial", actor_reuse())
    show("The audit of both papers", measure(audit()))


if __name__ == "__main__":
    main()
