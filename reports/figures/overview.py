"""Score of every module on every backbone, a panel per task: Figure 1 of the ELA paper.

Modules are told apart by colour and marker, and by a label beside each mark.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.comparisons import by_validation
from reports.configs import ConfigRow, by_group
from reports.figures.labelling import Panel, place
from reports.figures.style import (
    COLUMN,
    GREY,
    PAPER,
    TEXT_WIDTH,
    Look,
    legend,
    looks,
    new_figure,
    pages,
    settle,
    styled,
    symbol,
)
from reports.rows import StudyRows
from sweep.spec.labels import display_name
from sweep.tasks.base import Metric

NARROWEST = 1.4
"""Backbones that a panel is as wide as at least."""
NARROW = 2
"""Backbones in all that one column of print is wide enough for."""
SPREAD = 0.34
"""Of a backbone's marks, to either side; backbones are 1 apart."""
TICK = 14
"""Characters of a line under the axis."""
NO_NAMES: Mapping[str, str] = MappingProxyType({})
LAYOUTS = ((7.0, 2.7), (5.0, 2.4), (5.0, 3.0), (5.0, 3.6), (4.0, 2.8), (3.0, 2.8))
"""Backbones side by side at most, and inches of a row of panels, tried in this order until every
label has a place."""


@dataclass(frozen=True)
class Mark:
    """A module on a backbone."""

    backbone: str
    """As it stands under the axis."""
    module: str
    """As it is registered."""
    label: str
    score: float
    """As it is printed (per cent)."""
    std: float | None = None
    """Over seeds; None for one seed, or a number from a paper."""


@dataclass(frozen=True)
class Facet:
    """A panel: one task, published or measured."""

    title: str
    axis: str
    """What the y-axis says."""
    marks: tuple[Mark, ...]

    @property
    def backbones(self) -> list[str]:
        """The backbones, from left to right."""
        return list(dict.fromkeys(mark.backbone for mark in self.marks))


def overview(facets: Sequence[Facet]) -> Figure | None:
    """Return the figure of several tasks; None if nothing has a score.

    Labels for which there is no room even in the tallest figure are left to the legend.
    """
    shown = [facet for facet in facets if facet.marks]
    if not shown:
        return None
    with styled():
        for across, height in LAYOUTS:
            figure, panels = _drawn(_lines(shown, across), height)
            crowded = [panel for panel in panels if not place(panel)]
            if not crowded:
                break
        for panel in crowded:
            panel.forget_labels()
        return figure


def facet_of(
    rows: StudyRows, configs: Sequence[ConfigRow], short: Mapping[str, str] = NO_NAMES
) -> Facet:
    """Return the panel of a study: per backbone and module the configuration that validation chose.

    Its test score is shown, as mean and standard deviation over seeds. Where no configuration of a
    module has a validation score, it is the first one.

    Args:
        rows: the study.
        configs: of the study.
        short: what to call backbones under the axis, by their registered names.
    """
    metric = rows.compared
    marks = []
    for members in by_group(configs).values():
        measured = [config for config in members if metric.name in config.spreads]
        for module in dict.fromkeys(config.attention for config in measured):
            alike = [config for config in measured if config.attention == module]
            chosen = next(iter(by_validation(alike, metric)), alike[0])
            marks.append(_mark(chosen, metric, short))
    return Facet(rows.study, f"Test {metric.label}", tuple(marks))


def caption(facets: Sequence[Facet]) -> str:
    """Return what the figure shows, for those who do not see it and for its caption."""
    bars = any(mark.std is not None for facet in facets for mark in facet.marks)
    return (
        "Score of each attention module over backbones, one panel per task"
        + ("; bars: ± sample standard deviation over seeds" if bars else "")
        + ". Of a module with several configurations in a study, the one that validation chose."
    )


def _mark(config: ConfigRow, metric: Metric, short: Mapping[str, str]) -> Mark:
    spread = config.spreads[metric.name]
    name = short.get(config.trials[0].backbone, config.backbone)
    group = config.group.replace(config.backbone, name, 1)
    return Mark(
        backbone=textwrap.fill(group, TICK, break_long_words=False),
        module=config.attention,
        label=config.name,
        score=spread.mean * metric.scale,
        std=None if spread.std is None else spread.std * metric.scale,
    )


