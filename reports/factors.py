"""What varies within an attention module: its factors, their levels, and the trials to judge by.

A *family* is one module on one backbone under one recipe, since modules do not share their
hyperparameters. Effects and importance are both of a family's factors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reports.configs import ConfigRow
from reports.rows import StudyRows, TrialRow, Value
from sweep.spec.labels import display_name

Array = NDArray[np.float64]
Scale = Literal["levels", "linear", "log"]
"""Levels are compared one by one; the others have a slope, over the value or its logarithm."""

MOST_LEVELS = 6
"""Of a number, above which it has a slope."""
RECIPE = "recipe."
"""Before the name of what a search chose."""


@dataclass(frozen=True)
class Factor:
    """A hyperparameter that takes several values."""

    name: str
    levels: tuple[Value, ...]
    """Numbers in their order, anything else in the grid's; at least two."""
    scale: Scale

    def positions(self, values: Sequence[Value]) -> Array:
        """Return where values (N,) are: on the line of a slope, or the index of their level."""
        if self.scale == "levels":
            return np.array([self.levels.index(value) for value in values], dtype=float)
        numbers = np.array(values, dtype=float)
        return np.log10(numbers) if self.scale == "log" else numbers


@dataclass(frozen=True, kw_only=True)
class Family:
    """The trials of one module on one backbone under one recipe."""

    group: str
    """Title of its backbone and recipe."""
    module: str
    """As tables print it."""
    factors: tuple[Factor, ...]
    """Of all trials, whether they have a score or not; at least one."""
    trials: tuple[TrialRow, ...]
    """Those with a score (N)."""
    settings: tuple[Mapping[str, Value], ...]
    """Of these trials, by factor."""
    scores: Array
    """(N,) of the compared metric on the test split, as stored."""
    notes: tuple[str, ...]
    """What was left out, or is not what it is called."""

    @property
    def title(self) -> str:
        """Backbone and module ("ResNet-18, ELA")."""
        return f"{self.group}, {self.module}"

    def values(self, factor: Factor) -> list[Value]:
        """Return the value of a factor in each trial (N,)."""
        return [setting[factor.name] for setting in self.settings]


def families(rows: StudyRows, configs: Sequence[ConfigRow]) -> tuple[Family, ...]:
    """Return the families of a study in which something varies, in the order of its grid."""
    members: dict[tuple[str, str], list[ConfigRow]] = defaultdict(list)
    for config in configs:
        members[config.group, config.attention].append(config)
    found = (_family(family, rows.compared.name) for family in members.values())
    return tuple(family for family in found if family.factors)


def text_of_level(value: Value) -> str:
    """Return a value as a search space has it ("in_channels/8", "true", "0.0125")."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def joined(names: Sequence[str]) -> str:
    """Return names as a sentence has them ("a, b and c")."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _family(configs: Sequence[ConfigRow], metric: str) -> Family:
    settings = [_settings(config) for config in configs]
    scored = [
        (setting, trial, score)
        for setting, config in zip(settings, configs, strict=True)
        for trial in config.trials
        if (score := trial.score(metric)) is not None
    ]
    factors = tuple(_factors(settings))
    return Family(
        group=configs[0].group,
        module=display_name(configs[0].attention),
        factors=factors,
        trials=tuple(trial for _, trial, _ in scored),
        settings=tuple({f.name: setting.get(f.name) for f in factors} for setting, *_ in scored),
        scores=np.array([score for *_, score in scored], dtype=float),
        notes=tuple(_notes(configs, len(scored))),
    )


def _settings(config: ConfigRow) -> dict[str, Value]:
    """Return all that configurations of a family may differ in."""
    chosen = {key.removeprefix(RECIPE): _plain(text) for key, text in config.chosen.items()}
    return {**config.hyperparameters, **chosen, "placement": config.placement}


def _plain(text: str) -> Value:
    """Return what a search chose, which is stored as text."""
    try:
        return float(text)
    except ValueError:
        return text


def _factors(settings: Sequence[Mapping[str, Value]]) -> Iterator[Factor]:
    """Yield what varies among the settings of a family's configurations, no two of them equal."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    levels = {name: tuple(dict.fromkeys(s.get(name) for s in settings)) for name in names}
    varying = {name: found for name, found in levels.items() if len(found) > 1}
    for name, found in varying.items():
        numbers = [v for v in found if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(found):
            yield Factor(name, found, "levels")
            continue
        numbers.sort()
        drawn = 2 < len(numbers) == len(settings) and len(varying) > 1
        slope = len(numbers) > MOST_LEVELS or drawn
        yield Factor(name, tuple(numbers), _line(numbers) if slope else "levels")


def _line(numbers: Sequence[float]) -> Scale:
    """Return the scale of a slope: logarithmic if the numbers span more than a factor of 10."""
    return "log" if numbers[0] > 0 and numbers[-1] > 10 * numbers[0] else "linear"


def _notes(configs: Sequence[ConfigRow], scored: int) -> Iterator[str]:
    trials = sum(len(config.trials) for config in configs)
    stopped = sum(config.count("stopped") for config in configs)
    adjusted = sum(len(config.trials) for config in configs if config.adjusted)
    if scored < trials:
        yield f"{trials - scored} of {trials} trials have no score and are left out"
    if stopped:
        yield (
            f"{stopped} of them were stopped early because they fell behind: what is said holds "
            "for those that were not"
        )
    if adjusted:
        yield (
            f"{adjusted} of {trials} trials were adjusted so that the model can exist: they count "
            "as what was asked for"
        )
    if any(config.chosen for config in configs):
        yield "a search chose the values: the design is not balanced"
