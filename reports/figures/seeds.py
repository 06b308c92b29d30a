"""Every seed of every configuration: a row each, one panel per backbone.

A mean hides how few numbers it is of; here they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.configs import ConfigRow, by_group
from reports.figures.style import (
    DASHES,
    INK,
    PAPER,
    TEXT_HEIGHT,
    TEXT_WIDTH,
    Look,
    bounds,
    legend,
    looks_of,
    new_figure,
    pages,
    settle,
    styled,
    symbol,
)
from reports.rows import StudyRows
from reports.stats import Spread
from sweep.tasks.base import Metric

ROW = 0.145
"""Inches of a configuration."""
AROUND = 0.75
"""Inches of a panel beside its rows: title and axis."""
LEGEND = 0.25
"""Inches."""
FEWEST, ROWS = 3, int((TEXT_HEIGHT - LEGEND - AROUND) / ROW)
"""Rows that a panel has room for at least, and that it has at most."""
COLUMNS = 2


@dataclass(frozen=True)
class Block:
    """The rows of a panel: a group, or a part of a long one."""

    title: str
    configs: Sequence[ConfigRow]
    limits: tuple[float, float]
    """Of the axis, as printed; a group's parts share them."""
    baseline: float | None
    """Mean, as printed."""

    @property
    def height(self) -> float:
        """Inches."""
        return max(FEWEST, len(self.configs)) * ROW + AROUND


def seeds(rows: StudyRows, configs: Sequence[ConfigRow]) -> tuple[Figure, ...]:
    """Return the figures of a study, as many as its configurations need; none without a score."""
    metric = rows.compared
    if not any(metric.name in config.spreads for config in configs):
        return ()
    looks = looks_of(configs)
    blocks = [b for name, c in by_group(configs).items() for b in _blocks(name, c, metric)]
    with styled():
        return tuple(_page(page, looks, metric) for page in _pages(blocks))


def caption(rows: StudyRows) -> str:
    """Return what the figure shows, for those who do not see it and for its caption."""
    return (
        f"Test {rows.compared.label} of every seed (dots), in the order of the tables. Marker: "
        "mean; bar: its 95 % interval (Student's t), which may be wider than the panel; dashed: "
        "mean of the baseline."
        + (
            " The axis ends at 0 and 100 %; t's interval does not know of these bounds."
            if math.isfinite(bounds(rows.compared)[0])
            else ""
        )
    )


def _blocks(group: str, members: Sequence[ConfigRow], metric: Metric) -> list[Block]:
    spreads = [c.spreads[metric.name] for c in members if metric.name in c.spreads]
    baseline = next((c.spreads.get(metric.name) for c in members if c.is_baseline), None)
    parts = list(pages(members, ROWS))
    return [
        Block(
            title=group if len(parts) == 1 else f"{group} ({number} of {len(parts)})",
            configs=part,
            limits=_limits(spreads, metric),
            baseline=None if baseline is None else baseline.mean * metric.scale,
        )
        for number, part in enumerate(parts, start=1)
    ]


def _limits(spreads: Sequence[Spread], metric: Metric) -> tuple[float, float]:
    """Return the axis: all seeds, and of intervals no more than thrice the range of the seeds.

    It ends where the metric does.
    """
    low = min((spread.low for spread in spreads), default=0.0)
    high = max((spread.high for spread in spreads), default=1.0)
    reach = (high - low) or 0.01
    intervals = [spread.interval for spread in spreads if spread.interval is not None]
    lowest = min((interval.low for interval in intervals), default=low)
    highest = max((interval.high for interval in intervals), default=high)
    least, most = max(min(low, lowest), low - reach), min(max(high, highest), high + reach)
    margin = 0.05 * (most - least) or 0.01
    lowest, highest = bounds(metric)
    return (
        max((least - margin) * metric.scale, lowest),
        min((most + margin) * metric.scale, highest),
    )


