"""Parameter counts and multiply-accumulates, against hand formulas and known models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweep import build_attention, build_model
from sweep.profiling.cost import (
    ParameterCounts,
    count_macs,
    count_macs_fvcore,
    count_parameters,
)


class Wrapped(nn.Module):
    """A 1x1 convolution from an image to C channels, then the module under test."""

    def __init__(self, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.lift = nn.Conv2d(3, channels, 1, bias=False)
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(self.lift(x))


# Parameters -------------------------------------------------------------------------------------


def test_three_counts_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),  # 3 * 8 * 9 + 8
        nn.BatchNorm2d(8),  # 2 * 8
        nn.GroupNorm(2, 8),  # 2 * 8
        nn.BatchNorm1d(5, affine=False),
        nn.LayerNorm([4, 4]),  # 2 * 16
        nn.Linear(7, 2),  # 7 * 2 + 2
    )
    weights = 216 + 8 + 14 + 2
    assert count_parameters(model) == ParameterCounts(
        true=weights + 16 + 16 + 32, thop_like=weights + 16 + 32, no_norm=weights
    )


def test_a_shared_parameter_counts_once() -> None:
    norm, conv = nn.GroupNorm(2, 8), nn.Conv1d(8, 8, 1, bias=False)
    model = nn.Sequential(conv, norm, nn.Sequential(conv, norm))
    model.append(nn.Conv1d(8, 8, 1, bias=False))
    model[-1].weight = conv.weight
    assert count_parameters(model) == ParameterCounts(true=64 + 16, thop_like=64, no_norm=64)


def test_raw_parameters_of_a_module_count_in_every_way() -> None:
    # SA with G=2 at C=16: four (4, 1, 1) parameters and GroupNorm(4, 4).
    counts = count_parameters(build_attention("sa", 16, groups=2))
    assert counts == ParameterCounts(true=16 + 8, thop_like=16, no_norm=16)


def test_buffers_and_frozen_parameters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    model[0].weight.requires_grad_(False)  # frozen, and still a parameter
    assert count_parameters(model) == ParameterCounts(true=20, thop_like=20, no_norm=12)


# Multiply-accumulates ---------------------------------------------------------------------------


SIZE = 12


@pytest.mark.parametrize(
    ("make", "macs"),
    [
        # output positions * output channels * input channels per group * kernel
        (lambda: nn.Conv2d(3, 8, 3, padding=1), 12 * 12 * 8 * 3 * 9),
        (lambda: nn.Conv2d(3, 8, 3), 10 * 10 * 8 * 3 * 9),
        (lambda: nn.Conv2d(3, 8, 3, stride=2, padding=1), 6 * 6 * 8 * 3 * 9),
        (lambda: nn.Conv2d(3, 6, (1, 5), padding=(0, 2), groups=3), 12 * 12 * 6 * 1 * 5),
        (lambda: nn.Conv2d(3, 4, 3, dilation=2, bias=True), 8 * 8 * 4 * 3 * 9),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), 432 * 5),
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
            ),
            12 * 12 * 8 * 3,
        ),
    ],
)
def test_layers_by_hand(make: Callable[[], nn.Module], macs: int) -> None:
    assert count_macs(make(), SIZE) == macs


LIFT = SIZE * SIZE * 3
"""Times C: the 1x1 convolution of ``Wrapped``."""


@pytest.mark.parametrize(
    ("shared", "groups", "in_group"),
    [(True, "in_channels", 1), (True, "in_channels/8", 8), (False, "in_channels", 1)],
)
def test_one_convolution_of_ela_runs_in_both_directions(
    shared: bool, groups: str, in_group: int
) -> None:
    c, k = 32, 7
    module = build_attention("ela", c, kernel_size=k, groups=groups, num_groups=4, shared=shared)
    macs = count_macs(Wrapped(c, module), SIZE)
    assert macs - LIFT * c == (SIZE + SIZE) * c * in_group * k
    directions = 1 if shared else 2  # parameters once, or once for each direction
    assert count_parameters(module).no_norm == directions * c * in_group * k


@pytest.mark.parametrize(("factor", "c"), [(1, 32), (4, 8), (16, 2)])
def test_folded_groups_of_ema_each_run(factor: int, c: int) -> None:
    def macs(cross_spatial: bool) -> int:
        module = build_attention("ema", 32, factor=factor, cross_spatial=cross_spatial)
        return count_macs(Wrapped(32, module), SIZE) - LIFT * 32

    one_by_one, three_by_three = (SIZE + SIZE) * c * c, SIZE * SIZE * c * c * 9
    assert macs(cross_spatial=False) == factor * (one_by_one + three_by_three)
    # Each branch weighs the c channels of the other at every position.
    weighing = 2 * SIZE * SIZE * c
    assert macs(cross_spatial=True) == factor * (one_by_one + three_by_three + weighing)


def test_ca_by_hand() -> None:
    c, m = 64, 8
    module = build_attention("ca", c, "official", reduction=8)
    strips = SIZE + SIZE
    expected = strips * c * m + SIZE * m * c + SIZE * m * c
    assert count_macs(Wrapped(c, module), SIZE) - LIFT * c == expected


STAGES_OF_CIFAR_RESNET50 = [(64, 3, 32), (128, 4, 16), (256, 6, 8), (512, 3, 4)]
"""Width, number of bottlenecks, and side of their output for a 32x32 image."""


def cifar_resnet50_by_hand(num_classes: int) -> int:
    total = 32 * 32 * 64 * 3 * 9
    incoming, side_before = 64, 32
    for width, count, side in STAGES_OF_CIFAR_RESNET50:
        total += side**2 * incoming * 4 * width  # the shortcut of the first bottleneck
        for _ in range(count):
            total += side_before**2 * incoming * width  # 1x1; the stride is that of the 3x3
            total += side**2 * width * width * 9 + side**2 * width * 4 * width
            incoming, side_before = 4 * width, side
    return total + 2048 * num_classes


def ema_by_hand(factor: int) -> int:
    total = 0
    for width, count, side in STAGES_OF_CIFAR_RESNET50:
        c = 4 * width // factor
        one_group = 2 * side * c * c + side * side * c * c * 9 + 2 * side * side * c
        total += count * factor * one_group
    return total


@pytest.mark.parametrize(
    ("attention", "added", "giga"),
    [
        ({"name": "none"}, 0, "1.2980"),
        # Table 3 prints 1.32 and 1.34: there, G groups are counted once.
        ({"name": "ema", "factor": 32}, ema_by_hand(32), "1.6113"),
        ({"name": "ema", "factor": 16}, ema_by_hand(16), "1.9211"),
    ],
)
def test_ema_on_the_cifar_resnet50_of_its_paper(
    attention: dict[str, Any], added: int, giga: str
) -> None:
    with torch.device("meta"):
        model = build_model("resnet50", attention, "block_last_bn", num_classes=100, stem="cifar")
    macs = count_macs(model, 32)
    assert macs == cifar_resnet50_by_hand(100) + added
    assert f"{macs / 1e9:.4f}" == giga


def test_resnet50_at_224_as_both_counters_are_known_to_count_it() -> None:
    model = build_model("resnet50").train()
    assert round(count_macs(model, 224) / 1e6, 1) == 4089.2  # torch counts 8178.4 M operations
    fvcore = count_macs_fvcore(model, 224)
    assert round(fvcore.macs / 1e6, 1) == 4111.5  # norms and pooling too
    assert "aten::max_pool2d" in fvcore.unsupported
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("attention", ["none", "ela", "ca", "cbam"])
def test_nothing_need_be_computed(name: str, attention: str) -> None:
    def build() -> nn.Module:
        return build_model(name, attention, num_classes=10, on_indivisible="nearest")

    with torch.device("meta"):
        meta = build()
    cpu = build()
    assert count_macs(meta, 64) == count_macs(cpu, 64) > 10_000_000
    assert count_parameters(meta) == count_parameters(cpu)


@pytest.mark.parametrize("count", [count_macs, count_macs_fvcore])
def test_counting_changes_nothing_in_the_model(count: Callable[[nn.Module, int], Any]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[1].eval()  # frozen statistics
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    count(model, 8)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modes_are_put_back_after_a_failure_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5))
    with pytest.raises(RuntimeError):
        count_macs(model, 8)
    assert all(module.training for module in model.modules())
