"""Score against cost (parameters, MACs or latency), one panel per backbone.

A figure is made taller until every label has a place that touches no other label, no point, no
error bar and no line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.configs import ConfigRow, by_group
from reports.costs import measured_elsewhere, setting_text
from reports.figures.captions import counted
from reports.figures.labelling import Panel, place
from reports.figures.style import (
    DASHES,
    INK,
    PAPER,
    TEXT_HEIGHT,
    Look,
    end_axis,
    legend,
    looks_of,
    panels,
    settle,
    styled,
    symbol,
)
from reports.rows import BASELINE, StudyRows
from sweep.spec.labels import display_name
from sweep.tasks.base import Metric

FRONT = "#b5b5b5"
"""Of the line of the Pareto front."""


Groups = Sequence[tuple[str, list[ConfigRow]]]
"""Title and configurations of each panel."""


@dataclass(frozen=True)
class Axis:
    """A cost that a score can be drawn against."""

    title: str
    words: str
    """The title within a sentence."""
    units: tuple[tuple[str, float], ...]
    """Each with its size, the larger one first."""
    of: Callable[[ConfigRow], float | None]


PARAMETERS = Axis(
    "Parameters", "parameters", (("M", 1e6), ("k", 1e3)), lambda config: config.params_thop_like
)
MACS = Axis("MACs", "MACs", (("G", 1e9), ("M", 1e6)), lambda config: config.macs)
LATENCY = Axis(
    "Latency",
    "latency",
    (("ms", 1.0),),
    lambda config: config.cost.latency_ms if config.cost else None,
)


@dataclass(frozen=True)
class Layout:
    """How much room a figure has."""

    columns: int
    """Panels side by side at most."""
    height: float
    """Inches of a row of panels."""
    margin: float = 0.16
    """Free share of a panel's height above and below what is drawn."""
    labelled: int = 40
    """Points of a panel that have a label at most: the baseline, the front, and the best."""


LAYOUTS = (
    Layout(columns=2, height=2.9),
    Layout(columns=2, height=3.4, margin=0.25),
    Layout(columns=1, height=3.2),
    Layout(columns=1, height=3.8, margin=0.3),
    Layout(columns=1, height=5.0, margin=0.45),
    Layout(columns=1, height=5.0, margin=0.45, labelled=16),
    Layout(columns=1, height=5.0, margin=0.45, labelled=8),
    Layout(columns=1, height=5.0, margin=0.45, labelled=4),
)
"""Tried in this order until every label has a place: with all labels first, then with fewer."""
FEWER = 3
"""Layouts at the end that are for panels which have no room for all labels."""


def score_against(rows: StudyRows, configs: Sequence[ConfigRow], axis: Axis) -> tuple[Figure, ...]:
    """Return the figures of a study: test score against a cost, mean and std, the Pareto front.

    Configurations without a score or without the cost are not drawn; without any, there is none.
    """
    metric = rows.compared
    groups = list(by_group([c for c in configs if _is_drawn(c, metric, axis)]).items())
    with styled():
        return _labelled(groups, looks_of(configs), metric, axis) if groups else ()


def caption(rows: StudyRows, configs: Sequence[ConfigRow], axis: Axis) -> str:
    """Return what the figure shows, and which configurations it cannot."""
    left_out = [c for c in configs if not _is_drawn(c, rows.compared, axis)]
    elsewhere = [c for c in left_out if axis is LATENCY and measured_elsewhere(c.cost, c.costs)]
    return (
        f"Test {rows.compared.label} against {_cost(rows, axis)}, one panel per backbone. Marker: "
        "mean; bar: ± sample standard deviation over seeds; small dots: single seeds; dashed: mean "
        "of the baseline; line: Pareto front of the means, whatever their noise; points on it have "
        "a dark rim. The values are in the table."
        + (f" Not drawn, without a score or {axis.words}: {counted(left_out)}." if left_out else "")
        + (
            " Of these, measured on another device or in another way, which does not compare: "
            f"{counted(elsewhere)}."
            if elsewhere
            else ""
        )
    )


