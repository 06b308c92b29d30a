"""From a checked space to its trials, with what each costs, before anything runs.

Models are built on the meta device: no data, no GPU, no weights. ``sweep.study`` keeps plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sweep.errors import UserError
from sweep.ledger import Ledger
from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
from sweep.spec.constraints import UndecidedError, broken
from sweep.spec.labels import Module, module_key, module_labels
from sweep.spec.plain_yaml import Problem
from sweep.spec.recipes import Recipe
from sweep.spec.schema import AttentionPoint, BackbonePoint, Space
from sweep.spec.trial import BackboneChoice, Trial

Status = Literal["planned", "adjusted", "refused", "pruned"]
RUNNABLE: tuple[Status, ...] = ("planned", "adjusted")

CIFAR_STEM_UP_TO = 64
"""Side in pixels of the largest image that ``stem: auto`` gives the CIFAR stem."""

TRAINING_FLOPS_PER_MAC = 6
"""Two operations per MAC, forward once and backward twice."""

SUSTAINED_FLOPS = {"one A100-class GPU in bf16": 50e12, "one CPU core": 20e9}
"""Assumed floating-point operations per second in training, for the estimate of a plan."""


class Cost(BaseModel):
    """Parameters by the three conventions, and MACs of one image; see sweep.profiling.cost."""

    model_config = ConfigDict(frozen=True)

    params_true: int
    params_thop_like: int
    params_no_norm: int
    macs: int


class PlannedTrial(BaseModel):
    """A trial, what it costs, and whether it can exist."""

    model_config = ConfigDict(frozen=True)

    trial: Trial
    label: str
    """Of the module, as tables print it."""
    status: Status
    reason: str
    """What was adjusted, or why the trial is refused or pruned."""
    cost: Cost | None
    """None if refused."""

    @property
    def name(self) -> str:
        """What people call the trial: backbone, module, seed."""
        return f"{self.trial.backbone.name} {self.label} seed {self.trial.seed}"


class Plan(BaseModel):
    """All trials of a space, in its order, each once."""

    model_config = ConfigDict(frozen=True)

    study: str
    question: str
    metric: str
    trials: tuple[PlannedTrial, ...]
    duplicates: int
    """Points of the grid that are the same trial as an earlier one."""
    train_images: int | None
    """Per epoch; None if it cannot be told without the files."""

    @property
    def runnable(self) -> tuple[PlannedTrial, ...]:
        """The trials that are neither refused nor pruned."""
        return tuple(p for p in self.trials if p.status in RUNNABLE)

    @property
    def refused(self) -> tuple[PlannedTrial, ...]:
        """The trials that cannot exist."""
        return tuple(p for p in self.trials if p.status == "refused")

    @property
    def pruned(self) -> tuple[PlannedTrial, ...]:
        """The trials that break a constraint of the space."""
        return tuple(p for p in self.trials if p.status == "pruned")

    def training_flops(self) -> float | None:
        """Return the floating-point operations of training every trial to its last epoch."""
        if self.train_images is None:
            return None
        per_image = sum(p.cost.macs * p.trial.recipe.epochs for p in self.runnable if p.cost)
        return float(per_image) * TRAINING_FLOPS_PER_MAC * self.train_images


def make_plan(space: Space) -> Plan:
    """Expand a space into trials and cost each.

    Raises:
        SpecError: a placement or weights that a backbone does not have, a recipe that the task
            does not know, or a constraint that has no answer.
        MissingDatasetError: the data set must be read to know its classes, and is not here.
        ValueError: settings that the data set cannot satisfy.
    """
    from sweep.data.base import DatasetError

    dataset = DATASETS[space.dataset].of(space.dataset_settings)
    try:
        train_images = dataset.train_images
    except DatasetError as error:
        message = str(error).removeprefix("dataset.")
        raise space.document.error([Problem(("dataset",), message)]) from None
    _check_task(space, dataset.num_classes)
    common: dict[str, Any] = {
        "task": space.general.task,
        "dataset": space.dataset,
        "dataset_settings": space.dataset_settings,
        "dataset_content": dataset.content(),
        "num_classes": dataset.num_classes,
        "patience": space.stopping.patience,
        "metric": space.metric,
    }
    labels = module_labels(map(_module, space.attention))
    planned: dict[str, PlannedTrial] = {}
    points = 0
    for backbone in _placed(space, dataset.config.image_size):
        for attention in space.attention:
            if attention.backbones is not None and backbone.choice.name not in attention.backbones:
                continue
            model = _fitted(backbone, attention, space)
            label = labels[module_key(*_module(attention))]
            trials = [Trial(**common, **model.fields, seed=s) for s in space.general.seeds]
            cost = None if model.status == "refused" else _cost(trials[0])
            status, reason = _judged(space, model, trials[0], cost)
            for trial in trials:
                points += 1
                planned.setdefault(
                    trial.trial_id,
                    PlannedTrial(
                        trial=trial,
                        label=label,
                        status=status,
                        reason=reason,
                        cost=cost,
                    ),
                )
    return Plan(
        study=space.general.study,
        question=space.general.question,
        metric=space.metric,
        trials=tuple(planned.values()),
        duplicates=points - len(planned),
        train_images=train_images,
    )


def _module(point: AttentionPoint) -> Module:
    return point.name, point.preset, point.part, point.hyperparameters


def _judged(space: Space, model: _Model, trial: Trial, cost: Cost | None) -> tuple[Status, str]:
    """Return the status of a model's trials with its reason, by the constraints of the space.

    Raises:
        SpecError: a constraint has no answer for the model.
    """
    if cost is not None:
        try:
            why = broken(space.constraints, trial, params=cost.params_true, macs=cost.macs)
        except UndecidedError as error:
            raise space.document.error([Problem(error.place, str(error))]) from None
        if why:
            return "pruned", why
    return model.status, model.reason


def _check_task(space: Space, num_classes: int) -> None:
    """Check that the task can be trained by the recipes of a space.

    Raises:
        SpecError: it cannot.
    """
    for point in space.backbones:
        assert point.recipe is not None
        smoothing = point.recipe.label_smoothing
        try:
            TASKS[space.general.task](num_classes, label_smoothing=smoothing)
        except UserError as error:
            own = () if smoothing == space.recipe.label_smoothing else point.place
            message = str(error).removeprefix("recipe.label_smoothing (=").replace(")", "", 1)
            problem = Problem((*own, "recipe", "label_smoothing"), message)
            raise space.document.error([problem]) from None


def _cost(trial: Trial) -> Cost:
    """Return what the model of a trial costs, without memory or arithmetic."""
    import torch

    from sweep.models.build import model_of
    from sweep.profiling.cost import count_macs, count_parameters

    with torch.device("meta"):
        model = model_of(trial)
    parameters = count_parameters(model)
    return Cost(
        params_true=parameters.true,
        params_thop_like=parameters.thop_like,
        params_no_norm=parameters.no_norm,
        macs=count_macs(model, int(trial.dataset_settings["image_size"])),
    )


@dataclass(frozen=True)
class _Placed:
    """A backbone of a space with its stem chosen and its placement resolved to sites."""

    choice: BackboneChoice
    placement: str
    sites: tuple[str, ...]
    recipe: Recipe | None


@dataclass(frozen=True)
class _Model:
    """The fields of a trial that say what the model is, and whether it can exist."""

    fields: dict[str, Any]
    status: Status
    reason: str


def _placed(space: Space, image_size: int) -> list[_Placed]:
    """Return the backbones of a space in its order; all that is wrong with them at once."""
    from sweep.models.build import check_weights

    placed: list[_Placed] = []
    problems: list[Problem] = []
    named: dict[tuple[str, str], tuple[str, ...]] = {}
    for point in space.backbones:
        stride = BACKBONES[point.name].stride
        if image_size % stride:
            text = f"{image_size} is not a multiple of {stride}, as {point.name} needs"
            problems.append(Problem(("dataset", "image_size"), text))
            continue
        try:
            if point.weights is not None:
                check_weights(point.name, point.weights)
                if _stem(point, image_size) == "cifar":
                    raise ValueError(f"weights {point.weights!r} need `stem: imagenet`")
        except ValueError as error:
            problems.append(Problem((*point.place, "weights"), str(error)))
        try:
            one = _place(point, image_size)
            if named.setdefault((point.name, one.placement), one.sites) != one.sites:
                raise ValueError(f"placement {one.placement!r} is the name of other sites already")
            placed.append(one)
        except ValueError as error:
            at = point.placement.place if point.placement else point.place
            problems.append(Problem(at, str(error)))
    if problems:
        raise space.document.error(problems)
    return placed


def _place(point: BackbonePoint, image_size: int) -> _Placed:
    from sweep.models.build import PROBE_SIZE, resolve_placement
    from sweep.models.placement import policies, site_shapes

    own = point.placement.sites if point.placement else None
    name = point.placement.name if point.placement else BACKBONES[point.name].default_placement
    stem = _stem(point, image_size)
    if own is not None and name in policies(point.name):
        raise ValueError(f"{name!r} is the name of a policy; give your own sites another one")
    sites = resolve_placement(point.name, own or name)
    site_shapes(point.name, stem, sites, PROBE_SIZE)  # refuses what is no feature map
    choice = BackboneChoice(name=point.name, stem=stem, weights=point.weights)
    return _Placed(choice, name, sites, point.recipe)


def _stem(point: BackbonePoint, image_size: int) -> Literal["imagenet", "cifar"]:
    if point.stem != "auto":
        return point.stem
    small = image_size <= CIFAR_STEM_UP_TO and "cifar" in BACKBONES[point.name].stems
    return "cifar" if small else "imagenet"


def _fitted(placed: _Placed, attention: AttentionPoint, space: Space) -> _Model:
    """Return one model of the grid; a baseline has no sites, so that placements share it."""
    from sweep.attention.base import Fit, IndivisibleError
    from sweep.models.build import attention_config, fitted_configs

    sites = placed.sites if attention.name != "none" else ()
    fit = Fit(space.general.on_indivisible)
    status: Status = "planned"
    reason = ""
    config = attention_config(attention.name, **attention.hyperparameters)
    try:
        fitted_configs(placed.choice.name, placed.choice.stem, sites, config, fit)
    except IndivisibleError as error:
        status, reason = "refused", str(error)
    if fit.adjustments:
        status, reason = "adjusted", "; ".join(dict.fromkeys(map(str, fit.adjustments)))
    fields = {
        "backbone": placed.choice,
        "recipe": placed.recipe,
        "placement": placed.placement if sites else "none",
        "sites": sites,
        "attention": attention.name,
        "preset": attention.preset,
        "part": attention.part,
        "hyperparameters": attention.hyperparameters,
        "nondefault": attention.nondefault,
        "on_indivisible": "nearest" if status == "adjusted" else "refuse",
        "plugins": _plugins(space, placed.choice.name, attention.name),
    }
    return _Model(fields, status, reason)


def _plugins(space: Space, backbone: str, attention: str) -> tuple[str, ...]:
    origins = {
        ATTENTION.origin(attention),
        BACKBONES.origin(backbone),
        DATASETS.origin(space.dataset),
        TASKS.origin(space.general.task),
    }
    return tuple(sorted(origins - {"sweep"}))


def plan_rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Return a plan as plain data: one flat mapping per trial; costs are None if refused."""
    rows = []
    for planned in plan.trials:
        trial = planned.trial
        done = planned.status in RUNNABLE and ledger.is_done(trial.trial_id)
        cost = planned.cost.model_dump() if planned.cost else dict.fromkeys(Cost.model_fields)
        rows.append(
            {
                "trial_id": trial.trial_id,
                "backbone": trial.backbone.name,
                "stem": trial.backbone.stem,
                "placement": trial.placement,
                "sites": list(trial.sites),
                "attention": trial.attention,
                "preset": trial.preset,
                "part": trial.part,
                "hyperparameters": trial.hyperparameters,
                "dataset": trial.dataset,
                "image_size": trial.dataset_settings["image_size"],
                "seed": trial.seed,
                **cost,
                "status": "done" if done else planned.status,
                "reason": planned.reason,
            }
        )
    return rows
