"""The axes of a search space, found by walking through it, and the space of one point.

An axis is a place with several values: an entry of ``backbones`` or ``attention``, a list or a
range in one, a range in a recipe. Spaces are conditional: the axes of an entry exist only where the
entry is chosen. ``concrete`` therefore asks for one choice after the other, and puts them into a
space without axes, which is checked and planned like any other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from sweep.registry import ATTENTION
from sweep.spec.document import Document
from sweep.spec.plain_yaml import Place
from sweep.spec.recipes import Recipe
from sweep.spec.schema import Range, is_range
from sweep.spec.wording import shown

Choice = str | int | float
"""A number of a range; else what one of several values is called."""

Choices = dict[str, Choice]
"""By the name of the axis: {"attention": "ela", "attention.ela.kernel_size": 5}."""

LISTED = 10_000
"""Numbers of a range up to which they are counted."""
DIGITS = 4
"""Significant digits of a number that is chosen from all between two ends."""


At = TypeVar("At")


class EndlessError(ValueError):
    """A space has more points than can be counted."""


@dataclass(frozen=True)
class Axis:
    """One choice that a search makes."""

    name: str
    """Where it stands, without positions in lists: "attention.ela.kernel_size"."""
    values: Mapping[str, Any] | None = None
    """By what they are called; None of a range."""
    range: Range | None = None
    whole: bool = False
    """Whether only whole numbers of the range are meant."""

    def value(self, choice: Choice) -> Any:
        """Return what stands in a space for a choice.

        Raises:
            KeyError: the axis has no such choice.
        """
        if self.values is not None:
            return self.values[str(choice)]
        assert self.range is not None
        if isinstance(choice, str) or not self.range.low <= choice <= self.range.high:
            raise KeyError(choice)
        if self.whole:
            return int(choice)
        digits = DIGITS if self.range.step is None else 10
        return min(max(float(f"{choice:.{digits}g}"), self.range.low), self.range.high)

    def choices(self) -> list[Choice]:
        """Return every choice.

        Raises:
            EndlessError: any number between two ends is one, or too many are.
        """
        if self.values is not None:
            return list(self.values)
        assert self.range is not None
        low, high, step = self.range.low, self.range.high, self.range.step
        if step is None and not self.whole:
            raise EndlessError(self.name)
        step = step or 1
        steps = round((high - low) / step)
        if steps >= LISTED:
            raise EndlessError(self.name)
        return [low + index * step for index in range(steps + 1)]


Choose = Callable[[Axis], Choice]


def concrete(document: Document, choose: Choose) -> Document:
    """Return the space of one point.

    Args:
        document: a space without problems.
        choose: is asked for each axis that exists after the choices before it.

    Raises:
        KeyError: what was chosen is no choice of an axis.
    """
    data = {key: value for key, value in document.data.items() if key != "search"}
    named = _entries(data["backbones"])
    at_backbone, backbone = _chosen("backbones", named, choose)
    prefix = f"backbones.{_name_of(backbone, named)}"
    own = _filled(backbone.get("recipe", {}), f"{prefix}.recipe", Recipe, choose, lists=False)
    fields = {key: value for key, value in backbone.items() if key != "recipe"}
    filled = _filled(fields, prefix, None, choose)
    data["backbones"] = [{**filled, **({"recipe": own} if "recipe" in backbone else {})}]

    named = _entries(data["attention"])
    restricted = any("backbones" in entry for _, entry in named.values())
    fitting = {
        name: (index, entry)
        for name, (index, entry) in named.items()
        if backbone["name"] in _listed(entry.get("backbones", backbone["name"]))
    }
    axis = f"attention on {backbone['name']}" if restricted else "attention"
    at_attention, attention = _chosen(axis, fitting, choose)
    fields = {key: value for key, value in attention.items() if key != "backbones"}
    prefix = f"attention.{_name_of(attention, named)}"
    data["attention"] = [_filled(fields, prefix, ATTENTION[attention["name"]].Config, choose)]

    if "recipe" in data:
        shared = data["recipe"]
        # Of what the backbone says itself, the low end stands for a range without effect.
        hidden = {k: shared[k]["low"] for k in shared if k in own and is_range(shared[k])}
        data["recipe"] = _filled({**shared, **hidden}, "recipe", Recipe, choose, lists=False)
    kept = {"backbones": at_backbone, "attention": at_attention}
    return replace(
        document,
        data=data,
        positions=_moved(document.positions, kept),
        overridden=_moved(document.overridden, kept),
    )


def points(document: Document) -> Iterator[Choices]:
    """Yield the choices of every point, in the order of the file.

    Raises:
        EndlessError: there are more than can be counted.
    """
    begun: list[Choices] = [{}]
    while begun:
        choices = begun.pop()
        try:
            concrete(document, _decided(choices))
        except _UndecidedError as undecided:
            axis = undecided.axis
            begun += [{**choices, axis.name: choice} for choice in reversed(axis.choices())]
        else:
            yield choices


def drawn(axis: Axis, source: random.Random) -> Choice:
    """Return one choice of an axis: of a long range a number on the scale that it has."""
    try:
        return source.choice(axis.choices())
    except EndlessError:
        assert axis.range is not None
        low, high, step = axis.range.low, axis.range.high, axis.range.step
        if axis.range.log:
            number = math.exp(source.uniform(math.log(low), math.log(high)))
        else:
            number = source.uniform(low, high)
        if axis.whole or step:
            number = low + round((number - low) / (step or 1)) * (step or 1)
        return int(number) if axis.whole else min(max(number, low), high)


def recipe_axes(document: Document) -> dict[str, Axis]:
    """Return the ranges of the space's own recipe by their field, in the order of the alphabet."""
    return {
        field: Axis(
            f"recipe.{field}", range=Range.model_validate(value), whole=_is_whole(Recipe, field)
        )
        for field, value in sorted(document.data.get("recipe", {}).items())
        if is_range(value)
    }