def _is_drawn(config: ConfigRow, metric: Metric, axis: Axis) -> bool:
    return metric.name in config.spreads and axis.of(config) is not None


def _cost(rows: StudyRows, axis: Axis) -> str:
    measured = next((trial.cost for trial in rows.trials if trial.cost is not None), None)
    if axis is LATENCY and measured is not None:
        return f"the median latency of one image ({setting_text(measured)})"
    return "parameters (thop's convention)" if axis is PARAMETERS else "MACs of one image"


def pareto_front(
    points: Sequence[tuple[float, float]], mode: Literal["max", "min"] = "max"
) -> list[int]:
    """Return the numbers of the points that no other one beats, by rising cost.

    One point beats another if it costs no more and scores no worse, and differs in one of them;
    equal points are on the front together.

    Args:
        points: (cost, score) of each.
        mode: whether more or less of a score is better.
    """
    sign = -1.0 if mode == "max" else 1.0
    keys = [(cost, sign * score) for cost, score in points]
    front: list[int] = []
    for index in sorted(range(len(keys)), key=keys.__getitem__):
        if not front or keys[index][1] < keys[front[-1]][1] or keys[index] == keys[front[-1]]:
            front.append(index)
    return front


def _labelled(
    groups: Groups, looks: dict[str, Look], metric: Metric, axis: Axis
) -> tuple[Figure, ...]:
    """Return a figure in the first layout that has room for its labels; two, if it fits no page."""
    most = max(len(members) for _, members in groups)
    for layout in LAYOUTS if most <= LAYOUTS[0].labelled else LAYOUTS[-FEWER:]:
        if math.ceil(len(groups) / layout.columns) * layout.height > TEXT_HEIGHT:
            half = math.ceil(len(groups) / 2)
            parts = (groups[:half], groups[half:])
            return tuple(f for part in parts for f in _labelled(part, looks, metric, axis))
        nameless = most > layout.labelled
        figure, drawn = _drawn(groups, looks, metric, axis, layout, nameless=nameless)
        if all(place(panel) for panel in drawn):
            return (figure,)
    figure, drawn = _drawn(groups, looks, metric, axis, layout, nameless=True)
    for panel in drawn:
        if not place(panel):
            panel.forget_labels()
    return (figure,)


def _drawn(
    groups: Groups,
    looks: dict[str, Look],
    metric: Metric,
    axis: Axis,
    layout: Layout,
    *,
    nameless: bool,
) -> tuple[Figure, list[Panel]]:
    """Return a figure whose labels have no places yet, and its panels.

    The legend has the modules where points are nameless, without a label.
    """
    figure, axes = panels(len(groups), layout.columns, layout.height)
    drawn = [Panel(place) for place in axes]
    for panel, (title, members) in zip(drawn, groups, strict=True):
        panel.axes.set_title(title, loc="left")
        _draw_panel(panel, members, looks, metric, axis, layout)
    shown = [config for _, members in groups for config in members]
    _legend(figure, shown, metric, looks if nameless else {})
    settle(figure)
    return figure, drawn


def _draw_panel(
    panel: Panel,
    members: list[ConfigRow],
    looks: dict[str, Look],
    metric: Metric,
    axis: Axis,
    layout: Layout,
) -> None:
    unit, size = _unit(members, axis)
    panel.axes.set_xlabel(f"{axis.title} ({unit})")
    panel.axes.set_ylabel(f"Test {metric.label}")
    points = [((axis.of(c) or 0) / size, _mean(c, metric)) for c in members]
    front = pareto_front(points, metric.mode)
    first = [c for c in members if c.is_baseline] + [members[i] for i in front]
    labelled = list(dict.fromkeys(map(id, first + _ranked(members, metric))))[: layout.labelled]
    for index, config in enumerate(members):
        rim = INK if index in front else PAPER
        _draw(panel, config, points[index], looks[config.attention], metric, rim)
        if id(config) in labelled:
            panel.label(*points[index], config.name)
    panel.axes.margins(0.2, layout.margin)
    panel.axes.xaxis.set_major_locator(MaxNLocator(4))  # "11.17425" is wide
    panel.axes.yaxis.set_major_locator(MaxNLocator(6))
    panel.freeze()
    end_axis(panel.axes, metric)
    _draw_front(panel, [points[i] for i in front])
    for config, (_, y) in zip(members, points, strict=True):
        if config.is_baseline:
            panel.axes.axhline(y, color=INK, linewidth=0.8, linestyle=DASHES, zorder=1)
            panel.lines.append((panel.axes.get_xlim()[0], y, panel.axes.get_xlim()[1], y))