def _pages(blocks: Sequence[Block]) -> list[list[list[Block]]]:
    """Return the blocks of each row of panels of each page."""
    found: list[list[list[Block]]] = [[]]
    for start in range(0, len(blocks), COLUMNS):
        line = list(blocks[start : start + COLUMNS])
        if found[-1] and _height([*found[-1], line]) > TEXT_HEIGHT - LEGEND:
            found.append([])
        found[-1].append(line)
    return found


def _height(lines: Sequence[Sequence[Block]]) -> float:
    return sum(max(block.height for block in line) for line in lines)


def _page(lines: Sequence[Sequence[Block]], looks: Mapping[str, Look], metric: Metric) -> Figure:
    figure = new_figure(TEXT_WIDTH, _height(lines) + LEGEND)
    ratios = [max(block.height for block in line) for line in lines]
    grid = figure.add_gridspec(len(lines), max(map(len, lines)), height_ratios=ratios)
    for row, line in enumerate(lines):
        for column, block in enumerate(line):
            _draw(figure.add_subplot(grid[row, column]), block, ratios[row], looks, metric)
    _legend(figure, [block for line in lines for block in line], metric)
    settle(figure)
    return figure


def _draw(
    axes: Axes, block: Block, height: float, looks: Mapping[str, Look], metric: Metric
) -> None:
    axes.set_title(block.title, loc="left")
    axes.set_xlabel(f"Test {metric.label}")
    axes.set_xlim(*block.limits)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    room = (height - AROUND) / ROW  # beside a longer block there is more than it needs
    axes.set_ylim(room - 0.3, -0.7)
    axes.set_yticks(range(len(block.configs)), [config.name for config in block.configs])
    axes.tick_params(axis="y", length=0, labelsize=7)
    if block.baseline is not None:
        axes.axvline(block.baseline, color=INK, linewidth=0.8, linestyle=DASHES, zorder=1)
    for row, config in enumerate(block.configs):
        _draw_row(axes, row, config, looks[config.attention], metric)


def _draw_row(axes: Axes, row: int, config: ConfigRow, look: Look, metric: Metric) -> None:
    spread = config.spreads.get(metric.name)
    if spread is None:
        middle = axes.get_yaxis_transform()
        axes.text(0.5, row, "no result", transform=middle, ha="center", va="center", fontsize=7)
        return
    mean = spread.mean * metric.scale
    scores = [s * metric.scale for t in config.trials if (s := t.score(metric.name)) is not None]
    if spread.interval is not None:
        half = (spread.interval.high - spread.mean) * metric.scale
        axes.errorbar(mean, row, xerr=half, color=look.colour, linewidth=1.0, capsize=2, zorder=2)
    below = [row + place for place in _below(scores)]
    # Of marks at 0 or 100 %, where the axis ends, both halves are drawn.
    axes.plot(scores, below, ".", color=INK, markersize=2.5, zorder=4, clip_on=False)
    axes.plot(
        mean,
        row,
        look.marker,
        color=look.colour,
        markersize=4.5,
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
        zorder=3,
        clip_on=False,
    )


def _below(scores: Sequence[float]) -> list[float]:
    """Return how far below its row each seed is: those that coincide, one under the other."""
    found = []
    for i, score in enumerate(scores):
        equal = sum(math.isclose(score, other) for other in scores[:i])
        found.append(0.2 + 0.17 * min(equal, 2))
    return found


def _legend(figure: Figure, blocks: Sequence[Block], metric: Metric) -> None:
    drawn = [c for b in blocks for c in b.configs if metric.name in c.spreads]
    entries = [(symbol(".", colour=INK, size=3), "one seed"), (symbol("o"), "mean")]
    if any(config.spreads[metric.name].interval is not None for config in drawn):
        entries.append((symbol("_", size=9), "95 % interval of the mean"))
    if any(block.baseline is not None for block in blocks):
        line = Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHES)
        entries.append((line, "mean of the baseline"))
    legend(figure, entries)
