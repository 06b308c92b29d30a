"""What the models of a sweep cost on this device: latency, throughput, peak memory.

Trials that differ in seed, recipe or data have one model, which is measured once, with fresh
weights. A machine's speed drifts, more so where others use it too: the models take turns, round
after round, so that a slow minute is everybody's.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import torch

from sweep.errors import UserError, first_line
from sweep.models.build import model_of
from sweep.models.placement import AttentiveModel
from sweep.plan import Plan, PlannedTrial
from sweep.profiling.environment import environment
from sweep.profiling.latency import sample_passes, summarise
from sweep.profiling.memory import measure_memory
from sweep.spec.trial import Trial
from sweep.tracking.measurements import Cost, MeasuredModel, Setting, key_of_trial
from sweep.training.precision import Precision

Found = TypeVar("Found")
PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]

ROUNDS = 5
"""An odd number: its median is one of them."""
SECONDS = 0.5
"""Of timing, for each model, batch size and round."""
OF_THE_VERSIONS = ("python", "torch", "torchvision", "cuda")
"""Of the environment, what a time depends on."""


@dataclass(frozen=True)
class Samples:
    """What one round knows of one model: seconds of passes."""

    single: Sequence[float]
    """Of one image."""
    batch: Sequence[float]


@dataclass(frozen=True)
class Meter:
    """Measures models in one way.

    Args:
        device: where.
        precision: that they compute in.
        batch_size: images of a pass, for throughput and memory.
        channels_last: memory format of weights and images.
    """

    device: torch.device
    precision: PrecisionName
    batch_size: int
    channels_last: bool = False

    @property
    def setting(self) -> Setting:
        """What measurements of this device are compared by."""
        around = environment(self.device)
        return Setting(
            device=around["device"],
            versions={name: str(around[name]) for name in OF_THE_VERSIONS if around[name]},
            precision=self.precision,
            throughput_batch_size=self.batch_size,
            channels_last=self.channels_last,
        )

    def sample(self, trial: Trial) -> Samples:
        """Time a trial's model for one round."""
        model, passes = self._prepare(trial)
        single, batch = (
            sample_passes(model, batch_size=images, seconds=SECONDS, **passes)
            for images in (1, self.batch_size)
        )
        return Samples(single, batch)

    def peak(self, trial: Trial) -> int:
        """Return the bytes at the peak of a forward pass of a trial's model."""
        model, passes = self._prepare(trial)
        return measure_memory(model, batch_size=self.batch_size, **passes)

    def _prepare(self, trial: Trial) -> tuple[AttentiveModel, dict[str, Any]]:
        """Return a trial's model, and how it is passed; make the process compute in the precision.

        TF32 is on or off for all of the process, and stays so.
        """
        precision = Precision(self.precision, self.device)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model = model_of(trial).to(self.device).to(memory_format=layout)
        return model, {
            "image_size": int(trial.dataset_settings["image_size"]),
            "dtype": precision.dtype,
            "channels_last": self.channels_last,
        }


def make_meter(precision: PrecisionName, batch_size: int, *, channels_last: bool = False) -> Meter:
    """Return the meter of this machine's GPU if it has one, else of its CPU.

    Raises:
        UserError: the device has no such precision.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision == "tf32" and device.type == "cpu":
        raise UserError("--precision tf32 is of NVIDIA GPUs; a CPU has fp32, bf16, fp16")
    return Meter(device, precision, batch_size, channels_last)


def is_channels_last(plan: Plan) -> bool:
    """Tell whether all trials of a plan train in channels_last.

    All models are measured in one memory format: else they would not compare.
    """
    return all(planned.trial.recipe.channels_last for planned in plan.runnable)


def models_of(plan: Plan) -> dict[str, PlannedTrial]:
    """Return the distinct models of a plan by their keys, each as the first trial that has it.

    Raises:
        UserError: none of its trials can be run.
    """
    models: dict[str, PlannedTrial] = {}
    for planned in plan.runnable:
        if planned.cost is not None:
            key = key_of_trial(planned.trial, planned.cost.params_true)
            models.setdefault(key, planned)
    if not models:
        counts = f"{len(plan.refused)} trials are refused, {len(plan.pruned)} pruned"
        raise UserError(f"{plan.study} has no model to measure: {counts}")
    return models


def unmeasured(
    models: Mapping[str, PlannedTrial], known: Mapping[str, Sequence[Cost]], setting: Setting
) -> dict[str, PlannedTrial]:
    """Return the models that were not measured in one setting yet."""
    return {
        key: planned
        for key, planned in models.items()
        if all(cost.key != setting.key for cost in known.get(key, ()))
    }


def measure(
    models: Mapping[str, PlannedTrial], meter: Meter, tell: Callable[[str], object]
) -> tuple[list[MeasuredModel], dict[str, str]]:
    """Measure models side by side; return what they cost, and of those that failed why, by name.

    Args:
        models: by their keys.
        meter: measures one model for one round.
        tell: is told how far it is.
    """
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    failures: dict[str, str] = {}
    rounds, loads = [], []
    for turn in range(ROUNDS):
        tell(f"round {turn + 1} of {ROUNDS}")
        rounds.append(_visit(models, meter.sample, failures))
        loads.append(os.getloadavg()[0])
    tell("memory")
    peaks = _visit(models, meter.peak, failures)
    around: dict[str, Any] = {
        **vars(meter.setting),
        "host": platform.node(),
        "cores": os.cpu_count() or 1,
        "load": max(loads),
        "measured": begun,
    }
    measured = []
    for key, peak in peaks.items():
        numbers = _numbers([found[key] for found in rounds], meter.batch_size)
        cost = Cost(**numbers, peak_memory_gib=peak / 2**30, **around)
        measured.append(_measured(models[key], cost))
    return measured, {model_name(models[key]): reason for key, reason in failures.items()}


def model_name(planned: PlannedTrial) -> str:
    """Return what people call the model of a trial: backbone, module and where it is."""
    trial = planned.trial
    placement = f", {trial.placement}" if trial.sites else ""
    return f"{trial.backbone.name} {planned.label}{placement}"


def _visit(
    models: Mapping[str, PlannedTrial], visit: Callable[[Trial], Found], failures: dict[str, str]
) -> dict[str, Found]:
    """Return what visits to the models find, in turn; one that fails is noted, and left out."""
    found = {}
    for key, planned in models.items():
        if key in failures:
            continue
        gc.collect()  # the model before goes in cycles
        torch.cuda.empty_cache()
        try:
            found[key] = visit(planned.trial)
        except Exception as error:  # a model fails in its own way; most of all, out of memory
            failures[key] = f"{type(error).__name__}: {first_line(error)}"
    return found


def _numbers(rounds: Sequence[Samples], batch_size: int) -> dict[str, Any]:
    single = summarise([samples.single for samples in rounds], 1)
    batch = summarise([samples.batch for samples in rounds], batch_size)
    return {
        "latency_ms": single.milliseconds,
        "latency_iqr_ms": single.iqr,
        "images_per_second": batch.images_per_second,
        "images_per_second_iqr": batch.images_per_second_iqr,
    }


def _measured(planned: PlannedTrial, cost: Cost) -> MeasuredModel:
    assert planned.cost is not None
    counts = planned.cost
    return MeasuredModel(planned.trial, model_name(planned), counts.params_true, counts.macs, cost)
