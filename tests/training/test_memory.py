"""The share of a GPU that a trial gets, and the probe that it follows from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Trial
from sweep.training import memory
from sweep.training.memory import Gpu, ProbeCache, fraction, probe_key, probe_memory, take_steps

from .parts import CPU, trial

GIB = 2**30
A100 = Gpu("A100", 80 * GIB, "2.9.0")
ELA: dict[str, Any] = {
    "attention": "ela",
    "hyperparameters": {"num_groups": 8},
    "sites": ("bn",),
}


# The share -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peak", "total", "share"),
    [
        # 80 GiB hold n trials of p GiB each with 1.1 p + 0.5 GiB.
        (70, 80, 1.0),
        (36, 80, 1.0),  # 40.1
        (35.9, 80, 0.5),  # 39.99
        (20, 80, 0.3333),  # 22.5, and 80 / 22.5 = 3.56
        (11, 80, 0.1666),  # 12.6; 80 / 12.6 = 6.35
        (1, 80, 0.1),  # 50 would fit, 10 are the most
        (90, 80, 1.0),  # it may still fit without headroom, or with accumulation
        (0, 80, 0.1),
    ],
)
def test_the_share_holds_the_peak_with_headroom(peak: float, total: int, share: float) -> None:
    assert fraction(int(peak * GIB), total * GIB) == share


def test_shares_never_make_more_than_a_gpu() -> None:
    for peak in range(1, 80):
        share = fraction(peak * GIB, 80 * GIB)
        assert round(share * 10_000) * round(1 / share) <= 10_000


# What it depends on ----------------------------------------------------------------------------


def with_recipe(given: Trial, **changes: Any) -> Trial:
    return given.model_copy(update={"recipe": given.recipe.model_copy(update=changes)})


MATTERS: dict[str, Any] = {
    "batch_size": 48,
    "accumulate": 2,
    "optimizer": "adamw",
    "momentum": 0.0,
    "precision": "bf16",
    "channels_last": True,
}


def test_what_changes_the_peak_changes_the_key() -> None:
    given = trial(**ELA)
    fields: dict[str, Any] = {
        "task": "other",
        "dataset": "cifar10",
        "dataset_content": {"subset": 10},
        "dataset_settings": {**given.dataset_settings, "image_size": 16},
        "num_classes": 11,
        "backbone": BackboneChoice(name="tiny", stem="imagenet"),
        "sites": ("stem",),
        "attention": "ema",
        "hyperparameters": {**given.hyperparameters, "kernel_size": 3},
        "plugins": ("other==1.0",),
        "on_indivisible": "nearest",
    }
    changed = [given.model_copy(update={name: value}) for name, value in fields.items()]
    changed += [with_recipe(given, **{name: value}) for name, value in MATTERS.items()]
    assert len({probe_key(other) for other in [given, *changed]}) == 1 + len(changed)


def test_what_does_not_change_the_peak_shares_a_measurement() -> None:
    given = trial(**ELA)
    recipe = {
        "epochs": 9,
        "lr": 0.3,
        "momentum": 0.8,
        "nesterov": True,
        "weight_decay": 0.1,
        "decay_norm_and_bias": False,
        "schedule": "poly",
        "milestones": (2,),
        "gamma": 0.5,
        "warmup_epochs": 1.0,
        "label_smoothing": 0.1,
        "augmentation": "none",
        "evaluate": "last",
    }
    assert {*recipe, *MATTERS} == {*Recipe.model_fields}
    fields: dict[str, Any] = {
        "seed": 5,
        "patience": 1,
        "metric": "loss",
        "placement": "mine",
        "preset": "B",
        "nondefault": (),
        "backbone": given.backbone.model_copy(update={"weights": "IMAGENET1K_V1"}),
        "dataset_settings": {**given.dataset_settings, "root": "elsewhere"},
    }
    others = [given.model_copy(update={name: value}) for name, value in fields.items()]
    others += [with_recipe(given, **{name: value}) for name, value in recipe.items()]
    assert {probe_key(other) for other in others} == {probe_key(given)}


# What is remembered ----------------------------------------------------------------------------


def test_a_configuration_is_measured_once_on_each_kind_of_gpu(tmp_path: Path) -> None:
    measured: list[int] = []

    def measure(given: Trial) -> int:
        measured.append(given.seed)
        return 1000 + given.seed

    cache = ProbeCache(tmp_path / "sweeps")
    assert cache.known(trial(), A100) is None
    assert cache.peak(trial(seed=1), A100, measure) == 1001
    assert cache.peak(trial(seed=2), A100, measure) == 1001
    later = ProbeCache(tmp_path / "sweeps")
    assert later.known(trial(seed=3), A100) == 1001
    assert later.peak(trial(seed=4, **ELA), A100, measure) == 1004
    for number, gpu in enumerate(
        [Gpu("H100", 80 * GIB, "2.9.0"), Gpu("A100", 40 * GIB, "2.9.0"), Gpu("A100", 80 * GIB, "3")]
    ):
        assert later.known(trial(), gpu) is None
        assert later.peak(trial(seed=10 + number), gpu, measure) == 1010 + number
    assert cache.known(trial(), A100) == 1001
    assert measured == [1, 4, 10, 11, 12]
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["probes.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": "b"}', '{"a": null}', "\x00"])
def test_a_damaged_cache_is_measured_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "probes.json").write_text(text, encoding="utf-8")
    cache = ProbeCache(tmp_path)
    assert cache.peak(trial(), A100, lambda given: 7) == 7
    assert cache.known(trial(), A100) == 7


def test_what_cannot_be_measured_is_not_remembered(tmp_path: Path) -> None:
    def measure(given: Trial) -> int:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        ProbeCache(tmp_path).peak(trial(), A100, measure)
    assert ProbeCache(tmp_path).known(trial(), A100) is None


# The probe -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [({}, {"momentum_buffer"}), ({"optimizer": "adamw"}, {"step", "exp_avg", "exp_avg_sq"})],
)
def test_the_probe_trains_until_the_optimizer_has_its_state(
    recipe: dict[str, Any], kept: set[str]
) -> None:
    optimizer = take_steps(trial({"accumulate": 2, **recipe}, **ELA), CPU)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(set(optimizer.state[p]) == kept and p.grad is not None for p in parameters)


def test_a_cpu_has_no_memory_to_share() -> None:
    with pytest.raises(ValueError, match=r"device \(=cpu\) must be a CUDA device"):
        probe_memory(trial(), CPU)


@pytest.mark.parametrize(("free", "expected"), [(71.5, 9.5), (40, 10), (73, 9)])
def test_the_context_of_this_process_counts_and_other_processes_do_not(
    monkeypatch: pytest.MonkeyPatch, free: float, expected: float
) -> None:
    # Of 80 GiB this process has 8 reserved, and had 9; the rest of what is not free is its
    # context, or somebody else's.
    answers = {
        "synchronize": None,
        "empty_cache": None,
        "mem_get_info": (int(free * GIB), 80 * GIB),
        "memory_reserved": 8 * GIB,
        "max_memory_reserved": 9 * GIB,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(memory, "take_steps", lambda given, device: None)
    assert probe_memory(trial(), torch.device("cuda", 0)) == expected * GIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    cuda = torch.device("cuda", 0)
    small, large = (
        trial({"batch_size": batch}, backbone="resnet18", subset=512) for batch in (2, 512)
    )
    peaks = [probe_memory(given, cuda) for given in (small, large)]
    # Weights, gradients and momentum of 11.2 million parameters, at least.
    assert 3 * 4 * 11.1e6 < peaks[0] < peaks[1] < Gpu.of(cuda).memory
    assert probe_memory(small, cuda) == pytest.approx(peaks[0], rel=0.2)
    assert torch.cuda.memory_allocated(cuda) < memory.HEADROOM_BYTES