def searches_recipes(document: Document) -> bool:
    """Tell whether a recipe has a range, so that trials of one model differ by how they train."""
    entries = [entry for _, entry in _entries(document.data["backbones"]).values()]
    recipes = [document.data.get("recipe", {}), *(entry.get("recipe", {}) for entry in entries)]
    return any(is_range(value) for recipe in recipes for value in recipe.values())


class _UndecidedError(Exception):
    def __init__(self, axis: Axis) -> None:
        self.axis = axis


def _decided(choices: Choices) -> Choose:
    def choose(axis: Axis) -> Choice:
        if axis.name not in choices:
            raise _UndecidedError(axis)
        return choices[axis.name]

    return choose


def _entries(entries: list[Any]) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return (index, fields) of each entry by its name; "ela", "ela(2)" if there are two."""
    named: dict[str, tuple[int, dict[str, Any]]] = {}
    for index, entry in enumerate(entries):
        fields = {"name": entry} if isinstance(entry, str) else entry
        name = fields["name"]
        same = sum(known["name"] == name for _, known in named.values())
        named[f"{name}({same + 1})" if same else name] = index, fields
    return named


def _name_of(entry: dict[str, Any], named: Mapping[str, tuple[int, dict[str, Any]]]) -> str:
    return next(name for name, (_, fields) in named.items() if fields is entry)


def _chosen(name: str, values: Mapping[str, Any], choose: Choose) -> Any:
    """Return the chosen one of several values; of one alone there is nothing to choose."""
    if len(values) == 1:
        return next(iter(values.values()))
    axis = Axis(name, values=values)
    return axis.value(choose(axis))


def _filled(
    fields: Mapping[str, Any], prefix: str, model: Any, choose: Choose, *, lists: bool = True
) -> dict[str, Any]:
    """Return the fields with one value for each list and range; a recipe's list is a value."""
    filled = {}
    for key, value in fields.items():
        name = f"{prefix}.{key}"
        if is_range(value):
            axis = Axis(name, range=Range.model_validate(value), whole=_is_whole(model, key))
            filled[key] = axis.value(choose(axis))
        elif lists and isinstance(value, list):
            filled[key] = _chosen(name, {_called(one): one for one in value}, choose)
        else:
            filled[key] = value
    return filled


@cache
def _is_whole(model: Any, field: str) -> bool:
    """Tell whether a field takes whole numbers alone."""
    schema = model.model_json_schema()["properties"][field]
    return "number" not in {part.get("type") for part in schema.get("anyOf", [schema])}


def _called(value: Any) -> str:
    if isinstance(value, dict):  # own sites
        return str(value["name"])
    return value if isinstance(value, str) else shown(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _moved(by_place: Mapping[Place, At], kept: Mapping[str, int]) -> dict[Place, At]:
    """Return where things stand when one entry alone is kept of the lists that have several."""
    moved = {}
    for place, at in by_place.items():
        if len(place) < 2 or place[0] not in kept:
            moved[place] = at
        elif place[1] == kept[str(place[0])]:
            moved[(place[0], 0, *place[2:])] = at
    return moved
