"""Measuring the models of a sweep: which are one, in what order, and what becomes of failures.

No time is measured here: a meter that makes its samples up stands for the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from spec.spaces import space_of
from torch import Tensor

from sweep.errors import UserError
from sweep.measuring import (
    ROUNDS,
    Meter,
    Samples,
    is_channels_last,
    make_meter,
    measure,
    model_name,
    models_of,
    unmeasured,
)
from sweep.plan import Plan, make_plan
from sweep.spec.trial import Trial

MODULES = "[none, {name: se, reduction: [8, 16]}]"
BASELINE, SE8, SE16 = "resnet18 baseline", "resnet18 SE-r8, stage3", "resnet18 SE-r16, stage3"
NO_ROOM = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")


@dataclass(frozen=True)
class FakeMeter(Meter):
    """Passes of SE take twice those of the baseline; the first round takes ten times as long."""

    broken: str = ""
    """Which module fails, from the second round on."""
    failure: Exception = NO_ROOM
    visits: list[str] = field(default_factory=list)

    def sample(self, trial: Trial) -> Samples:
        label = f"{trial.attention}{trial.hyperparameters.get('reduction', '')}"
        first = label not in self.visits
        self.visits.append(label)
        if label == self.broken and not first:
            raise self.failure
        seconds = (0.010 if trial.attention == "none" else 0.020) * (10 if first else 1)
        return Samples([seconds] * 3, [2 * seconds])

    def peak(self, trial: Trial) -> int:
        return 2**29


METER = FakeMeter(torch.device("cpu"), "fp32", 4)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(space_of(tmp_path, attention=MODULES, seeds="[0, 1]"))


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is built here; among the objects of all tests a search for cycles takes seconds."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def ignore(_: str) -> None:
    """Listen to nothing."""


def test_seeds_and_recipes_share_a_model(tmp_path: Path, plan: Plan) -> None:
    models = models_of(plan)
    assert len(plan.trials) == 6
    assert [model_name(planned) for planned in models.values()] == [BASELINE, SE8, SE16]
    longer = make_plan(space_of(tmp_path, "recipe.epochs=9", attention=MODULES, seeds="[7]"))
    assert models_of(longer).keys() == models.keys()


@pytest.mark.parametrize(
    "change",
    [
        "dataset.name=cifar100",
        "dataset.image_size=16",
        "backbones=[{name: resnet18, stem: imagenet}]",
        "backbones=[{name: resnet18, placement: stem_stage}]",
        "attention=[{name: se, reduction: 8, bias: true}]",
    ],
)
def test_another_model_is_another_one(tmp_path: Path, plan: Plan, change: str) -> None:
    fields = {"attention": "[{name: se, reduction: 8}]"}
    if change.startswith("attention"):
        fields = {}
    other = models_of(make_plan(space_of(tmp_path, change, **fields)))
    assert len(other) == 1
    assert not other.keys() & models_of(plan).keys()


def test_models_take_turns_and_the_median_is_over_rounds(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = iter([0.5, 0.75, 3.25, 1.5, 1.0])
    monkeypatch.setattr("os.getloadavg", lambda: (next(loads), 9.0, 9.0))
    meter = replace(METER, visits=[])
    told: list[str] = []
    measured, failures = measure(models_of(plan), meter, told.append)
    assert meter.visits == ["none", "se8", "se16"] * ROUNDS
    assert told == [*(f"round {n} of 5" for n in (1, 2, 3, 4, 5)), "memory"]
    assert not failures
    assert [model.name for model in measured] == [BASELINE, SE8, SE16]
    baseline, se, _ = (model.cost for model in measured)
    # The slow first round moves no median; it has a fifth of the samples, less than a quarter.
    assert (baseline.latency_ms, se.latency_ms) == (10, 20)
    assert (baseline.images_per_second, se.images_per_second) == (200, 100)
    assert (baseline.latency_iqr_ms, baseline.images_per_second_iqr) == (0, 0)
    assert baseline.peak_memory_gib == 0.5
    assert baseline.throughput_batch_size == 4
    assert baseline.measured == se.measured
    assert baseline.load == se.load == 3.25
    assert measured[0].parameters == 11_173_962


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (NO_ROOM, "OutOfMemoryError: CUDA out of memory."),
        (ValueError("Expected more than 1 value"), "ValueError: Expected more than 1 value"),
    ],
)
def test_model_that_fails_is_told_and_the_others_go_on(
    plan: Plan, failure: Exception, reason: str
) -> None:
    meter = replace(METER, broken="se8", failure=failure, visits=[])
    measured, failures = measure(models_of(plan), meter, ignore)
    assert failures == {SE8: reason}
    assert [model.name for model in measured] == [BASELINE, SE16]
    assert meter.visits.count("se8") == 2


def test_nothing_is_measured_twice_in_one_setting(plan: Plan) -> None:
    models = models_of(plan)
    measured, _ = measure(dict(list(models.items())[:2]), replace(METER, visits=[]), ignore)
    keys = list(models)
    known = {key: [model.cost] for key, model in zip(keys, measured, strict=False)}
    assert list(unmeasured(models, known, METER.setting)) == keys[2:]
    changes: list[dict[str, Any]] = [{"batch_size": 8}, {"precision": "bf16"}]
    for other in (replace(METER, **change) for change in (*changes, {"channels_last": True})):
        assert list(unmeasured(models, known, other.setting)) == keys


class Watched(torch.nn.Conv2d):
    """A model that remembers what it computed with, and in which precision."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.seen: list[tuple[bool, bool, str]] = []

    def forward(self, x: Tensor) -> Tensor:
        last = (t.is_contiguous(memory_format=torch.channels_last) for t in (x, self.weight))
        self.seen.append((*last, torch.get_float32_matmul_precision()))  # type: ignore[arg-type]
        return super().forward(x)


