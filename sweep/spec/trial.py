"""A trial: frozen, plain data that says all there is to know to train one model once."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sweep.spec.recipes import Recipe

IDENTITY_VERSION = 1
"""Raised when the meaning of a trial's data changes, so that old results are not taken for new."""


class BackboneChoice(BaseModel):
    """A backbone and its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stem: Literal["imagenet", "cifar"]
    weights: str | None = None
    """Name of torchvision's weights that training starts from ("IMAGENET1K_V1")."""


class Segment(BaseModel):
    """One generation of a member of a population, which is a trial of its own.

    The parent's identity covers its own parent's, and so all that training came through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: int
    """Epochs after which it ends, those of its ancestors included."""
    parent: str | None
    """The trial whose last state it goes on from; None in the first generation."""


class Trial(BaseModel):
    """One model, one data set, one recipe, one seed.

    ``identity`` is what determines the result; the other fields say where things lie and what they
    are called. It is never cached: a copy with another seed must not keep the old one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    dataset: str
    dataset_settings: dict[str, Any]
    """Of the data set's Config, root included."""
    dataset_content: dict[str, Any]
    """What identifies the images: the settings without the place, a digest for own folders."""
    num_classes: int
    backbone: BackboneChoice
    placement: str
    """Name of the policy; the sites are what counts."""
    sites: tuple[str, ...]
    attention: str
    preset: str | None
    """The preset's name, where the space named one; the hyperparameters are what counts."""
    part: str | None = None
    """What the module is without, where the space took it apart; as the preset, only a name."""
    hyperparameters: dict[str, Any]
    """All of them, as the module's Config has them."""
    nondefault: tuple[str, ...]
    """Names of those that differ from the Config's default. Only they enter the identity, so that
    a hyperparameter that a module gains later does not make old results unknown."""
    plugins: tuple[str, ...]
    """Distribution and version of every plug-in that a part of the trial comes from."""
    on_indivisible: Literal["refuse", "nearest"]
    """"nearest" only where a value of this trial was in fact adjusted."""
    recipe: Recipe
    patience: int | None
    metric: str
    """Chooses the epoch, on the validation split."""
    seed: int
    segment: Segment | None = None
    """None but in a population."""

    @property
    def until(self) -> int:
        """Epochs after which it ends."""
        return self.recipe.epochs if self.segment is None else self.segment.until

    @property
    def partial(self) -> bool:
        """Whether it ends before the last epoch of its recipe, for another one to go on from."""
        return self.until < self.recipe.epochs

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the result, and nothing else."""
        plain = self.model_dump(
            mode="json",
            include={
                "task",
                "dataset",
                "dataset_content",
                "num_classes",
                "backbone",
                "sites",
                "attention",
                "plugins",
                "on_indivisible",
                "patience",
                "metric",
                "seed",
            },
        )
        return {
            "version": IDENTITY_VERSION,
            **plain,
            "hyperparameters": {name: self.hyperparameters[name] for name in self.nondefault},
            "recipe": self.recipe.model_dump(mode="json", exclude_defaults=True),
            **({"segment": self.segment.model_dump()} if self.segment else {}),
        }

    @property
    def trial_id(self) -> str:
        """The first 12 hexadecimal digits of SHA-256 over the canonical JSON of ``identity``."""
        return _digest(self.identity)

    @property
    def lineage(self) -> str:
        """The same digest without the number of epochs.

        Trials that have it in common differ in nothing else.
        """
        identity = self.identity
        recipe = {key: value for key, value in identity["recipe"].items() if key != "epochs"}
        return _digest({**identity, "recipe": recipe})


def _digest(identity: dict[str, Any]) -> str:
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
