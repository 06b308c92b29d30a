from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sweep.spec.recipes import Recipe
from sweep.training.optim import make_optimizer, make_scheduler
from sweep.training.precision import Precision

from .parts import CPU


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_what_a_forward_pass_computes_in(name: Any, dtype: torch.dtype) -> None:
    layer, x = nn.Linear(3, 2), torch.ones(1, 3)
    with Precision(name, CPU).autocast():
        assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_without_fp16_nothing_is_scaled(name: Any) -> None:
    precision = Precision(name, CPU)
    weight = nn.Parameter(torch.tensor([2.0]))
    precision.backward(3 * weight.sum())
    assert weight.grad is not None
    assert weight.grad.item() == 3
    precision.step(torch.optim.SGD([weight], lr=0.5))
    assert weight.item() == 2 - 0.5 * 3
    assert precision.state_dict() == {}
    precision.load_state_dict({})


def test_fp16_scales_the_gradient_and_the_step_undoes_it() -> None:
    precision = Precision("fp16", CPU)
    weight = nn.Parameter(torch.tensor([2.0]))
    precision.backward(3 * weight.sum())
    assert weight.grad is not None
    assert weight.grad.item() == 3 * 2**16  # torch's initial scale
    precision.step(torch.optim.SGD([weight], lr=0.5))
    assert weight.item() == 2 - 0.5 * 3


def overflow(precision: Precision, weight: nn.Parameter) -> None:
    weight.grad = None
    precision.backward(weight.sum() * 1e38)


def test_a_step_that_overflowed_is_skipped_and_the_scale_halved() -> None:
    precision = Precision("fp16", CPU)
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    overflow(precision, weight)
    precision.step(optimizer)
    assert weight.item() == 2
    assert precision.state_dict()["scale"] == 2**15

    resumed = Precision("fp16", CPU)
    resumed.load_state_dict(precision.state_dict())
    assert resumed.state_dict() == precision.state_dict()
    assert resumed.scaler.get_scale() == 2**15


def test_an_overflow_in_the_first_step_is_no_warning() -> None:
    precision = Precision("fp16", CPU)
    model = nn.Linear(2, 1)
    recipe = Recipe(lr=0.5, precision="fp16", epochs=1)
    optimizer = make_optimizer(model, recipe)
    scheduler = make_scheduler(optimizer, recipe, 4)
    overflow(precision, model.weight)
    precision.step(optimizer)
    scheduler.step()  # a warning is an error here
    assert optimizer.param_groups[0]["lr"] < 0.5