@pytest.mark.parametrize("channels_last", [True, False])
def test_passes_are_in_the_meters_precision_and_memory_format(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, channels_last: bool
) -> None:
    model = Watched()
    monkeypatch.setattr("sweep.measuring.model_of", lambda trial: model)
    monkeypatch.setattr("sweep.measuring.SECONDS", 0.001)
    before = torch.get_float32_matmul_precision()
    meter = Meter(torch.device("cpu"), "fp32", 2, channels_last)
    trial = plan.runnable[0].trial
    for measured in (meter.sample, meter.peak):
        torch.set_float32_matmul_precision("high")
        try:
            measured(trial)
        finally:
            torch.set_float32_matmul_precision(before)
        assert set(model.seen) == {(channels_last, channels_last, "highest")}
        model.seen.clear()


def test_memory_format_is_that_of_all_trials(tmp_path: Path, plan: Plan) -> None:
    assert not is_channels_last(plan)
    fields = {"attention": MODULES, "seeds": "[0]"}
    last = make_plan(space_of(tmp_path, "recipe.channels_last=true", **fields))
    assert is_channels_last(last)
    mixed = last.model_copy(update={"trials": (*last.trials, *plan.trials)})
    assert not is_channels_last(mixed)


def test_sweep_without_a_model_says_why(tmp_path: Path) -> None:
    fields = {"attention": "[{name: ema, factor: 48}]", "on_indivisible": "refuse"}
    with pytest.raises(UserError, match="small has no model to measure: 1 trials are refused, 0"):
        models_of(make_plan(space_of(tmp_path, **fields)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
def test_precision_that_a_cpu_does_not_have() -> None:
    with pytest.raises(UserError, match="tf32 is of NVIDIA GPUs; a CPU has fp32, bf16, fp16"):
        make_meter("tf32", 1)
    assert make_meter("bf16", 1).setting.precision == "bf16"
