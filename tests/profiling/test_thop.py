"""thop's formulas, against counts made by hand, and what thop itself says of whole models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sweep import build_attention, build_model
from sweep.profiling.cost import count_macs
from sweep.profiling.thop import ThopCount, count_macs_thop, counting


class Calls(nn.Module):
    """A model that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def count(model: nn.Module, *shape: int) -> ThopCount:
    with torch.no_grad(), counting(model.eval()) as found:
        model(torch.zeros(shape))
    return found


# Layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "products"),
    [
        # elements out, times input channels of a group, times the kernel
        (nn.Conv2d(6, 8, 3, padding=1), (6, 11, 7), 8 * 11 * 7 * 6 * 9),
        (nn.Conv2d(6, 8, 3), (6, 11, 7), 8 * 9 * 5 * 6 * 9),
        (nn.Conv2d(6, 8, 3, stride=2, padding=1), (6, 11, 7), 8 * 6 * 4 * 6 * 9),
        (nn.Conv2d(6, 8, (1, 5), padding=(0, 2), groups=2), (6, 11, 7), 8 * 11 * 7 * 3 * 5),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), (6, 11, 7), 6 * 11 * 7 * 9),
        (nn.Conv2d(6, 8, 3, dilation=2), (6, 11, 7), 8 * 7 * 3 * 6 * 9),
        (nn.Conv1d(4, 6, 5, padding=2, groups=2), (4, 9), 6 * 9 * 2 * 5),
        (nn.Linear(7, 5), (7,), 5 * 7),
        (nn.Linear(7, 5, bias=False), (3, 7), 3 * 5 * 7),
    ],
)
def test_products(layer: nn.Module, shape: tuple[int, ...], products: int) -> None:
    expected = ThopCount(products=products, products_per_item=products)
    assert count(layer, 1, *shape) == expected
    assert expected.macs == expected.early == products


def test_a_transposed_convolution_is_counted_by_its_input_channels() -> None:
    # As thop has it: 6 x 11 x 11 elements out, times 4 input channels, times the kernel.
    assert count(nn.ConvTranspose2d(4, 6, 3, stride=2), 1, 4, 5, 5).products == 6 * 121 * 4 * 9


@pytest.mark.parametrize(
    ("norm", "shape", "per_element"),
    [
        (nn.BatchNorm2d(6), (6, 5, 7), 4),
        (nn.BatchNorm2d(6, affine=False), (6, 5, 7), 2),
        (nn.BatchNorm1d(6), (6, 9), 4),
        (nn.GroupNorm(2, 6), (6, 5, 7), 0),
    ],
)
def test_norms(norm: nn.Module, shape: tuple[int, ...], per_element: int) -> None:
    elements = torch.Size(shape).numel()
    found = count(norm, 1, *shape)
    assert found == ThopCount(norms=per_element * elements)
    assert (found.macs, found.early) == (per_element * elements, per_element * elements // 2)


@pytest.mark.parametrize(
    ("size", "averages", "of"),
    [(1, 8, 35), ((1, None), 8 * 7, 5), ((None, 1), 8 * 5, 7), ((5, 7), 8 * 35, 1)],
)
def test_adaptive_pooling_as_a_layer_and_as_a_function(size: Any, averages: int, of: int) -> None:
    layer = nn.AdaptiveAvgPool2d(size)
    function = Calls(lambda x: F.adaptive_avg_pool2d(x, size))
    for model in (layer, function):
        found = count(model, 1, 8, 5, 7)
        assert found == ThopCount(pooling=averages * (of + 1))
        assert found.macs == found.early == averages * (of + 1)


def test_upsampling_is_one_for_every_element_out_and_was_nothing() -> None:
    found = count(nn.Upsample(scale_factor=2, mode="nearest"), 1, 4, 3, 5)
    assert found == ThopCount(upsampling=4 * 6 * 10)
    assert (found.macs, found.early) == (240, 0)


C, H, W = 8, 5, 7


@pytest.mark.parametrize(
    ("mean", "means"),
    [
        (lambda x: x.mean(dim=3), C * H * (W + 1)),
        (lambda x: x.mean(dim=-1, keepdim=True), C * H * (W + 1)),
        (lambda x: x.mean(3), C * H * (W + 1)),
        (lambda x: x.mean(dim=2), C * W * (H + 1)),
        (lambda x: x.mean(dim=-2), C * W * (H + 1)),
        (lambda x: x.mean(dim=(2, 3)), C * (H * W + 1)),
        (lambda x: x.mean(dim=(-2, -1), keepdim=True), C * (H * W + 1)),
        (lambda x: x.mean((2, 3)), C * (H * W + 1)),
        (lambda x: x.mean([2, 3]), C * (H * W + 1)),
        (lambda x: x.mean(dim=[2, 3]), C * (H * W + 1)),
        (lambda x: torch.mean(x, dim=3), C * H * (W + 1)),
        (lambda x: x.mean(dim=1), 0),  # no pooling layer averages over channels
        (lambda x: x.mean(dim=(1, 2)), 0),
        (lambda x: x.mean(), 0),
    ],
    ids=[
        "W",
        "W from the end",
        "W by position",
        "H",
        "H from the end",
        "H and W",
        "H and W from the end",
        "H and W by position",
        "H and W in a list by position",
        "H and W in a list",
        "W by torch.mean",
        "C",
        "C and H",
        "all",
    ],
)
def test_a_mean_over_h_or_w_is_kept_apart(mean: Callable[[Tensor], Tensor], means: int) -> None:
    found = count(Calls(mean), 1, C, H, W)
    assert found == ThopCount(means=means)
    assert found.macs == found.early == 0  # thop sees no functions


@pytest.mark.parametrize(
    "multiply",
    [
        lambda x: x @ torch.zeros(2, 4, 5),
        lambda x: torch.matmul(x, torch.zeros(2, 4, 5)),
        lambda x: x.matmul(torch.zeros(2, 4, 5)),
    ],
    ids=["operator", "function", "method"],
)
def test_products_of_matrices_are_kept_apart(multiply: Callable[[Tensor], Tensor]) -> None:
    found = count(Calls(multiply), 2, 3, 4)
    assert found == ThopCount(matrices=2 * 3 * 5 * 4)
    assert found.macs == 0


def test_what_else_a_layer_does_is_nothing() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Sigmoid(), nn.SiLU())
    assert count(model, 1, 4, 6, 6) == ThopCount()


