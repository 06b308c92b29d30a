"""What the checkpoints of a trial take on the disk, before it runs.

Counted on a model without memory, as ``sweep.training.checkpoint`` writes it: the weights, and in
the state to go on from what the optimizer keeps of every parameter. The scheduler and the history
of an epoch are some hundred bytes, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweep.models.build import model_of
from sweep.spec.recipes import Recipe
from sweep.spec.trial import Trial
from sweep.training.checkpoint import KEPT, Keep

PER_TENSOR = 300
"""Bytes that torch.save needs for a tensor beside its values: header, padding, name, shape."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of the files of one trial."""

    last: int
    """Of a state to go on from."""
    best: int
    """Of the weights alone."""

    @property
    def running(self) -> int:
        """The most that a running trial has at once.

        Every kept epoch has its state, and weights of its own while each epoch is the best so far;
        those of one more are written before the oldest are removed.
        """
        return (KEPT + 1) * (self.last + self.best)

    def kept(self, keep: Keep) -> int:
        """What is left of a finished trial."""
        return {"none": 0, "best": self.best, "last": self.last + self.best}[keep]


def checkpoint_bytes(trial: Trial) -> Footprint:
    """Return the sizes of a trial's checkpoint files, to a few per cent."""
    with torch.device("meta"):
        model = model_of(trial)
    # keep_vars: a tensor that has two names is saved once.
    weights = {id(t): t for t in model.state_dict(keep_vars=True).values()}
    best = sum(map(_saved, weights.values()))
    return Footprint(last=best + _optimizer_bytes(model, trial.recipe), best=best)


def disk_estimate(trials: Iterable[Trial], concurrent: int, keep: Keep) -> int:
    """Return the most bytes that the checkpoints of a sweep take at once.

    Args:
        trials: that are to run.
        concurrent: trials that run at once; the largest are assumed to run when all others are
            finished.
        keep: what is kept of a finished trial.
    """
    known: dict[str, Footprint] = {}
    footprints = []
    for trial in trials:
        configuration = trial.model_copy(update={"seed": 0}).trial_id
        if configuration not in known:
            known[configuration] = checkpoint_bytes(trial)
        footprints.append(known[configuration])
    finished = sum(footprint.kept(keep) for footprint in footprints)
    more = sorted((f.running - f.kept(keep) for f in footprints), reverse=True)
    return finished + sum(more[:concurrent])


def _optimizer_bytes(model: nn.Module, recipe: Recipe) -> int:
    """Return the bytes of what an optimizer keeps of every trained parameter.

    SGD keeps a buffer of the same size where it has a momentum; AdamW two, and the step.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if recipe.optimizer == "adamw":
        step = torch.empty((), device="meta")
        return sum(2 * _saved(parameter) + _saved(step) for parameter in trained)
    return sum(map(_saved, trained)) if recipe.momentum else 0


def _saved(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size() + PER_TENSOR