def _draw(
    panel: Panel,
    config: ConfigRow,
    point: tuple[float, float],
    look: Look,
    metric: Metric,
    rim: str,
) -> None:
    axes, (x, y), spread = panel.axes, point, config.spreads[metric.name]
    if spread.std is not None:
        std = spread.std * metric.scale
        scores = [
            s * metric.scale for t in config.trials if (s := t.score(metric.name)) is not None
        ]
        axes.errorbar(x, y, std, color=look.colour, linewidth=0.9, capsize=2, zorder=2)
        axes.plot(
            [x] * len(scores), scores, ".", color=look.colour, markersize=3, alpha=0.55, zorder=2
        )
        panel.points += [(x, score, 1.5) for score in scores]
        panel.bar(x, y, std)
    axes.plot(
        x, y, look.marker, color=look.colour, markeredgecolor=rim, markeredgewidth=0.6, zorder=3
    )
    panel.points.append((x, y, rcParams["lines.markersize"] / 2))


def _draw_front(panel: Panel, front: Sequence[tuple[float, float]]) -> None:
    """Draw the steps of the best score that every cost can buy, to the edge of the panel."""
    x, y = (list(values) for values in zip(*front, strict=True))
    x, y = [*x, panel.axes.get_xlim()[1]], [*y, y[-1]]
    panel.axes.step(x, y, where="post", color=FRONT, linewidth=1.1, zorder=0.9)
    for i in range(len(front)):
        panel.lines.append((x[i], y[i], x[i + 1], y[i]))
        panel.lines.append((x[i + 1], y[i], x[i + 1], y[i + 1]))


def _ranked(members: list[ConfigRow], metric: Metric) -> list[ConfigRow]:
    sign = -1 if metric.mode == "max" else 1
    return sorted(members, key=lambda config: sign * config.spreads[metric.name].mean)


def _mean(config: ConfigRow, metric: Metric) -> float:
    """Return the mean as it is drawn; sums over seeds differ in their last digit."""
    return round(config.spreads[metric.name].mean * metric.scale, 12)


def _unit(members: list[ConfigRow], axis: Axis) -> tuple[str, float]:
    """Return the largest unit in which the costs are not small, and its size."""
    most = max(axis.of(config) or 0 for config in members)
    return next((unit for unit in axis.units if most >= 0.1 * unit[1]), axis.units[-1])


def _legend(
    figure: Figure, drawn: Sequence[ConfigRow], metric: Metric, modules: Mapping[str, Look]
) -> None:
    """Say what the marks mean; also of modules, where points are without a label."""
    entries = [(symbol("o"), "mean")]
    if any(config.spreads[metric.name].std is not None for config in drawn):
        entries.append((symbol("|", size=8), "± std over seeds"))
        entries.append((symbol(".", size=3), "one seed"))
    if any(config.is_baseline for config in drawn):
        line = Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHES)
        entries.append((line, "baseline"))
    front = Line2D(
        [], [], color=FRONT, marker="o", markerfacecolor=PAPER, markeredgecolor=INK, linewidth=1.1
    )
    entries.append((front, "Pareto front"))
    entries += [
        (symbol(look.marker, colour=look.colour), display_name(module))
        for module, look in modules.items()
        if module != BASELINE
    ]
    legend(figure, entries)
