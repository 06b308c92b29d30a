"""Figures: accuracy against parameters, one panel per backbone.

A figure is made taller until every label has a place that touches no other label, no point, no
error bar and not the line of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from reports.configs import ConfigRow, by_group
from reports.labels import Array, overlapping, place_labels
from reports.rows import BASELINE, StudyRows
from sweep.tasks.base import Metric

STYLE = Path(__file__).parent / "sweep.mplstyle"
INK, PAPER = "#1a1a1a", "#ffffff"
"""Of text, and behind it; a page that inlines the SVG may replace them."""
LEADER = "#9a9a9a"
DASHES = (0, (4, 3))
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
"""Okabe and Ito's, which stay apart for colour-blind readers, but yellow, which is lost on white;
black is the baseline's."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<")
"""No common divisor with the colours, so that 42 modules differ in the pair; the baseline has o."""

COLUMN, TEXT_WIDTH = 3.5, 7.16
"""Inches: one column, and both, of a two-column paper."""


@dataclass(frozen=True)
class Layout:
    """How much room a figure has."""

    columns: int
    """Panels side by side at most; a lone panel of two columns is one column wide."""
    height: float
    """Inches of a row of panels."""
    margin: float = 0.16
    """Free share of a panel's height above and below what is drawn."""
    labelled: int = 40
    """Points of a panel that have a label at most: the baseline, and the best."""


LAYOUTS = (
    Layout(columns=2, height=2.9),
    Layout(columns=2, height=3.4, margin=0.25),
    Layout(columns=1, height=3.2),
    Layout(columns=1, height=3.8, margin=0.3),
    Layout(columns=1, height=5.0, margin=0.45),
    Layout(columns=1, height=5.0, margin=0.45, labelled=16),
    Layout(columns=1, height=5.0, margin=0.45, labelled=8),
)
"""Tried in this order until every label has a place."""


@dataclass
class Panel:
    """The labels of one panel, and what they must not touch."""

    axes: Axes
    labels: list[Text] = field(default_factory=list)
    """At their points until they are placed."""
    points: list[tuple[float, float, float]] = field(default_factory=list)
    """x, y in data coordinates, radius in typographic points; all along what is drawn."""
    reference: float | None = None
    """Data coordinate y of the baseline's line."""


def accuracy_against_parameters(rows: StudyRows, configs: Sequence[ConfigRow]) -> Figure:
    """Return the figure: test metric against parameters (thop's convention), mean and std.

    A study without a result gives a figure that says so.
    """
    groups = {
        group: drawn
        for group, members in by_group(configs).items()
        if (drawn := [c for c in members if _is_drawn(c, rows.compared)])
    }
    with plt.style.context(STYLE):
        if not groups:
            return _nothing()
        most = max(map(len, groups.values()))
        roomy = [layout for layout in LAYOUTS if most <= layout.labelled]
        for layout in roomy or LAYOUTS[-2:]:
            figure, panels = _drawn(groups, configs, rows.compared, layout)
            crowded = [panel for panel in panels if not _place(panel)]
            if not crowded:
                break
        for panel in crowded:  # the table has the names
            while panel.labels:
                panel.labels.pop().remove()
        return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, the same bytes for the same figure; return the paths."""
    anonymous: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    paths = [stem.with_suffix(suffix) for suffix in anonymous]
    with plt.style.context(STYLE):
        for path in paths:
            figure.savefig(path, metadata=anonymous[path.suffix])
    return paths


def collisions(panel: Panel) -> list[tuple[str, str]]:
    """Return what touches a label: (label, what it touches), from what the renderer measures."""
    boxes = np.array([label.get_window_extent().extents for label in panel.labels])
    names = [label.get_text() for label in panel.labels]
    touching = np.argwhere(np.triu(overlapping(boxes, boxes), 1))
    found = [(names[i], names[j]) for i, j in touching]
    on_points = np.unique(np.argwhere(overlapping(boxes, _obstacles(panel)))[:, 0])
    return found + [(names[i], "a point") for i in on_points]


def _is_drawn(config: ConfigRow, metric: Metric) -> bool:
    return metric.name in config.spreads and config.params_thop_like is not None


def _nothing() -> Figure:
    figure = plt.figure(figsize=(COLUMN, 1.0))
    figure.text(0.5, 0.5, "No trial has a result yet.", ha="center", va="center")
    plt.close(figure)
    return figure


def _drawn(
    groups: dict[str, list[ConfigRow]],
    configs: Iterable[ConfigRow],
    metric: Metric,
    layout: Layout,
) -> tuple[Figure, list[Panel]]:
    columns = min(len(groups), layout.columns)
    lines = math.ceil(len(groups) / columns)
    width = COLUMN if columns < layout.columns else TEXT_WIDTH
    size = (width, layout.height * lines + 0.25)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    plt.close(figure)  # pyplot need not keep it
    looks = _looks(configs)
    panels = []
    for place, (title, members) in zip(axes.flat, groups.items(), strict=False):
        place.set_title(title, loc="left")
        panels.append(_panel(place, members, looks, metric, layout))
    for place in axes.flat[len(groups) :]:
        place.set_axis_off()
    _legend(figure, [c for members in groups.values() for c in members], metric)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # labels are placed in axes that no longer move
    return figure, panels


def _looks(configs: Iterable[ConfigRow]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each module family."""
    families = sorted({config.attention for config in configs} - {BASELINE})
    looks = {
        family: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, family in enumerate(families)
    }
    return {BASELINE: (INK, "o"), **looks}


