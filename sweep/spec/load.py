"""From a YAML file to a checked ``Space``, or to all that is wrong with it at once."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS, Registry
from sweep.spec.confined import check_confined, is_confined
from sweep.spec.constraints import check_expression
from sweep.spec.document import MOST_LINES, Document, read_document
from sweep.spec.plain_yaml import Place, Problem
from sweep.spec.recipes import PRESETS, Recipe
from sweep.spec.schema import (
    COSTS,
    FIELDS,
    LISTED,
    AttentionPoint,
    BackboneEntry,
    BackbonePoint,
    Constraints,
    General,
    OwnSites,
    Paired,
    PlacementChoice,
    Range,
    Resources,
    SchedulerSettings,
    SearchSettings,
    Space,
    Stopping,
    Tracking,
    is_range,
)
from sweep.spec.wording import not_known, shown, unknown_field, wrong_value

if TYPE_CHECKING:
    from sweep.attention.base import AttentionConfig

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")

EMPTY = "is an empty list; give at least one value, or leave the field out"
MEMBERS = 4
"""The smallest population: a quarter of it is one."""
CHANGEABLE = ("lr", "momentum", "weight_decay", "label_smoothing")
"""Fields of a recipe that can change in the middle of training."""
RANGE_OF_GRID = "a range needs `search: random`, `tpe` or `nsga2`; a grid takes a list of values"
MOST_TRIALS = 20_000
"""Of one search space: twice the largest sweep that this is planned for; more take minutes."""
FEWER = f"a search space has at most {MOST_TRIALS:,} trials. Leave out values, or search ranges"
CHECKED_POINTS = 1000
"""Whole numbers between the ends of a range that are all checked."""


def load_space(path: Path, overrides: tuple[str, ...] = ()) -> Space:
    """Read and check a search space.

    Args:
        path: a YAML file.
        overrides: "field.field=value", typed and checked like the file.

    Raises:
        SpecError: every problem in one error; each line names file, line, column, field, value,
            what is allowed and the nearest name.
    """
    document = read_document(path, overrides)
    if is_confined():
        check_confined(document)
    return check_space(document)


def check_space(document: Document) -> Space:
    """Check what a document says.

    Raises:
        SpecError: as ``load_space``.
    """
    return _Check(document).space()


class _Check:
    """Checks one document section by section and collects the problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.task = document.data.get("task", General.model_fields["task"].default)
        self.kind = document.data.get("kind", General.model_fields["kind"].default)
        self.searches = True
        """Whether ranges are allowed."""
        self.recipes: dict[Place, list[Recipe]] = {}
        """By their place, one for each end of a range."""
        self.said = {problem.place for problem in document.problems}
        """Where something is wrong that the document tells already."""
        self.points = 0
        """Of all entries so far."""

    def space(self) -> Space:
        data: dict[str, Any] = self.document.data
        self._unknown_fields(data, FIELDS, ())
        for name, example in LISTED.items():
            if name not in data:
                self._add((name,), f"is required, such as {example}")
        general = self._model(
            General, {key: data[key] for key in data if key in General.model_fields}, ()
        )
        dataset, dataset_settings = self._dataset(data)
        search = self._method(SearchSettings, data, "search")
        scheduler = self._method(SchedulerSettings, data, "scheduler")
        self.searches = search is None or search.method != "grid"
        recipe = self._recipe(data.get("recipe", {}), ("recipe",))
        backbones = list(self._entries(data, "backbones", partial(self._backbone, recipe)))
        attention = list(self._entries(data, "attention", self._attention))
        resources = self._model(Resources, data.get("resources", {}), ("resources",))
        stopping = self._model(Stopping, data.get("stopping", {}), ("stopping",))
        tracking = self._model(Tracking, data.get("tracking", {}), ("tracking",))
        constraints = self._constraints(data.get("constraints", {}))
        paired = self._paired(data)
        self._seeds(data.get("seeds"))
        self._task(data.get("metric"), dataset)
        if not self.problems:
            self._trials(backbones, attention, search)
            self._without_module(backbones, attention)
            self._without_baseline(backbones, attention)
            self._of_a_grid(search)
            self._objectives(search, scheduler, data.get("metric"))
            self._sound_to_stop(scheduler, backbones)
            self._sound_population(search, scheduler, stopping)
        if (  # a section is None where it has problems; the type checker is told so too
            self.problems
            or not self.document.sound
            or general is None
            or dataset is None
            or recipe is None
            or resources is None
            or stopping is None
            or tracking is None
            or constraints is None
            or paired is None
            or search is None
            or scheduler is None
        ):
            raise self.document.error(self.problems)
        return Space(
            general=general,
            dataset=dataset,
            dataset_settings=dataset_settings,
            backbones=tuple(backbones),
            attention=tuple(attention),
            recipe=recipe,
            resources=resources,
            stopping=stopping,
            tracking=tracking,
            constraints=constraints,
            paired=paired if self.kind == "paired" else None,
            search=search,
            scheduler=scheduler,
            document=self.document,
        )

    # Sections ------------------------------------------------------------------------------

    def _seeds(self, seeds: Any) -> None:
        if isinstance(seeds, list):
            self._listed_twice(seeds, ("seeds",))

    def _constraints(self, value: Any) -> Constraints | None:
        constraints = self._model(Constraints, value, ("constraints",))
        for index, expression in enumerate(constraints.where if constraints else ()):
            try:
                check_expression(expression)
            except ValueError as error:
                self._add(("constraints", "where", index), str(error))
        return constraints

    def _paired(self, data: Mapping[str, Any]) -> Paired | None:
        paired = self._model(Paired, data.get("paired", {}), ("paired",))
        if "paired" in data and self.kind != "paired":
            self._add(("paired",), f"is for kind 'paired', not {shown(self.kind)}")
        seeds = data.get("seeds", General.model_fields["seeds"].default)
        if paired and self.kind == "paired" and isinstance(seeds, list):
            least = paired.min_seeds
            if len(seeds) < least:
                self._add(("seeds",), f"kind 'paired' needs {least} or more, not {len(seeds)}")
        return paired

    def _task(self, metric: Any, dataset: str | None) -> None:
        task = self.task
        if not isinstance(task, str) or not self._registered(TASKS, task, ("task",)):
            return
        metrics = [known.name for known in TASKS[task].metrics]
        if isinstance(metric, str) and metric not in metrics:
            self._choice(("metric",), metric, metrics)
        if dataset is not None and DATASETS[dataset].task != task:
            self._add(
                ("dataset", "name"),
                f"{dataset!r} is a data set for {DATASETS[dataset].task}, not {task}",
            )

    def _method(self, model: type[Model], data: Mapping[str, Any], name: str) -> Model | None:
        """Return a section that may be the name of its method alone."""
        value = data.get(name, {})
        if not isinstance(value, str):
            return self._model(model, value, (name,))
        return self._model(model, {"method": value}, (name,), places={"method": (name,)})

    def _objectives(
        self, search: SearchSettings | None, scheduler: SchedulerSettings | None, metric: Any
    ) -> None:
        if search is None or search.objectives is None:
            return
        first, *second = search.objectives
        compared = metric or TASKS[self.task].metrics[0].name
        if first != compared:
            self._choice(("search", "objectives", 0), first, [compared])
        for name in second:
            if name not in COSTS:
                self._choice(("search", "objectives", 1), name, list(COSTS))
            elif scheduler is not None and scheduler.method != "none":
                self._add(
                    ("scheduler",),
                    f"{scheduler.method} stops by {compared} alone, "
                    f"and a trial may be good for its {name}; leave one of them out",
                )

    def _of_a_grid(self, search: SearchSettings | None) -> None:
        if search is not None and search.method != "grid" and self.kind != "grid":
            self._add(
                ("search",), f"{search.method!r} chooses by itself; kind {self.kind!r} does too"
            )

    def _sound_to_stop(
        self, scheduler: SchedulerSettings | None, backbones: Sequence[BackbonePoint]
    ) -> None:
        """Check that trials are compared before they end, and not while they warm up."""
        if scheduler is None or scheduler.method == "none":
            return
        if self.kind in ("leave_one_out", "paired"):
            self._add(("scheduler",), f"kind {self.kind!r} needs every trial to its end")
        field = "interval" if scheduler.method == "pbt" else "min_epochs"
        compared = getattr(scheduler, field)
        given = field in scheduler.model_fields_set
        place: Place = ("scheduler", field) if given else ("scheduler",)
        first = f"{field} (={compared})"
        for point in backbones:
            own: Place = (*point.place, "recipe")
            recipes = self.recipes[own if own in self.recipes else ("recipe",)]
            epochs = min(recipe.epochs for recipe in recipes)
            warmup = max(recipe.warmup_epochs for recipe in recipes)
            if compared >= epochs:
                self._add(place, f"{first} must be below epochs (={epochs})")
            elif compared < warmup:
                self._add(place, f"{first} must not be below warmup_epochs (={warmup:g})")

    def _sound_population(
        self,
        search: SearchSettings | None,
        scheduler: SchedulerSettings | None,
        stopping: Stopping | None,
    ) -> None:
        """Check that the members of a population differ in what can change while they train."""
        if search is None or scheduler is None or scheduler.method != "pbt":
            return
        if search.method != "random":
            self._add(
                ("scheduler",),
                f"'pbt' needs `search: random` for its first generation, not {search.method!r}",
            )
            return
        if search.trials < MEMBERS:
            self._add(
                ("search", "trials"), f"'pbt' needs {MEMBERS} members or more, not {search.trials}"
            )
        if stopping is not None and stopping.patience is not None:
            self._add(
                ("stopping", "patience"), "'pbt' compares members of one age; leave patience out"
            )
        self._changeable(self.document.data)

    def _changeable(self, data: Mapping[str, Any]) -> None:
        """Check that a population searches the space's own recipe, where that can change."""
        shared = data.get("recipe", {})
        searched = [field for field, value in shared.items() if is_range(value)]
        fields = f"{', '.join(CHANGEABLE[:-1])} or {CHANGEABLE[-1]} of the space's own recipe"
        sections: list[tuple[Place, Any]] = [(("recipe",), shared)]
        for name in ("backbones", "attention"):
            for index, entry in enumerate(data[name]):
                if isinstance(entry, dict):
                    own = entry.get("recipe", {})
                    sections += [((name, index), entry), ((name, index, "recipe"), own)]
        for place, section in sections:
            for field, value in section.items():
                if len(place) == 3 and field in searched:
                    self._add((*place, field), f"'pbt' searches {field} on every backbone alike")
                elif is_range(value) and (place != ("recipe",) or field not in CHANGEABLE):
                    self._add(
                        (*place, field), f"'pbt' searches what can change in training: {fields}"
                    )
                elif is_range(value) and "step" in value:
                    self._add((*place, field, "step"), "'pbt' multiplies; leave step out")
        if not searched:
            self._add(("scheduler",), f"'pbt' needs a range of {fields}")

    def _dataset(self, data: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        place: Place = ("dataset",)
        if "dataset" not in data or not self._mapping(data["dataset"], place):
            return None, {}
        value: Any = data["dataset"]
        name = value.get("name")
        if not self._registered(DATASETS, name, (*place, "name")):
            return None, {}
        settings = {key: value[key] for key in value if key != "name"}
        config = self._model(DATASETS[name].Config, settings, place)
        return name, config.model_dump() if config else {}

    def _recipe(self, value: Any, place: Place) -> Recipe | None:
        if not self._mapping(value, place):
            return None
        preset = value.get("preset")
        known = preset is None or (isinstance(preset, str) and preset in PRESETS)
        if not known:
            self._choice((*place, "preset"), preset, list(PRESETS))
        changes = {key: value[key] for key in value if key != "preset"}
        chosen = dict(PRESETS[preset]) if known and preset else {}
        if changes.get("schedule", "step") != "step" and "milestones" not in changes:
            chosen.pop("milestones", None)  # they belong to the schedule that was replaced
        recipes = [
            self._model(
                Recipe,
                {**chosen, **point},
                place,
                places=places,
                also=("preset",),
                complete=known,
            )
            for point, places in self._grid(changes, place, lists=False)
        ]
        self.recipes[place] = [recipe for recipe in recipes if recipe is not None]
        return recipes[0] if known and recipes else None

    def _entries(self, data: dict[str, Any], name: str, expand: Any) -> Iterator[Any]:
        entries = data.get(name, [None])
        if not isinstance(entries, list) or not entries:
            self._add((name,), f"{shown(entries)} is not a list with at least one entry")
            return
        for index, entry in enumerate(entries):
            if isinstance(entry, str):
                entry = {"name": entry}
            if name in data and self._mapping(entry, (name, index)):
                yield from expand(entry, (name, index))

    def _backbone(
        self, recipe: Recipe | None, entry: dict[str, Any], place: Place
    ) -> Iterator[BackbonePoint]:
        if not self._registered(BACKBONES, entry.get("name"), (*place, "name")):
            return
        backbone = BACKBONES[entry["name"]]
        if backbone.task != self.task and self.task in TASKS.names():  # else it is told once
            self._add((*place, "name"), f"{entry['name']} is for {backbone.task}, not {self.task}")
        fields = (*BackboneEntry.model_fields, "placement")
        self._unknown_fields(entry, (*fields, "recipe"), place)
        if "recipe" in entry and recipe is not None:  # else the space's own is told first
            recipe = self._own_recipe(entry["recipe"], (*place, "recipe"))
        grid = {key: entry[key] for key in entry if key in fields}
        for point, places in self._grid(grid, place):
            placement = point.pop("placement", None)
            chosen = self._placement(entry["name"], placement, places.get("placement", place))
            checked = self._model(BackboneEntry, point, place, places=places)
            if checked is not None and checked.stem not in ("auto", *backbone.stems):
                self._choice(places["stem"], checked.stem, ["auto", *backbone.stems])
            elif checked is not None:
                yield BackbonePoint(
                    checked.name, checked.stem, checked.weights, chosen, recipe, place=place
                )

    def _own_recipe(self, value: Any, place: Place) -> Recipe | None:
        """Return the space's recipe with the changes of one backbone."""
        if not self._mapping(value, place):
            return None
        shared = dict(self.document.data.get("recipe", {}))
        preset = {**shared, **value}.get("preset")
        chosen = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
        if {**chosen, **shared, **value}.get("schedule") != "step" and "milestones" not in value:
            shared.pop("milestones", None)  # they belong to the schedule that was replaced
        return self._recipe({**shared, **value}, place)

    def _placement(self, backbone: str, value: Any, place: Place) -> PlacementChoice | None:
        if value is None:
            return None
        choice = self._named_placement(value, place)
        if choice is not None:
            try:
                BACKBONES[backbone].check_placement(backbone, choice.sites or choice.name)
            except ValueError as error:
                self._add(place, str(error))
        return choice

    def _named_placement(self, value: Any, place: Place) -> PlacementChoice | None:
        if isinstance(value, str):
            return PlacementChoice(value, place=place)
        if not isinstance(value, dict):
            self._add(
                place, f"{shown(value)} is neither a policy's name nor a mapping of name and sites"
            )
            return None
        own = self._model(OwnSites, value, place)
        return PlacementChoice(own.name, tuple(own.sites), place=place) if own else None

    def _attention(self, entry: dict[str, Any], place: Place) -> Iterator[AttentionPoint]:
        name = entry.get("name")
        if not self._registered(ATTENTION, name, (*place, "name")):
            return
        config = ATTENTION[str(name)].Config
        fields = (*config.model_fields, *(("preset",) if config.presets else ()))
        parts_field = ("parts",) if config.parts else ()
        self._unknown_fields(entry, ("name", "backbones", *fields, *parts_field), place)
        only = None
        if "backbones" in entry:
            only = self._only_on(entry["backbones"], (*place, "backbones"))
        parts = self._parts(entry, config, place)
        grid = {key: entry[key] for key in entry if key in fields}
        for point, places in self._grid(grid, place):
            preset = point.pop("preset", None)
            if preset is not None and not (isinstance(preset, str) and preset in config.presets):
                self._choice(places["preset"], preset, list(config.presets))
                continue
            chosen = config.presets[preset] if preset is not None else {}
            full = self._model(config, {**chosen, **point}, place, places=places)
            for part, checked in self._taken_apart(full, parts) if full else ():
                yield AttentionPoint(
                    name=str(name),
                    preset=None if set(chosen) & set(point) else preset,
                    hyperparameters=checked.model_dump(mode="json"),
                    nondefault=tuple(sorted(checked.model_dump(exclude_defaults=True))),
                    backbones=only,
                    part=part,
                )

    def _parts(
        self, entry: Mapping[str, Any], config: type[AttentionConfig], place: Place
    ) -> dict[str, Place]:
        """Return the parts that are taken from a module, and where each is asked for."""
        at: Place = (*place, "parts")
        if self.kind != "leave_one_out":
            if "parts" in entry and config.parts:
                self._add(at, f"is for kind 'leave_one_out', not {shown(self.kind)}")
            return {}
        for field in config.model_fields:
            if isinstance(entry.get(field), list):
                self._add(
                    (*place, field),
                    f"{shown(entry[field])} is a list; kind 'leave_one_out' takes one module "
                    "apart, and has a list for preset only",
                )
        if "parts" not in entry or not config.parts:
            return dict.fromkeys(config.parts, place)
        named = entry["parts"]
        if not isinstance(named, list) or not named:
            self._add(at, f"{shown(named)} is not a list with at least one entry")
            return {}
        self._listed_twice(named, at)
        known = list(config.parts)
        for index, part in enumerate(named):
            if part not in known:
                self._choice((*at, index), part, known)
        return {part: (*at, i) for i, part in enumerate(named) if part in known}

    def _taken_apart(
        self, full: AttentionConfig, parts: Mapping[str, Place]
    ) -> Iterator[tuple[str | None, AttentionConfig]]:
        """Yield a module, and it without each of the parts."""
        yield None, full
        for part, place in parts.items():
            lacking = {
                name: getattr(full, name)
                for name, value in full.needs.get(part, {}).items()
                if getattr(full, name) != value
            }
            if lacking:
                has = ", ".join(f"{name} is {shown(value)}" for name, value in lacking.items())
                self._add(place, f"{part!r} is not there to take ({has}): name the others in parts")
                continue
            try:
                without = full.model_validate({**full.model_dump(), **full.parts[part]})
            except ValidationError as error:
                self._add(place, f"{part!r} cannot be had here: {_text(error.errors()[0])}")
                continue
            if without == full:
                self._add(place, f"{part!r} changes nothing here: name the others in parts")
            yield part, without

    def _only_on(self, value: Any, place: Place) -> tuple[str, ...]:
        """Return the backbones that a module is restricted to; they must be of the space."""
        names = value if isinstance(value, list) else [value]
        if not names:
            self._add(place, EMPTY)
        self._listed_twice(names, place)
        known = self._named_backbones()
        # An override may leave out backbones that modules are restricted to.
        fewer = ("backbones",) in self.document.overridden
        for index, name in enumerate(names):
            if name not in known and not (fewer and name in BACKBONES.names()):
                self._choice((*place, index) if value is names else place, name, known)
        return tuple(map(str, names))

    def _named_backbones(self) -> list[str]:
        """Return what the space names as its backbones; all there are if it has problems there."""
        entries = self.document.data.get("backbones")
        names: list[Any] = [
            entry.get("name") if isinstance(entry, dict) else entry
            for entry in (entries if isinstance(entries, list) else [])
        ]
        every = BACKBONES.names()
        return names if names and all(name in every for name in names) else every

    def _without_module(
        self, backbones: Sequence[BackbonePoint], attention: Sequence[AttentionPoint]
    ) -> None:
        for point in backbones:
            if all(a.backbones is not None and point.name not in a.backbones for a in attention):
                self._add(point.place, f"no entry of attention is for {point.name}")

    def _without_baseline(
        self, backbones: Sequence[BackbonePoint], attention: Sequence[AttentionPoint]
    ) -> None:
        if self.kind == "paired" and all(point.name == "none" for point in attention):
            self._add(
                ("attention",), "kind 'paired' compares modules with 'none'; name at least one"
            )
        baselines = [point.backbones for point in attention if point.name == "none"]
        for point in backbones if self.kind == "paired" else ():
            if all(only is not None and point.name not in only for only in baselines):
                self._add(
                    point.place,
                    "kind 'paired' compares with the baseline: attention needs 'none' "
                    f"for {point.name}",
                )

    # Tools ---------------------------------------------------------------------------------

    def _grid(
        self, entry: Mapping[str, Any], place: Place, *, lists: bool = True
    ) -> Iterator[tuple[dict[str, Any], dict[str, Place]]]:
        """Yield every point of an entry, in the order of its fields, and where each value stood.

        A range has its low end in them; then come the others of its values that are checked, each
        with the first values of the other fields, up to one that is wrong.
        """
        axes: dict[str, list[tuple[Any, Place]]] = {}
        ranges: dict[str, list[tuple[Any, Place]]] = {}
        for key, value in entry.items():
            at: Place = (*place, key)
            if lists and value == []:
                self._add(at, EMPTY)
                return
            if is_range(value):
                low, *ranges[key] = self._range(value, at) or [(None, at)]
                if not ranges[key]:
                    return
                axes[key] = [low]
            else:
                many = lists and isinstance(value, list)
                axes[key] = [(v, (*at, i)) for i, v in enumerate(value)] if many else [(value, at)]
        lists_of = tuple(axes.values())
        one_at_a_time = self.kind == "one_at_a_time"
        if self._too_many(map(len, lists_of), sum(map(len, ranges.values())), place):
            return
        for choice in _one_at_a_time(lists_of) if one_at_a_time else itertools.product(*lists_of):
            yield _point(dict(zip(axes, choice, strict=True)))
        first = {key: values[0] for key, values in axes.items()}
        for key, values in ranges.items():
            at = (*place, key)
            for value in values:
                if all(problem.place[: len(at)] != at for problem in self.problems):
                    yield _point({**first, key: value})

    def _too_many(self, lists: Iterable[int], checked: int, place: Place) -> bool:
        """Refuse an entry before it is expanded, if it has more points than there may be trials.

        Args:
            lists: how long each of its lists is.
            checked: values of ranges that are checked as well.
            place: of the entry.
        """
        lengths = list(lists)
        points = math.prod(lengths)
        if self.kind == "one_at_a_time":
            points = 1 + sum(length - 1 for length in lengths)
        self.points += points + checked
        if points <= MOST_TRIALS < self.points:
            self._add(place[:1], f"has more than {MOST_TRIALS:,} points; {FEWER}")
        elif points > MOST_TRIALS:
            self._add(place, f"its lists make {points:,} points; {FEWER}")
        return self.points > MOST_TRIALS

    def _trials(
        self,
        backbones: Sequence[BackbonePoint],
        attention: Sequence[AttentionPoint],
        search: SearchSettings | None,
    ) -> None:
        """Refuse more trials than one search space may have, before there is one of them."""
        seeds = len(self.document.data.get("seeds", General.model_fields["seeds"].default))
        if search is not None and search.method != "grid":
            points = search.trials
            at: Place = ("search", "trials")
            what = f"{points:,} configurations"
        else:
            at = ("attention",)
            on = Counter(point.name for point in backbones)
            points = sum(
                sum(on.values())
                if module.backbones is None
                else sum(on[n] for n in module.backbones)
                for module in attention
            )
            what = f"{points:,} models"
        if points * seeds > MOST_TRIALS:
            self._add(at, f"{what} x {seeds:,} seeds are {points * seeds:,} trials; {FEWER}")

    def _range(self, value: Any, place: Place) -> list[tuple[Any, Place]]:
        """Return the values of a range that are checked, its low end first; none if it is wrong."""
        if not self.searches:
            self._add(place, f"{shown(value)}: {RANGE_OF_GRID}")
            return []
        numbers = self._model(Range, value, place)
        if numbers is None:
            return []
        ends = [(numbers.low, (*place, "low")), (numbers.high, (*place, "high"))]
        if isinstance(numbers.step, float):  # may lead from one whole number to another
            ends.append((numbers.low + numbers.step, (*place, "step")))
        return [*ends, *((number, place) for number in numbers.between[:CHECKED_POINTS])]

    def _model(
        self,
        model: type[Model],
        value: Any,
        place: Place,
        *,
        places: Mapping[str, Place] | None = None,
        also: tuple[str, ...] = (),
        complete: bool = True,
    ) -> Model | None:
        """Validate a flat section; None if it is wrong.

        Of one that is not ``complete``, what its fields say of each other is not looked at.
        """
        if not self._mapping(value, place):
            return None
        try:
            return model.model_validate(value)
        except ValidationError as error:
            known = (*model.model_fields, *also)
            schemas = model.model_json_schema()["properties"]
            for field, problem in _by_field(error, model).items():
                if not problem["loc"] and not complete:
                    continue
                inside = tuple(key for key in problem["loc"][1:] if isinstance(key, int))
                at = (*(places or {}).get(field, (*place, field)), *inside) if field else place
                if problem["type"] == "extra_forbidden":
                    self._unknown(at, field, known)
                elif problem["type"] == "missing":
                    self._add(at, f"is required. {model.model_fields[field].description or ''}")
                elif problem["type"] == "value_error" and len(problem["loc"]) == 1:
                    self._add(at, f"{shown(problem['input'])} {_text(problem)}")
                elif problem["type"] == "value_error":
                    self._add(at, _text(problem))
                else:
                    schema = schemas[field]["items"] if inside else schemas[field]
                    self._add(at, wrong_value(problem["input"], schema))
            return None

    def _mapping(self, value: Any, place: Place) -> bool:
        if isinstance(value, dict):
            return True
        self._add(place, f"{shown(value)} is not a mapping of fields")
        return False

    def _listed_twice(self, values: list[Any], place: Place) -> None:
        before: set[Any] = set()
        for index, value in enumerate(values):
            if not isinstance(value, str | int | float):
                continue  # is wrong by itself
            if value in before:
                self._add((*place, index), f"{shown(value)} is listed twice")
            before.add(value)

    def _registered(self, registry: Registry[Any], name: Any, place: Place) -> bool:
        if isinstance(name, str) and name in registry:
            return True
        if name is None:
            self._add(place, f"is required: one of {', '.join(registry.names())}")
        else:
            self._choice(place, name, registry.names())
        return False

    def _unknown_fields(self, value: Mapping[str, Any], known: tuple[str, ...], at: Place) -> None:
        for field in value:
            if field not in known:
                self._unknown((*at, field), field, known)

    def _unknown(self, place: Place, field: str, known: tuple[str, ...]) -> None:
        several = len(self.problems) < MOST_LINES  # of thousands, none is worth a nearest name
        self._add(place, unknown_field(field, known) if several else "unknown field")

    def _choice(self, place: Place, value: Any, allowed: list[str]) -> None:
        self._add(place, not_known(value, allowed))

    def _add(self, place: Place, message: str) -> None:
        if place in self.said:
            return
        self.problems.append(Problem(place, message.strip()))


def _one_at_a_time(axes: Sequence[Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    """Yield the first value of every axis, and this with one axis at each of its other values."""
    reference = tuple(axis[0] for axis in axes)
    yield reference
    for index, axis in enumerate(axes):
        for value in axis[1:]:
            yield (*reference[:index], value, *reference[index + 1 :])


def _point(pairs: Mapping[str, tuple[Any, Place]]) -> tuple[dict[str, Any], dict[str, Place]]:
    return {k: v for k, (v, _) in pairs.items()}, {k: at for k, (_, at) in pairs.items()}


def _by_field(error: ValidationError, model: type[BaseModel]) -> dict[str, Any]:
    """Return the first of pydantic's errors of each field: a union reports one for each member.

    What concerns several fields is put at the one that its text starts with, else at "".
    """
    fields: dict[str, Any] = {}
    for problem in error.errors(include_url=False):
        field = str(problem["loc"][0]) if problem["loc"] else _text(problem).partition(" ")[0]
        fields.setdefault(field if problem["loc"] or field in model.model_fields else "", problem)
    return fields


def _text(problem: Any) -> str:
    message: str = problem["msg"]
    return message.removeprefix("Value error, ")
