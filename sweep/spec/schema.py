"""The form of a search space: one model per section, each flat, strict and frozen.

``load`` reads a file into a ``Space``; ``json_schema`` describes the same form to an editor. What a
data set, a backbone or an attention module may say is defined beside each of them; this file only
puts the sections together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
from sweep.spec.document import Document
from sweep.spec.plain_yaml import Place
from sweep.spec.recipes import PRESETS, Count, Recipe, Seed

NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?"
"""Of a sweep, and of what else becomes the name of a file: a shared file system may drop a last
full stop, and two sweeps would be one folder."""
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


class Section(BaseModel):
    """Base of a section of a search space."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Resources(Section):
    """What one trial takes of the machine; does not determine a result."""

    cpus: Annotated[PositiveInt, Field(le=1000)] = 1
    """CPU cores per trial; also the number of threads of its CPU kernels."""
    gpus: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    """GPUs per trial, a fraction to share one; "auto" is one where there are any, else none."""
    workers: Annotated[NonNegativeInt, Field(le=1000)] = 0
    """Processes per trial that read and decode a streamed data set."""
    max_concurrent: Count | None = None
    """Upper limit of trials at once; by default as many as the machine has room for."""


class Stopping(Section):
    """When a trial ends before its last epoch."""

    patience: Count | None = None
    """Epochs without a better validation metric; none by default."""


class Tracking(Section):
    """Where MLflow keeps the runs."""

    uri: str | None = None
    """A server or database; by default $MLFLOW_TRACKING_URI, else sqlite in the working folder."""


class Constraints(Section):
    """What a trial must keep to run at all; one that does not is pruned from the plan."""

    max_params_m: PositiveFloat | None = None
    """Most parameters of a model, in millions; all are counted."""
    max_macs_g: PositiveFloat | None = None
    """Most multiply-accumulates of one image, in billions."""
    where: list[str] = []
    """Expressions over hyperparameters, fields of the recipe, backbone, attention, placement, stem,
    image_size, params_m and macs_g, such as "kernel_size * num_groups <= 128"; all must hold."""


class Paired(Section):
    """How a module is told from the baseline over seeds; for kind "paired"."""

    alpha: Annotated[float, Field(ge=0.001, le=0.5)] = 0.05
    """How often a difference may be claimed where there is none, for each comparison. It holds for
    the seeds that the space has now: more of them, added once the answer is known, raise it."""
    margin: PositiveFloat | None = None
    """Smallest difference that matters, in the metric's own unit: 0.01 is one point of top1."""
    min_seeds: Annotated[int, Field(ge=2, le=100_000)] = 3
    """Pairs before anything is claimed."""


COSTS = ("params", "macs", "latency")
"""What a search can keep small: millions, G of one image, milliseconds of one batch."""


class SearchSettings(Section):
    """How configurations are chosen: every one of the grid, or some of them by a sampler."""

    method: Literal["grid", "random", "tpe", "nsga2"] = "grid"
    """"grid" (every combination), "random", "tpe" or "nsga2"."""
    trials: Count = 40
    """Configurations that are trained, each with every seed."""
    seed: Seed = 0
    """Of the sampler."""
    objectives: Annotated[list[str], Field(min_length=1, max_length=2)] | None = None
    """The space's metric, and at most one of "params", "macs" and "latency" to keep small. Latency
    is measured when a trial ends, beside what runs then: `max_concurrent: 1` makes it quiet. That
    of different devices does not compare: where trials end on several, the search counts those of
    one alone, of the first configuration that ended, and the run and the report say so."""

    @model_validator(mode="after")
    def _grid_is_complete(self) -> Self:
        if self.method == "grid" and (given := self.model_fields_set - {"method"}):
            raise ValueError(f"{min(given)} belongs to a search, not to 'grid'")
        return self


class SchedulerSettings(Section):
    """Which trials end before their last epoch because others are better."""

    method: Literal["none", "asha", "median", "pbt"] = "none"
    """"none", "asha" (successive halving), "median" (of the trials that are done) or "pbt"
    (population based training: the worst go on with the weights and the recipe of the best)."""
    min_epochs: Count = 3
    """No trial is stopped before."""
    reduction_factor: Annotated[int, Field(ge=2, le=100_000)] = 3
    """Of "asha": one in so many trials goes on, and for so many times as many epochs."""
    min_trials: Count = 5
    """Of "median": trials that are done before any is stopped."""
    interval: Count = 5
    """Of "pbt": epochs of a generation."""

    @model_validator(mode="after")
    def _of_its_method(self) -> Self:
        of = {"reduction_factor": ("asha",), "min_trials": ("median",), "interval": ("pbt",)}
        for field in sorted(self.model_fields_set - {"method"}):
            if self.method not in (methods := of.get(field, ("asha", "median"))):
                raise ValueError(f"{field} belongs to {' and '.join(methods)}, not {self.method!r}")
        return self


