"""Learning curves: the validation score after every epoch, mean and band over seeds.

One panel per backbone, with the baseline and the configurations that validation chose. Of finished
trials only, so that a mean is over the same seeds from its first epoch to its last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.comparisons import by_validation
from reports.configs import ConfigRow, by_group
from reports.figures.captions import counted
from reports.figures.labels import Array, spread_out
from reports.figures.style import (
    GREY,
    LEADER,
    Look,
    end_axis,
    legend,
    looks_of,
    pages,
    panels,
    settle,
    styled,
)
from reports.rows import StudyRows, TrialRow
from sweep.tasks.base import Metric
from sweep.tracking.reading import Curve

MOST = 6
"""Configurations of a panel, beside the baseline."""
PANELS = 6
"""Of a figure at most."""
HEIGHT = 2.6
"""Inches of a row of panels."""
LINES = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (2, 1.2)),
    (0, (5, 1.2, 1.2, 1.2)),
    (0, (9, 2)),
    (0, (5, 1, 1, 1, 1, 1)),
)
"""By which configurations of one module are told apart."""
LABEL = 1.15
"""Where the labels begin, in widths of the panel; before them is a piece of their line."""
GAP = 8.5
"""Typographic points from one label to the next."""


@dataclass(frozen=True)
class MeanCurve:
    """The mean over the seeds of one configuration."""

    config: ConfigRow
    seeds: int
    epochs: Array
    """(E,), those after which every seed has a finite value."""
    mean: Array
    """(E,), as printed (per cent)."""
    low: Array
    high: Array
    """(E,), of the band: mean ± sample standard deviation, of two seeds their range."""


def curves(
    rows: StudyRows, configs: Sequence[ConfigRow], histories: Mapping[str, Curve]
) -> tuple[Figure, ...]:
    """Return the figures of a study; none if no trial has a curve.

    Args:
        rows: the study.
        configs: of the study.
        histories: the metric "val_..." after every epoch, by the ids of runs.
    """
    metric = rows.compared
    groups = [
        (group, drawn)
        for group, members in by_group(configs).items()
        if (drawn := mean_curves(members, metric, histories))
    ]
    looks = looks_of(configs)
    with styled():
        return tuple(_page(page, looks, metric) for page in pages(groups, PANELS))


def mean_curves(
    members: Sequence[ConfigRow], metric: Metric, histories: Mapping[str, Curve]
) -> list[MeanCurve]:
    """Return what the panel of a group shows, the baseline first."""
    found = (mean_curve(config, metric, histories) for config in chosen(members, metric))
    return [curve for curve in found if curve is not None]


def mean_curve(
    config: ConfigRow, metric: Metric, histories: Mapping[str, Curve]
) -> MeanCurve | None:
    """Return the mean over the finished trials of a configuration; None if they share no epoch."""
    values = [
        {epoch: value for epoch, value in history if np.isfinite(value)}
        for trial in _finished(config)
        if (history := histories.get(trial.run_id))
    ]
    shared = sorted(set.intersection(*map(set, values))) if values else []
    if not shared:
        return None
    table = metric.scale * np.array([[history[epoch] for epoch in shared] for history in values])
    mean = table.mean(axis=0)
    low, high = table.min(axis=0), table.max(axis=0)
    if len(table) > 2:
        std = table.std(axis=0, ddof=1)
        low, high = mean - std, mean + std
    return MeanCurve(config, len(table), np.array(shared, dtype=float), mean, low, high)


def _finished(config: ConfigRow) -> list[TrialRow]:
    return [trial for trial in config.trials if trial.status == "done"]


def chosen(members: Sequence[ConfigRow], metric: Metric) -> list[ConfigRow]:
    """Return what is drawn of a group: the baseline, and the best by validation in their order."""
    ranked = [id(config) for config in by_validation(members, metric)]
    ranked += [id(config) for config in members if id(config) not in ranked]
    baselines = [id(config) for config in members if config.is_baseline]
    others = [config for config in ranked if config not in baselines][:MOST]
    first = [config for config in ranked if config in baselines][:1]
    return [config for config in members if id(config) in (*first, *others)]


def caption(rows: StudyRows, configs: Sequence[ConfigRow], histories: Mapping[str, Curve]) -> str:
    """Return what the figure shows, and which configurations and seeds it leaves out.

    Args:
        rows: the study.
        configs: of the study.
        histories: as `curves` has them.
    """
    metric = rows.compared
    wanted = [c for members in by_group(configs).values() for c in chosen(members, metric)]
    drawn = {id(c) for c in wanted if mean_curve(c, metric, histories) is not None}
    among = {id(config) for config in wanted}
    left_out = [config for config in configs if id(config) not in among]
    without = [config for config in wanted if id(config) not in drawn]
    fewer = [
        config
        for config in wanted
        if id(config) in drawn and any(not histories.get(t.run_id) for t in _finished(config))
    ]
    return (
        f"Validation {metric.label} after every epoch, mean over the seeds of finished trials; "
        "band: ± sample standard deviation, of two seeds their range; none for one seed. A line "
        "ends where the first of its seeds did, and has the epochs at which all have a finite "
        "score. What is worse than in the second half of training may lie outside the panel."
        + (f" Left out, by validation: {counted(left_out)}." if left_out else "")
        + (f" No line, without such an epoch: {counted(without)}." if without else "")
        + (f" Of fewer seeds, as not every run has a curve: {counted(fewer)}." if fewer else "")
    )


def _page(
    groups: Sequence[tuple[str, list[MeanCurve]]], looks: dict[str, Look], metric: Metric
) -> Figure:
    figure, axes = panels(len(groups), 2, HEIGHT)
    for place, (title, drawn) in zip(axes, groups, strict=True):
        place.set_title(title, loc="left")
        place.set_xlabel("Epoch")
        place.set_ylabel(f"Validation {metric.label}")
        _draw_curves(place, drawn, looks)
        _limit(place, drawn, metric)
        for curve in drawn:  # makes room for the labels in the layout
            place.text(LABEL, 0.5, curve.config.name, transform=place.transAxes, fontsize=7)
    _legend(figure, [curve for _, drawn in groups for curve in drawn])
    settle(figure)
    for place, (_, drawn) in zip(axes, groups, strict=True):
        _place_labels(place, drawn, looks)
    return figure


def _draw_curves(axes: Axes, drawn: Sequence[MeanCurve], looks: dict[str, Look]) -> None:
    for curve, line in zip(drawn, _line_styles(drawn), strict=True):
        colour, marker = looks[curve.config.attention]
        if curve.seeds > 1:
            axes.fill_between(
                curve.epochs, curve.low, curve.high, color=colour, alpha=0.1, linewidth=0
            )
        axes.plot(curve.epochs, curve.mean, color=colour, linestyle=line, linewidth=1.1)
        axes.plot(curve.epochs[-1], curve.mean[-1], marker, color=colour, markersize=3.5)


def _line_styles(drawn: Sequence[MeanCurve]) -> list[tuple[int, tuple[float, ...]]]:
    """Return the line of each curve: those of one module differ."""
    modules = [curve.config.attention for curve in drawn]
    return [LINES[modules[:i].count(m) % len(LINES)] for i, m in enumerate(modules)]


def _limit(axes: Axes, drawn: Sequence[MeanCurve], metric: Metric) -> None:
    """Leave the bad scores of the first half outside: the differences are at the end."""
    last = max(curve.epochs[-1] for curve in drawn)
    axes.set_xlim(min(curve.epochs[0] for curve in drawn) - 0.02 * last, 1.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    late = [curve.epochs > min(last / 2, curve.epochs[-1] - 1) for curve in drawn]
    worst_low = min(curve.low[mask].min() for curve, mask in zip(drawn, late, strict=True))
    worst_high = max(curve.high[mask].max() for curve, mask in zip(drawn, late, strict=True))
    if metric.mode == "max":
        low, high = worst_low, max(curve.high.max() for curve in drawn)
    else:
        low, high = min(curve.low.min() for curve in drawn), worst_high
    margin = 0.06 * (high - low) or 0.01 * metric.scale
    axes.set_ylim(low - margin, high + margin)
    end_axis(axes, metric)


def _place_labels(axes: Axes, drawn: Sequence[MeanCurve], looks: dict[str, Look]) -> None:
    """Put the name of each line to the right of its end, one above the other."""
    frame = axes.get_window_extent()
    ends = axes.transData.transform([(c.epochs[-1], c.mean[-1]) for c in drawn])
    gap = GAP * axes.figure.dpi / 72
    heights = spread_out(ends[:, 1], gap, frame.y0, frame.y1)
    to_axes = axes.transAxes.inverted()
    samples = zip(list(axes.texts), drawn, _line_styles(drawn), ends, heights, strict=True)
    for label, curve, line, end, height in samples:
        _, place = to_axes.transform((frame.x1, height))
        label.set_position((LABEL, place))
        label.set_verticalalignment("center_baseline")
        leader = np.array([to_axes.transform(end), (LABEL - 0.1, place)])
        axes.plot(*leader.T, transform=axes.transAxes, color=LEADER, linewidth=0.5, clip_on=False)
        axes.plot(
            [LABEL - 0.1, LABEL - 0.015],
            [place, place],
            transform=axes.transAxes,
            color=looks[curve.config.attention].colour,
            linestyle=line,
            linewidth=1.1,
            clip_on=False,
        )


def _legend(figure: Figure, drawn: Sequence[MeanCurve]) -> None:
    words = "mean over seeds" if any(curve.seeds > 1 for curve in drawn) else "one seed"
    entries: list[tuple[Artist, str]] = [(Line2D([], [], color=GREY, linewidth=1.1), words)]
    if any(curve.seeds > 2 for curve in drawn):
        entries.append((Patch(color=GREY, alpha=0.25, linewidth=0), "± std"))
    if any(curve.seeds == 2 for curve in drawn):
        entries.append((Patch(color=GREY, alpha=0.25, linewidth=0), "range of two seeds"))
    legend(figure, entries)
