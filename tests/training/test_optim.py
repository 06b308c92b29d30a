"""Optimizer groups, and learning-rate schedules against torch's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, PolynomialLR

from sweep import build_model
from sweep.registry import ATTENTION
from sweep.spec.recipes import Recipe
from sweep.training.optim import (
    current_lr,
    lr_factor,
    make_optimizer,
    make_scheduler,
    restore,
)

STEPS = 7
"""Of an epoch."""


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"epochs": 6, "lr": 0.4, **fields})


def learning_rates(given: Recipe) -> list[float]:
    """Return the learning rate of every step of a training, as the optimizer has it."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = make_optimizer(model, given)
    scheduler = make_scheduler(optimizer, given, STEPS)
    rates = []
    for _ in range(given.epochs * STEPS):
        rates.append(current_lr(optimizer))
        assert {group["lr"] for group in optimizer.param_groups} == {rates[-1]}
        optimizer.step()
        scheduler.step()
    return rates


def by_torch(make: Any, *, every: int = 1, lr: float = 0.4) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for step in range(6 * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


def test_constant() -> None:
    assert learning_rates(recipe(schedule="constant")) == [0.4] * (6 * STEPS)


def test_cosine_is_that_of_torch() -> None:
    expected = by_torch(lambda optimizer: CosineAnnealingLR(optimizer, T_max=6 * STEPS))
    assert learning_rates(recipe(schedule="cosine")) == pytest.approx(expected, rel=1e-9)


def test_poly_is_that_of_torch() -> None:
    power = 0.9  # DeepLab (arXiv:1606.00915), section 4.1
    expected = by_torch(lambda optimizer: PolynomialLR(optimizer, 6 * STEPS, power=power))
    rates = learning_rates(recipe(schedule="poly"))
    assert rates == pytest.approx(expected, rel=1e-9)
    assert rates == pytest.approx([0.4 * (1 - k / 42) ** power for k in range(42)], rel=1e-12)


def test_step_is_that_of_torch() -> None:
    expected = by_torch(lambda optimizer: MultiStepLR(optimizer, [2, 5], gamma=0.2), every=STEPS)
    given = recipe(schedule="step", milestones=[2, 5], gamma=0.2)
    assert learning_rates(given) == pytest.approx(expected, rel=1e-9)
    assert len(set(expected)) == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_warm_up_rises_to_the_schedule_in_equal_steps(optimizer: Any) -> None:
    given = recipe(schedule="constant", warmup_epochs=2.0, optimizer=optimizer)
    rates = learning_rates(given)
    assert rates[: 2 * STEPS] == pytest.approx([0.4 * k / 14 for k in range(1, 15)], rel=1e-12)
    assert rates[2 * STEPS :] == [0.4] * (4 * STEPS)


def test_milestones_are_counted_from_the_start_of_training() -> None:
    given = recipe(schedule="step", milestones=[2, 4], warmup_epochs=1.0)
    rates = learning_rates(given)
    assert rates[:STEPS] == pytest.approx([0.4 * k / 7 for k in range(1, 8)])
    assert rates[STEPS:] == pytest.approx([0.4] * 7 + [0.04] * 14 + [0.004] * 14)


def test_cosine_runs_over_what_warm_up_leaves() -> None:
    rates = learning_rates(recipe(schedule="cosine", warmup_epochs=1.5))
    warm = 10  # 1.5 epochs are 10.5 steps, and a half rounds to even
    assert rates[:warm] == pytest.approx([0.4 * k / warm for k in range(1, warm + 1)])
    left = 42 - warm
    expected = [0.2 * (1 + math.cos(math.pi * k / left)) for k in range(left)]
    assert rates[warm:] == pytest.approx(expected, rel=1e-9)


def test_poly_runs_over_what_warm_up_leaves() -> None:
    rates = learning_rates(recipe(schedule="poly", warmup_epochs=2.0))
    assert rates[:14] == pytest.approx([0.4 * k / 14 for k in range(1, 15)], rel=1e-12)
    assert rates[14:] == pytest.approx([0.4 * (1 - k / 28) ** 0.9 for k in range(28)], rel=1e-12)


def test_one_cycle_rises_and_falls_in_half_cosines() -> None:
    rates = learning_rates(recipe(schedule="one_cycle", warmup_epochs=2.0))
    top = 2 * STEPS - 1  # the last step of the rise has the highest rate
    assert rates[top] == 0.4
    assert rates[:top] == sorted(set(rates[:top]))
    assert rates[top + 1 :] == sorted(set(rates[top + 1 :]), reverse=True)
    assert max(rates) == 0.4
    assert rates[0] == pytest.approx(0.2 * (1 - math.cos(math.pi / 14)))
    assert rates[top - 7] == pytest.approx(0.2)  # half way up
    assert rates[2 * STEPS + 14] == pytest.approx(0.2)  # half way down
    assert rates[-1] == pytest.approx(0.2 * (1 + math.cos(math.pi * 27 / 28)))


@pytest.mark.parametrize("schedule", ["cosine", "poly", "one_cycle"])
def test_the_end_is_zero_and_stays_there(schedule: Any) -> None:
    factor = lr_factor(recipe(schedule=schedule, warmup_epochs=1.0), STEPS)
    assert factor(6 * STEPS) == factor(6 * STEPS + 5) == 0
    assert factor(6 * STEPS - 1) > 0


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_warm_up_may_be_the_whole_training(schedule: Any) -> None:
    rates = learning_rates(recipe(schedule=schedule, epochs=2, warmup_epochs=2.0))
    assert rates == pytest.approx([0.4 * k / 14 for k in range(1, 15)])


@pytest.mark.parametrize("name", ATTENTION.names())
def test_norms_and_biases_may_be_left_out_of_weight_decay(name: str) -> None:
    model = build_model("resnet18", name, num_classes=10, on_indivisible="nearest")
    optimizer = make_optimizer(model, recipe(decay_norm_and_bias=False, weight_decay=0.01))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
    expected = {
        f"{prefix}.{own}"
        for prefix, module in model.named_modules()
        for own, _ in module.named_parameters(recurse=False)
        if isinstance(module, norms) or own.endswith("bias")
    }
    assert plain == expected
    assert decayed == set(names.values()) - expected


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_by_default_weight_decay_acts_on_everything(optimizer: Any) -> None:
    model = build_model("resnet18", "ela", num_classes=10)
    (group,) = make_optimizer(model, recipe(optimizer=optimizer, weight_decay=0.01)).param_groups
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len(list(model.parameters()))


def test_a_model_without_biases_and_norms_has_one_group() -> None:
    (group,) = make_optimizer(
        nn.Linear(2, 2, bias=False), recipe(decay_norm_and_bias=False)
    ).param_groups
    assert len(group["params"]) == 1


def test_the_optimizers_of_a_recipe() -> None:
    model = nn.Linear(2, 2)
    sgd = make_optimizer(model, recipe(momentum=0.8, nesterov=True))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.8, True)
    adamw = make_optimizer(model, recipe(optimizer="adamw"))
    assert isinstance(adamw, torch.optim.AdamW)
    assert current_lr(adamw) == 0.4