def _panel(
    axes: Axes,
    members: list[ConfigRow],
    looks: dict[str, tuple[str, str]],
    metric: Metric,
    layout: Layout,
) -> Panel:
    panel = Panel(axes)
    axes.set_xlabel("Parameters (M)")
    axes.set_ylabel(f"Test {metric.label}")
    labelled = _ranked(members, metric)[: layout.labelled]
    for config in members:
        _draw(panel, config, looks[config.attention], metric, label=config in labelled)
    axes.margins(0.2, layout.margin)
    axes.xaxis.set_major_locator(MaxNLocator(4))  # "11.17425" is wide
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.autoscale_view()
    axes.autoscale(False)  # leaders must not move what they lead to
    return panel


def _ranked(members: list[ConfigRow], metric: Metric) -> list[ConfigRow]:
    """Return the baseline, and then the others from the best."""
    sign = -1 if metric.mode == "max" else 1
    return sorted(members, key=lambda c: (not c.is_baseline, sign * c.spreads[metric.name].mean))


def _draw(
    panel: Panel, config: ConfigRow, look: tuple[str, str], metric: Metric, *, label: bool
) -> None:
    assert config.params_thop_like is not None
    axes, (colour, marker) = panel.axes, look
    spread = config.spreads[metric.name]
    x, y = config.params_thop_like / 1e6, spread.mean * metric.scale
    std = (spread.std or 0.0) * metric.scale
    if config.is_baseline:
        axes.axhline(y, color=INK, linewidth=0.8, linestyle=DASHES, zorder=1)
        panel.reference = y
    if spread.std is not None:
        scores = [
            s * metric.scale for t in config.trials if (s := t.score(metric.name)) is not None
        ]
        axes.errorbar(x, y, std, color=colour, linewidth=0.9, capsize=2, zorder=2)
        axes.plot([x] * len(scores), scores, ".", color=colour, markersize=3, alpha=0.55, zorder=2)
        for score in scores:
            panel.points.append((x, score, 1.5))
        for step in range(-10, 11):
            panel.points.append((x, y + std * step / 10, 2.0 if abs(step) == 10 else 0.5))
    axes.plot(x, y, marker, color=colour, markeredgecolor=PAPER, markeredgewidth=0.5, zorder=3)
    panel.points.append((x, y, mpl.rcParams["lines.markersize"] / 2))
    if label:
        panel.labels.append(axes.text(x, y, config.name, fontsize=7, zorder=4))


def _legend(figure: Figure, drawn: Sequence[ConfigRow], metric: Metric) -> None:
    spreads = [config.spreads[metric.name] for config in drawn]
    entries = [(_symbol("o"), "mean")]
    if any(spread.std is not None for spread in spreads):
        entries.append((_symbol("|", size=8), "± std over seeds"))
        entries.append((_symbol(".", size=3), "one seed"))
    if any(config.is_baseline for config in drawn):
        line = Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHES)
        entries.append((line, "baseline"))
    figure.legend(
        *zip(*entries, strict=True),
        loc="outside lower center",
        ncols=4,
        handletextpad=0.4,
        columnspacing=1.0,
        handlelength=2.0,
    )


def _symbol(marker: str, size: float | None = None) -> Line2D:
    return Line2D([], [], marker=marker, markersize=size, linestyle="", color="#707070")


def _place(panel: Panel) -> bool:
    """Move the labels of a panel beside their points; return whether there was room for all."""
    if not panel.labels:
        return True
    unit = panel.axes.figure.dpi / 72
    extents = [label.get_window_extent() for label in panel.labels]
    anchors = panel.axes.transData.transform([label.get_position() for label in panel.labels])
    frame = np.array(panel.axes.get_window_extent().padded(-3 * unit).extents)
    sizes = [(extent.width, extent.height) for extent in extents]
    placed = place_labels(sizes, anchors, _obstacles(panel), frame, unit)
    if placed is None:
        return False
    to_data = panel.axes.transData.inverted()
    for label, extent, place in zip(panel.labels, extents, placed, strict=True):
        x, y = label.get_transform().transform(label.get_position())
        corner = place.box[:2] + np.array([x - extent.x0, y - extent.y0])
        label.set_position(tuple(to_data.transform(corner)))
        if place.leader is not None:
            ends = to_data.transform(place.leader)
            panel.axes.plot(*ends.T, color=LEADER, linewidth=0.5, zorder=1.5)
    return True


def _obstacles(panel: Panel) -> Array:
    """Return the boxes, in pixels, of what is drawn in a panel."""
    x, y, radius = np.array(panel.points).T
    centres = panel.axes.transData.transform(np.stack([x, y], axis=1))
    reach = (radius * panel.axes.figure.dpi / 72)[:, None]
    boxes = np.concatenate([centres - reach, centres + reach], axis=1)
    if panel.reference is None:
        return boxes
    frame = panel.axes.get_window_extent()
    line = panel.axes.transData.transform((0, panel.reference))[1]
    return np.vstack([boxes, [frame.x0, line - 1, frame.x1, line + 1]])
