"""Parts of a GPU from measured peaks; the measurement itself is tested with training/memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweep.ledger import Share
from sweep.orchestration import packing
from sweep.orchestration.jobs import JobMaker
from sweep.orchestration.packing import gpu_came, known_fractions, measured_fractions
from sweep.plan import Plan, PlannedTrial
from sweep.training.memory import Gpu, ProbeCache, probe_key
from tests.orchestration.test_paired import plan_of
from tests.spec.spaces import space_of
from tests.test_ledger import TRIAL

GIB = 2**30
GPU = Gpu("GPU", 24 * GIB, "2.0")


def sized(batch_size: int, seed: int = 0):
    settings = {**TRIAL.dataset_settings, "image_size": 8}
    recipe = TRIAL.recipe.model_copy(update={"batch_size": batch_size})
    return TRIAL.model_copy(update={"recipe": recipe, "seed": seed, "dataset_settings": settings})


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that were measured; a batch of n takes n GiB, one of 13 is too much."""
    seen: list[int] = []

    def probe(trial, device) -> int:
        seen.append(trial.recipe.batch_size)
        if trial.recipe.batch_size == 13:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return trial.recipe.batch_size * GIB

    monkeypatch.setattr(packing, "probe_memory", probe)
    monkeypatch.setattr(packing.Gpu, "of", lambda device: GPU)
    return seen


def test_every_kind_is_measured_once_and_remembered(tmp_path: Path, peaks: list[int]) -> None:
    trials = [sized(4), sized(4, seed=1), sized(10), sized(13)]
    parts = measured_fractions(trials, tmp_path)
    # 4.9, 11.5 and unknown of 24 GiB, with a tenth and half a GiB beside them.
    assert [parts[probe_key(t)] for t in trials] == [0.25, 0.25, 0.5, 1.0]
    assert peaks == [4, 10, 13]
    assert measured_fractions(trials[:3], tmp_path) == {
        probe_key(sized(4)): 0.25,
        probe_key(sized(10)): 0.5,
    }
    assert peaks == [4, 10, 13]


def test_plan_knows_what_was_measured(
    tmp_path: Path, peaks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(trial) -> PlannedTrial:
        return PlannedTrial(trial=trial, label="", status="planned", reason="", cost=None)

    measured, new = planned(sized(4)), planned(sized(10))
    plan: Plan = plan_of(seeds=0).model_copy(update={"trials": (measured, new)})
    assert known_fractions(plan, tmp_path) == {}  # no GPU here
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ProbeCache(tmp_path).peak(measured.trial, GPU, lambda trial: 4 * GIB)
    assert known_fractions(plan, tmp_path) == {measured.trial.trial_id: 0.25}


def test_job_gets_the_part_that_its_kind_needs_or_what_it_needed_last(tmp_path: Path) -> None:
    plan = plan_of("ela", seeds=1)
    baseline, module = (
        p.model_copy(
            update={"trial": p.trial.model_copy(update={"dataset_settings": {"image_size": 8}})}
        )
        for p in plan.trials
    )
    make = JobMaker(
        space_of(tmp_path),
        tmp_path,
        "data",
        Share(2, 1.0),
        plan,
        {probe_key(module.trial): 0.25},
    )
    assert make(baseline, None).share == Share(2, 1.0)
    assert make(module, None).share == Share(2, 0.25)
    assert make(module, Share(2, 0.5)).share == Share(2, 0.5)
    assert make(module, None).trial.dataset_settings == {"image_size": 8, "root": "data"}


def waited(ready_after: float, stop_after: float) -> tuple[bool, list[str], float]:
    now, told = [0.0], []

    def ready() -> bool:
        now[0] += 1
        return now[0] > ready_after

    came = gpu_came(ready, lambda: now[0] >= stop_after, told.append, clock=lambda: now[0])
    return came, told, now[0]


def test_a_gpu_that_others_have_is_waited_for_and_not_for_ever() -> None:
    never = float("inf")
    assert waited(0, never) == (True, [], 1)
    waiting = "waiting up to 60 s for a free GPU, to measure trials on"
    assert waited(20, never) == (True, [waiting], 21)
    came, told, seconds = waited(never, never)
    assert (came, seconds) == (False, 61)
    assert told == [waiting, "no GPU got free to measure trials on: each trial gets a whole one"]
    assert waited(never, 3) == (False, [], 3)
