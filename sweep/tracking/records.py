"""What MLflow is told of a sweep and of its trials before they run; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweep.spec.trial import Trial

DIGITS = 6
"""Hexadecimal ones, which tell the models of a store apart."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial, and what is known of it before it runs."""

    trial: Trial
    label: str
    """Of its module, as tables of the sweep print it."""
    costs: dict[str, int]
    adjusted: str = ""

    @property
    def title(self) -> str:
        """Backbone and module, for people ("resnet18 ELA-B"); what it says depends on the sweep."""
        return f"{self.trial.backbone.name} {self.label}"

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.title} seed {self.trial.seed}"

    @property
    def model(self) -> str:
        """What trials share that differ in their seed alone, in whatever sweep they are.

        Backbone, module, hyperparameters that are not its defaults, the first site and the number
        of others, and a digest, in which all else differs: the other sites, recipe, data.
        """
        trial = self.trial
        values = (f"{name}={trial.hyperparameters[name]}" for name in trial.nondefault)
        more = f" +{len(trial.sites) - 1}" if len(trial.sites) > 1 else ""
        place = [f"at {trial.sites[0]}{more}"] if trial.sites else []
        digest = trial.model_copy(update={"seed": 0}).trial_id[:DIGITS]
        return " ".join([trial.backbone.name, trial.attention, *values, *place, f"#{digest}"])


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its parent run shows it."""

    study: str
    question: str
    metric: str
    tags: dict[str, str]
    artifacts: dict[str, str]
    """File name to text."""
    trials: tuple[TrialRecord, ...]
    measures: Mapping[str, str] = field(default_factory=dict)
    """What the task measures: metric to its meaning, unit and all."""
    ascending: bool = False
    """Whether less of the metric is better."""