class Range(Section):
    """The numbers from ``low`` to ``high``, both included, as a search may choose them."""

    low: int | float
    """Smallest value."""
    high: int | float
    """Largest value."""
    step: Annotated[int, Field(gt=0)] | PositiveFloat | None = None
    """Distance between two values; by default 1 of whole numbers, else any number is one."""
    log: bool = False
    """Whether small values are as likely as large ones: on a logarithmic scale."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high (={self.high:g}) must be above low (={self.low:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low (={self.low:g}) must be above 0 on a logarithmic scale")
        if self.log and self.step is not None:
            raise ValueError("step does not go with a logarithmic scale")
        if self.step is not None:
            steps = (self.high - self.low) / self.step
            if math.isinf(steps) or abs(steps - round(steps)) > 1e-9 * steps:
                raise ValueError(f"step (={self.step:g}) does not lead from low to high")
        return self

    @property
    def between(self) -> range:
        """The whole numbers between the ends; none where others are allowed too."""
        low, high, step = self.low, self.high, self.step or 1
        if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
            return range(low + step, high, step)
        return range(0)


def is_range(value: Any) -> bool:
    """Tell whether a value is meant as a range; a placement of one's own is a mapping too."""
    return isinstance(value, dict) and not value.keys().isdisjoint(("low", "high"))


class General(Section):
    """The fields of a space that are no sections."""

    study: Name
    """Name of the sweep: letters, digits, '_', '-' and '.', at most 64; no '.' at either end."""
    question: Annotated[str, Field(min_length=1, max_length=2000)]
    """What the sweep is to find out, in a sentence."""
    kind: Literal["grid", "one_at_a_time", "leave_one_out", "paired"] = "grid"
    """Which points of its lists a space has: all; of every entry the first values, and each other
    value alone beside them; every module whole and without each of its parts; all, against the
    baseline."""
    task: str = "classification"
    """A registered task."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    """One trial of every configuration for each; initial weights, data order, augmentation."""
    metric: str | None = None
    """The task's metric that is compared ("top1"); by default its first."""
    on_indivisible: Literal["refuse", "nearest"] = "refuse"
    """What happens to a group count that does not divide the channels of a site: the trial is
    refused, or the largest divisor not above it is used and recorded with the trial."""
    keep_checkpoints: Literal["none", "best", "last"] = "none"
    """Of a finished trial: the best weights, or also the last state, from which more epochs go on
    where the schedule allows it. An unfinished one always has its last and its best."""


class BackboneEntry(Section):
    """One backbone, with its own grid; a list means each of its values."""

    name: str
    """A registered backbone."""
    stem: Literal["auto", "imagenet", "cifar"] = "auto"
    """"auto" is "cifar" for images of up to 64 pixels, else "imagenet"."""
    weights: str | None = None
    """Name of torchvision's weights to start from ("IMAGENET1K_V1"); none by default."""


class OwnSites(Section):
    """A placement of one's own: names of the backbone's modules."""

    name: Name
    """As tables print it."""
    sites: Annotated[list[str], Field(min_length=1)]
    """Dotted names of modules, such as "layer4.1.bn2"; attention follows each."""


@dataclass(frozen=True)
class PlacementChoice:
    """A placement of one backbone: its name, and the sites where they are one's own."""

    name: str
    sites: tuple[str, ...] | None = None
    place: Place = ()


@dataclass(frozen=True)
class BackbonePoint:
    """One point of a backbone's grid; placement None means the backbone's default policy."""

    name: str
    stem: Literal["auto", "imagenet", "cifar"]
    weights: str | None
    placement: PlacementChoice | None
    recipe: Recipe | None
    """The space's, with the changes of this backbone; None where it has problems."""
    place: Place = ()


@dataclass(frozen=True)
class AttentionPoint:
    """One point of an attention module's grid, validated by the module's Config."""

    name: str
    preset: str | None
    hyperparameters: dict[str, Any]
    nondefault: tuple[str, ...]
    backbones: tuple[str, ...] | None = None
    """The only ones it goes on; None means all of the space."""
    part: str | None = None
    """What it is without, where the space takes it apart."""


@dataclass(frozen=True)
class Space:
    """A checked search space: its sections, and the points of its conditional grids."""

    general: General
    dataset: str
    dataset_settings: dict[str, Any]
    backbones: tuple[BackbonePoint, ...]
    attention: tuple[AttentionPoint, ...]
    recipe: Recipe
    resources: Resources
    stopping: Stopping
    tracking: Tracking
    constraints: Constraints
    paired: Paired | None
    """None for every other kind."""
    search: SearchSettings
    """With another method than "grid", every section says what can be chosen from: ranges are
    there with their ends, and the recipe's with their low end."""
    scheduler: SchedulerSettings
    document: Document
    """The file with overrides applied; knows where everything stood."""

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return self.general.metric or TASKS[self.general.task].metrics[0].name

    @property
    def objectives(self) -> tuple[str, ...]:
        """What a search makes better: the metric, and what it keeps small beside it."""
        return tuple(self.search.objectives or [self.metric])


