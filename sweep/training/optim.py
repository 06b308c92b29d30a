"""Optimizer and learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sweep.spec.recipes import Recipe

POLY_POWER = 0.9
"""Of the schedule "poly": DeepLab (arXiv:1606.00915), section 4.1."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimizer of a recipe; biases and norms may be left out of weight decay."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        # Norms have vectors; a bias may have more dimensions (SA's is (C / 2G, 1, 1)).
        norm_or_bias = parameter.ndim <= 1 or name.endswith("bias")
        exempt = norm_or_bias and not recipe.decay_norm_and_bias
        (plain if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.lr)
    return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)


def make_scheduler(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int) -> LambdaLR:
    """Return a scheduler that is stepped after every batch."""
    scheduler = LambdaLR(optimizer, lr_factor(recipe, steps_per_epoch))
    # The first steps in fp16 are often skipped, until the loss scale fits; torch would warn of it.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    return scheduler


def restore(
    optimizer: Optimizer, scheduler: LambdaLR, state: dict[str, Any], schedule: dict[str, Any]
) -> None:
    """Go on from the state of an optimizer and of its scheduler, which may be of another recipe.

    What was learnt stays (momentum buffers, the number of steps); learning rate, momentum and
    weight decay are those that the optimizer was made with.
    """
    settings = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    scheduler.load_state_dict({**schedule, "base_lrs": scheduler.base_lrs})
    for group, own, factor in zip(
        optimizer.param_groups, settings, scheduler.lr_lambdas, strict=True
    ):
        group.update({**own, "lr": own["initial_lr"] * factor(scheduler.last_epoch)})


def lr_factor(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a fraction of ``recipe.lr``, as a function of steps taken.

    Linear warm-up comes first; the schedule then runs over the epochs that are left ("cosine",
    "poly", "one_cycle": to zero at the end of the last one) or at its milestones ("step": counted
    from the start of training). "one_cycle" is SGDR's half cosine up and down again (Smith, 2018).
    """
    total = recipe.epochs * steps_per_epoch
    warmup = round(recipe.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warmup:
            rising = (step + 1) / warmup
            return _half_cosine(1 - rising) if recipe.schedule == "one_cycle" else rising
        if recipe.schedule == "constant":
            return 1.0
        if recipe.schedule == "step":
            epoch = step // steps_per_epoch
            return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
        progress = (step - warmup) / max(1, total - warmup)
        if recipe.schedule == "poly":
            return float((1 - min(1.0, progress)) ** POLY_POWER)
        return _half_cosine(progress)

    return factor


def _half_cosine(progress: float) -> float:
    """Return 1 at progress 0, and 0 at progress 1 and beyond."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def current_lr(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of the first parameter group."""
    return float(optimizer.param_groups[0]["lr"])
