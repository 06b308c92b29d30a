"""Score over the values of a hyperparameter: a line for each setting of all the others.

A line joins configurations that share all else but the seed, so that its slope is the work of the
hyperparameter; the thick one is the mean over the lines that have every value.
"""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.configs import ConfigRow, by_group, scores
from reports.factors import text_of_level
from reports.figures.style import (
    GREY,
    INK,
    PAPER,
    Look,
    end_axis,
    legend,
    looks_of,
    pages,
    panels,
    settle,
    styled,
)
from reports.rows import StudyRows, Value
from reports.stats import Spread, spread
from sweep.spec.labels import display_name
from sweep.tasks.base import Metric

COLUMNS, ROWS = 4, 5
"""Panels side by side, and one below the other, at most."""
HEIGHT = 1.7
"""Inches of a row of panels."""
TITLE = 24
"""Characters of a line of a panel's title."""


@dataclass(frozen=True)
class Slope:
    """The scores of one module on one backbone over one of its hyperparameters."""

    group: str
    module: str
    """As it is registered."""
    factor: str
    levels: tuple[str, ...]
    lines: tuple[tuple[float, ...], ...]
    """Of each setting of all else, the mean over seeds at each level; nan where there is none."""
    mean: tuple[Spread, ...]
    """At each level: the mean over the lines that have all levels, spread over the seeds that all
    of these have. Empty where there are no such lines or seeds."""


def slopes(rows: StudyRows, configs: Sequence[ConfigRow]) -> tuple[Figure, ...]:
    """Return the figures of a study; none if no hyperparameter has two values, all else equal."""
    found = find_slopes(configs, rows.compared)
    looks = looks_of(configs)
    with styled():
        return tuple(_page(page, looks, rows.compared) for page in pages(found, COLUMNS * ROWS))


def find_slopes(configs: Sequence[ConfigRow], metric: Metric) -> list[Slope]:
    """Return what the panels show, values as printed (per cent)."""
    found = []
    for group, members in by_group(configs).items():
        measured = [config for config in members if metric.name in config.spreads]
        for module in dict.fromkeys(config.attention for config in measured):
            alike = [config for config in measured if config.attention == module]
            for factor in alike[0].hyperparameters:
                slope = _slope(group, module, factor, alike, metric)
                if slope is not None:
                    found.append(slope)
    return found


def level_label(value: Value) -> str:
    """Return a value as it stands under an axis: "C/8" for a share of the channels."""
    return text_of_level(value).replace("in_channels", "C")


def caption(rows: StudyRows) -> str:
    """Return what the figure shows, for those who do not see it and for its caption."""
    return (
        f"Test {rows.compared.label} over the values of each hyperparameter. Thin: configurations "
        "that share all else, mean over seeds; thick: mean over those lines that have every value, "
        "bar: ± sample standard deviation of this mean over seeds. The panels of a backbone share "
        "their scale."
    )


def _slope(
    group: str, module: str, factor: str, alike: Sequence[ConfigRow], metric: Metric
) -> Slope | None:
    levels = _levels(config.hyperparameters.get(factor) for config in alike)
    lines: dict[tuple[object, ...], dict[Value, ConfigRow]] = defaultdict(dict)
    for config in alike:
        lines[_all_else(config, factor)][config.hyperparameters.get(factor)] = config
    joined = [line for line in lines.values() if len(line) > 1]
    if not joined:
        return None
    complete = [[line[level] for level in levels] for line in joined if len(line) == len(levels)]
    return Slope(
        group=group,
        module=module,
        factor=factor,
        levels=tuple(map(level_label, levels)),
        lines=tuple(
            tuple(_mean(line[level], metric) if level in line else math.nan for level in levels)
            for line in joined
        ),
        mean=_means(complete, metric),
    )


def _levels(values: Iterable[Value]) -> list[Value]:
    """Return the values that there are: numbers as they rise, words in the order of the grid."""
    levels = list(dict.fromkeys(values))
    if all(isinstance(level, int | float) for level in levels):
        return sorted(levels, key=lambda level: float(level or 0))
    return levels


def _all_else(config: ConfigRow, factor: str) -> tuple[object, ...]:
    others = {k: v for k, v in config.hyperparameters.items() if k != factor}
    return config.placement, config.part, tuple(config.chosen.items()), tuple(others.items())


def _mean(config: ConfigRow, metric: Metric) -> float:
    return config.spreads[metric.name].mean * metric.scale


def _means(complete: Sequence[Sequence[ConfigRow]], metric: Metric) -> tuple[Spread, ...]:
    """Return the mean over lines at each level, over the seeds that all their trials have."""
    found = [[scores(config.trials, metric.name) for config in line] for line in complete]
    shared = set.intersection(*(set(s) for line in found for s in line)) if found else set()
    if not shared:
        return ()
    return tuple(
        spread(
            [
                float(np.mean([level[seed] for level in at_level])) * metric.scale
                for seed in sorted(shared)
            ]
        )
        for at_level in zip(*found, strict=True)
    )


def _page(found: Sequence[Slope], looks: Mapping[str, Look], metric: Metric) -> Figure:
    figure, axes = panels(len(found), COLUMNS, HEIGHT)
    for place, slope in zip(axes, found, strict=True):
        _draw(place, slope, looks[slope.module])
    for line in {place.get_position().y0: place for place in reversed(axes)}.values():
        line.set_ylabel(f"Test {metric.label}")
    _share_scales(axes, found, metric)
    thin = Line2D([], [], color=GREY, linewidth=0.6, alpha=0.7)
    entries = [(thin, "all else equal, mean over seeds")]
    if any(slope.mean for slope in found):
        thick = Line2D([], [], color=GREY, linewidth=1.6, marker="o", markersize=4)
        entries.append((thick, "mean of these, ± std over seeds"))
    legend(figure, entries, narrow=1)
    settle(figure)
    return figure


def _draw(axes: Axes, slope: Slope, look: Look) -> None:
    title = f"{slope.group}, {display_name(slope.module)}"
    axes.set_title(textwrap.fill(title, TITLE), loc="left", fontsize=7.5)
    axes.set_xlabel(slope.factor)
    places = np.arange(len(slope.levels))
    axes.set_xticks(places, slope.levels)
    axes.set_xlim(-0.35, len(places) - 0.65)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for line in slope.lines:
        axes.plot(places, line, ".-", color=look.colour, linewidth=0.6, markersize=3, alpha=0.6)
    if slope.mean:
        axes.errorbar(
            places,
            [level.mean for level in slope.mean],
            [level.std or 0.0 for level in slope.mean],
            color=INK,
            ecolor=INK,
            elinewidth=0.9,
            linewidth=1.6,
            capsize=2.5 if slope.mean[0].std is not None else 0,
            marker=look.marker,
            markersize=5,
            markerfacecolor=look.colour,
            markeredgecolor=PAPER,
            markeredgewidth=0.5,
            zorder=3,
        )


def _share_scales(axes: Sequence[Axes], found: Sequence[Slope], metric: Metric) -> None:
    """Give the panels of a group the same limits, so that slopes compare."""
    for group in {slope.group for slope in found}:
        alike = [place for place, slope in zip(axes, found, strict=True) if slope.group == group]
        limits = np.array([place.get_ylim() for place in alike])
        for place in alike:
            place.set_ylim(limits[:, 0].min(), limits[:, 1].max())
            end_axis(place, metric)