SECTIONS: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "resources": Resources,
    "stopping": Stopping,
    "tracking": Tracking,
    "constraints": Constraints,
    "paired": Paired,
    "search": SearchSettings,
    "scheduler": SchedulerSettings,
}
METHODS = ("search", "scheduler")
"""The sections that may be the name of a method alone."""
LISTED = {
    "dataset": "{name: digits}",
    "backbones": "[resnet18]",
    "attention": "[none, {name: ela, preset: [T, B]}]",
}
"""The fields of a space whose parts are registered, with an example of each."""

FIELDS = (*General.model_fields, *LISTED, *SECTIONS)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a search space, with everything registered."""
    general = General.model_json_schema()
    general["properties"]["task"]["enum"] = TASKS.names()
    properties = {
        **general["properties"],
        "dataset": {
            "description": "One data set and its settings.",
            "oneOf": [_dataset_schema(name) for name in DATASETS.names()],
        },
        "backbones": {
            "description": "Names, or mappings with a grid of stems, weights and placements.",
            "type": "array",
            "minItems": 1,
            "items": _backbone_schema(),
        },
        "attention": {
            "description": "Names, or mappings with a grid of a module's own hyperparameters.",
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"enum": ATTENTION.names()},
                    *(_attention_schema(name) for name in ATTENTION.names()),
                ]
            },
        },
        **{name: model.model_json_schema() for name, model in SECTIONS.items()},
    }
    properties["recipe"] = _recipe_schema()
    properties.update({name: _method_schema(properties[name]) for name in METHODS})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search space of sweep",
        "type": "object",
        "additionalProperties": False,
        "required": ["study", "question", *LISTED],
        "properties": properties,
    }


def _method_schema(section: dict[str, Any]) -> dict[str, Any]:
    short = {"enum": section["properties"]["method"]["enum"]}
    return {"anyOf": [short, section], "description": section["description"]}


def _or_range(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field of which a search may have a range, if it holds a number."""
    if not _is_number(value):
        return value
    description = {key: value[key] for key in ("description",) if key in value}
    return {"anyOf": [value, Range.model_json_schema()], **description}


def _is_number(value: dict[str, Any]) -> bool:
    parts = value.get("anyOf", ())
    return value.get("type") in ("integer", "number") or any(map(_is_number, parts))


def _recipe_schema() -> dict[str, Any]:
    schema = Recipe.model_json_schema()
    schema["properties"] = {name: _or_range(field) for name, field in schema["properties"].items()}
    schema["properties"]["preset"] = {
        "enum": list(PRESETS),
        "description": "A recipe of a paper; the other fields change it.",
    }
    return schema


def _dataset_schema(name: str) -> dict[str, Any]:
    schema = DATASETS[name].Config.model_json_schema()
    schema["properties"] = {"name": {"const": name}, **schema["properties"]}
    schema["required"] = ["name", *schema.get("required", [])]
    return schema


def _backbone_schema() -> dict[str, Any]:
    entry = BackboneEntry.model_json_schema()
    names = {"enum": BACKBONES.names()}
    placement = {
        "description": "A policy's name, or own sites; by default the papers' on this backbone.",
        "anyOf": [{"type": "string"}, OwnSites.model_json_schema()],
    }
    entry["properties"] = {
        **{key: _one_or_many(value) for key, value in entry["properties"].items()},
        "name": {**names, "description": "A registered backbone."},
        "placement": _one_or_many(placement),
        "recipe": {
            **_recipe_schema(),
            "description": "Changes of the space's recipe for this backbone.",
        },
    }
    return {"anyOf": [names, entry]}


def _attention_schema(name: str) -> dict[str, Any]:
    config = ATTENTION[name].Config
    schema = config.model_json_schema()
    properties = {
        key: _or_range(_one_or_many(value)) for key, value in schema["properties"].items()
    }
    if config.presets:
        properties["preset"] = _one_or_many(
            {
                "description": "A setting of a paper; the other fields change it.",
                "enum": list(config.presets),
            }
        )
    if config.parts:
        properties["parts"] = {
            "description": "What kind leave_one_out takes from it; by default each of its parts.",
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"enum": list(config.parts)},
        }
    return {
        "type": "object",
        "title": name,
        "description": (config.__doc__ or "").strip(),
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"const": name},
            "backbones": _one_or_many(
                {"description": "The only ones it goes on.", "enum": BACKBONES.names()}
            ),
            **properties,
        },
    }


def _one_or_many(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that may be a list: each of its values is a point."""
    description = {key: value[key] for key in ("description",) if key in value}
    return {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}], **description}