# Batches -----------------------------------------------------------------------------------------


def test_groups_folded_into_the_batch_count_once_for_one_item() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    model = Calls(lambda x: conv(x.reshape(8, 2, 5, 7)).reshape(1, 16, 5, 7))
    model.inner = conv
    one = 2 * 35 * 2 * 9
    assert count(model, 1, 16, 5, 7) == ThopCount(products=8 * one, products_per_item=one)


@pytest.mark.parametrize("cross_spatial", [True, False])
def test_ema_by_hand(cross_spatial: bool) -> None:
    c = C // 4
    module = build_attention("ema", C, factor=4, cross_spatial=cross_spatial)
    one = (H + W) * c * c + H * W * c * c * 9
    strips = c * H * (W + 1) + c * W * (H + 1)
    weighed = 2 * H * W * c  # each branch weighs the c channels of the other
    pooled = 2 * c * (H * W + 1)
    assert count(module, 1, C, H, W) == ThopCount(
        products=4 * one,
        products_per_item=one,
        matrices=4 * weighed * cross_spatial,
        means=4 * (strips + pooled * cross_spatial),
    )


def test_a_layer_that_runs_twice_counts_twice() -> None:
    module = build_attention("ela", 16, kernel_size=5, groups="in_channels", num_groups=4)
    strips = 16 * H * (W + 1) + 16 * W * (H + 1)
    products = 16 * (H + W) * 5
    expected = ThopCount(products=products, products_per_item=products, means=strips)
    assert count(module, 1, 16, H, W) == expected


# Whole models ------------------------------------------------------------------------------------


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, **options)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # products + 4 for every element of the norms + 512 (or 2048) averages of 7 x 7
        ("resnet18", 1_814_073_344 + 4 * 2_483_712 + 512 * 50),
        ("resnet50", 4_133_742_592),  # thop itself says 4133.7 M
    ],
)
def test_resnets_at_224(name: str, macs: int) -> None:
    assert count_macs_thop(on_meta(name), 224).macs == macs


def test_resnet18_and_101_as_the_paper_prints_them() -> None:
    assert count_macs_thop(on_meta("resnet18"), 224).macs == 1_824_033_792
    assert f"{count_macs_thop(on_meta('resnet101'), 224).macs / 1e9:.4f}" == "7.8664"


@pytest.mark.parametrize("attention", ["none", "ca", "cbam", "eca", "ela", "nam", "sa", "se"])
def test_products_are_those_of_torchs_counter(attention: str) -> None:
    hyperparameters = {"name": attention} | ({"groups": 32} if attention == "sa" else {})
    model = on_meta("resnet18", attention=hyperparameters)
    found = count_macs_thop(model, 64)
    assert found.products + found.matrices == count_macs(model, 64)
    assert found.products == found.products_per_item  # nothing is folded


def test_nothing_need_be_computed() -> None:
    options = {"attention": "ela", "num_classes": 10}
    assert count_macs_thop(on_meta("resnet18", **options), 64) == count_macs_thop(
        build_model("resnet18", **options), 64
    )


# What is left of it ------------------------------------------------------------------------------


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_counting_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[1].eval()  # frozen statistics
    model[0].register_forward_hook(lambda *_: None)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = count_macs_thop(model, 8)
    assert count_macs_thop(model, 8) == first == ThopCount(768, 768, 1024)
    assert hooks(model) == 1
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_left_behind_by_a_failure() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5))
    with pytest.raises(RuntimeError):
        count_macs_thop(model, 8)
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())
    pooled = count(nn.AdaptiveAvgPool2d(1), 1, 2, 3, 3)
    assert pooled.pooling == 2 * 10  # functions are not counted by the failed one as well


def test_what_runs_outside_of_it_is_not_counted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1)).eval()
    with counting(model) as found:
        pass
    model(torch.zeros(1, 3, 8, 8))
    assert found == ThopCount()