# Going on by another recipe --------------------------------------------------------------------


def trained(model: nn.Module, given: Recipe, steps: int) -> tuple[Any, Any]:
    """Return optimizer and scheduler after some steps on gradients of one."""
    optimizer = make_optimizer(model, given)
    scheduler = make_scheduler(optimizer, given, STEPS)
    for _ in range(steps):
        step(model, optimizer)
        scheduler.step()
    return optimizer, scheduler


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_another_recipe_goes_on_with_what_was_learnt() -> None:
    """Against torch's SGD by its formula: b = m b + g + d w; w -= lr (g + d w + m b)."""
    first = recipe(momentum=0.9, weight_decay=0.1, decay_norm_and_bias=False)
    second = recipe(
        momentum=0.5, weight_decay=0.3, decay_norm_and_bias=False, lr=0.2, nesterov=True
    )
    model = nn.Linear(2, 2).double()
    optimizer, scheduler = trained(model, first, 10)
    buffers = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    before = [parameter.detach().clone() for parameter in model.parameters()]

    new = make_optimizer(model, second)
    schedule = make_scheduler(new, second, STEPS)
    restore(new, schedule, optimizer.state_dict(), scheduler.state_dict())
    rate = 0.2 * (1 + math.cos(math.pi * 10 / (6 * STEPS))) / 2
    assert current_lr(new) == pytest.approx(rate, rel=1e-12)
    step(model, new)
    for decay, old, buffer, parameter in zip(
        (0.3, 0.0), before, buffers, model.parameters(), strict=True
    ):
        gradient = 1 + decay * old
        expected = old - rate * (gradient + 0.5 * (0.5 * buffer + gradient))
        torch.testing.assert_close(parameter.detach(), expected)
    schedule.step()
    assert current_lr(new) == pytest.approx(0.2 * (1 + math.cos(math.pi * 11 / (6 * STEPS))) / 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_of_the_same_recipe_it_is_what_torch_restores(optimizer: str) -> None:
    given = recipe(optimizer=optimizer, warmup_epochs=1.0)
    model = nn.Linear(2, 2)
    old, scheduler = trained(model, given, 10)
    new = make_optimizer(model, given)
    schedule = make_scheduler(new, given, STEPS)
    restore(new, schedule, old.state_dict(), scheduler.state_dict())
    torch.testing.assert_close(new.state_dict(), old.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(schedule.state_dict(), scheduler.state_dict(), rtol=0, atol=0)
