"""What MLflow is told of a sweep and of its trials before they run; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweep.spec.trial import Trial


@dataclass(frozen=True)
class TrialRecord:
    """A trial, and what is known of it before it runs."""

    trial: Trial
    label: str
    """Of its module, as tables of the sweep print it."""
    costs: dict[str, int]
    adjusted: str = ""

    @property
    def model(self) -> str:
        """Backbone and module: what trials share that differ in their seed ("resnet18 ELA-B")."""
        return f"{self.trial.backbone.name} {self.label}"

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.model} seed {self.trial.seed}"


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