def _drawn(lines: Sequence[Sequence[Facet]], height: float) -> tuple[Figure, list[Panel]]:
    facets = [facet for line in lines for facet in line]
    width = COLUMN if sum(map(_width, facets)) <= NARROW else TEXT_WIDTH
    figure = new_figure(width, height * len(lines) + 0.3)
    outer = figure.add_gridspec(len(lines), 1)
    look = looks(mark.module for facet in facets for mark in facet.marks)
    columns: list[Panel] = []
    for number, line in enumerate(lines):
        widths = [_width(facet) for facet in line]
        inner = outer[number].subgridspec(1, len(line), width_ratios=widths)
        for column, facet in enumerate(line):
            columns += _draw_facet(figure.add_subplot(inner[column]), facet, look)
    _legend(figure, facets, look)
    settle(figure)
    return figure, columns


def _legend(figure: Figure, facets: Sequence[Facet], look: dict[str, Look]) -> None:
    marks = [mark for facet in facets for mark in facet.marks]
    entries = [
        (symbol(marker, colour=colour, markeredgecolor=PAPER), display_name(module))
        for module, (colour, marker) in look.items()
        if any(mark.module == module for mark in marks)
    ]
    if any(mark.std is not None for mark in marks):
        entries.append((symbol("|", size=8), "± std over seeds"))
    legend(figure, entries, wide=9, narrow=4)


def _lines(facets: Sequence[Facet], across: float) -> list[list[Facet]]:
    """Return the facets of each row of panels, in their order; one that is too wide in parts."""
    lines: list[list[Facet]] = [[]]
    for part in (part for facet in facets for part in _parts(facet, int(across))):
        if lines[-1] and sum(map(_width, [*lines[-1], part])) > across:
            lines.append([])
        lines[-1].append(part)
    return lines


def _parts(facet: Facet, most: int) -> list[Facet]:
    parts = list(pages(facet.backbones, most))
    return [
        Facet(
            title=facet.title if len(parts) == 1 else f"{facet.title} ({number} of {len(parts)})",
            axis=facet.axis,
            marks=tuple(mark for mark in facet.marks if mark.backbone in part),
        )
        for number, part in enumerate(parts, start=1)
    ]


def _width(facet: Facet) -> float:
    return max(NARROWEST, len(facet.backbones))


def _draw_facet(axes: Axes, facet: Facet, look: dict[str, Look]) -> list[Panel]:
    """Draw a task; return its backbones, each a panel whose labels stay in its column."""
    axes.set_title(facet.title, loc="left")
    axes.set_ylabel(facet.axis)
    axes.set_xticks(range(len(facet.backbones)), facet.backbones)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(facet.backbones) - 0.5)
    columns = []
    for number, backbone in enumerate(facet.backbones):
        column = Panel(axes, sides=(number - 0.5, number + 0.5))
        marks = [mark for mark in facet.marks if mark.backbone == backbone]
        for i, mark in enumerate(marks):
            x = number + (SPREAD * (2 * i / (len(marks) - 1) - 1) if len(marks) > 1 else 0.0)
            _draw(column, x, mark, look[mark.module])
        if number:
            axes.axvline(number - 0.5, color=GREY, linewidth=0.4, zorder=0.8)
        columns.append(column)
    axes.margins(y=0.12)
    axes.autoscale_view()
    axes.autoscale(False)
    return columns


def _draw(panel: Panel, x: float, mark: Mark, look: Look) -> None:
    if mark.std is not None:
        panel.axes.errorbar(
            x, mark.score, mark.std, color=look.colour, linewidth=0.9, capsize=2, zorder=2
        )
        panel.bar(x, mark.score, mark.std)
    panel.axes.plot(
        x,
        mark.score,
        look.marker,
        color=look.colour,
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
        zorder=3,
    )
    panel.points.append((x, mark.score, rcParams["lines.markersize"] / 2))
    panel.label(x, mark.score, mark.label)
