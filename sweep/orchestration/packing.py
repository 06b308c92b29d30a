"""``gpus: auto``: the part of a GPU that a trial needs, measured once for every kind of trial.

The measurement is two steps of the trial's own training in a process that has a GPU to itself,
before the sweep begins. A trial that was not measured (one that a search comes to later), or could
not be, gets a whole GPU; one that needs more memory than was measured gets more the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from sweep.plan import Plan
from sweep.spec.trial import Trial
from sweep.training.memory import Gpu, ProbeCache, fraction, probe_key, probe_memory

TELL_SECONDS = 5.0
"""How long a GPU may take to get free before it is said that it is waited for."""
WAIT_SECONDS = 60.0
"""How long a sweep waits for a GPU to measure trials on, where others have all of them."""


def gpu_came(
    ready: Callable[[], bool],
    stop: Callable[[], bool],
    tell: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Wait for a GPU; return whether there is one now.

    Args:
        ready: waits a second at most, and returns whether there is one.
        stop: whether the sweep was asked to stop.
        tell: is told what is waited for, and that it did not come.
        clock: in seconds.
    """
    begun, told = clock(), False
    while not stop():
        if ready():
            return True
        if clock() - begun > WAIT_SECONDS:
            tell("no GPU got free to measure trials on: each trial gets a whole one")
            return False
        if clock() - begun > TELL_SECONDS and not told:
            told = True
            tell(f"waiting up to {WAIT_SECONDS:g} s for a free GPU, to measure trials on")
    return False


def measured_fractions(trials: Iterable[Trial], folder: Path) -> dict[str, float]:
    """Return the part of this process's GPU that each kind of trial needs, by ``probe_key``.

    Args:
        trials: with their data on this machine.
        folder: the working folder, where peaks are remembered.
    """
    device = torch.device("cuda")
    gpu, cache = Gpu.of(device), ProbeCache(folder)
    parts: dict[str, float] = {}
    for trial in trials:
        key = probe_key(trial)
        if key not in parts:
            try:
                peak = cache.peak(trial, gpu, lambda one: probe_memory(one, device))
            except Exception:  # whatever is wrong with the trial, it says so when it runs
                parts[key] = 1.0
            else:
                parts[key] = fraction(peak, gpu.memory)
    return parts


def known_fractions(plan: Plan, folder: Path) -> Mapping[str, float]:
    """Return the part of this machine's GPU for each trial whose kind was measured, by trial."""
    if not torch.cuda.is_available():
        return {}
    gpu, cache = Gpu.of(torch.device("cuda")), ProbeCache(folder)
    peaks = {p.trial.trial_id: cache.known(p.trial, gpu) for p in plan.runnable}
    return {i: fraction(peak, gpu.memory) for i, peak in peaks.items() if peak is not None}
