"""What all figures of a report share: sizes, colours, markers, and how a figure is written.

A module has one colour and one marker in every figure. Text is at least 7 pt at the size of print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.configs import ConfigRow
from reports.rows import BASELINE
from sweep.registry import ATTENTION
from sweep.tasks.base import Metric

STYLE = Path(__file__).parents[1] / "sweep.mplstyle"
INK, PAPER = "#1a1a1a", "#ffffff"
"""Of text, and behind it; a page that inlines the SVG may replace them."""
GREY = "#707070"
"""Of what belongs to no module: symbols of a legend, means over modules."""
LEADER = "#9a9a9a"
DASHES = (0, (4, 3))
"""Of the baseline's line."""
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
"""Okabe and Ito's, which stay apart for colour-blind readers, but yellow, which is lost on white;
black is the baseline's."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<")
"""No common divisor with the colours, so that 42 modules differ in the pair; the baseline has o."""

COLUMN, TEXT_WIDTH = 3.5, 7.16
"""Inches: one column, and both, of a two-column paper."""
TEXT_HEIGHT = 9.0
"""Inches: no figure is taller, or it fits on no page; what needs more is several figures."""


Item = TypeVar("Item")


class Look(NamedTuple):
    """How the marks of a module look."""

    colour: str
    marker: str


def looks(families: Iterable[str]) -> dict[str, Look]:
    """Return colour and marker of each module, by its registered name.

    A module looks the same in every report, unless another one that is shown has its colour or its
    marker, and a free one is left. Modules that are not registered here follow those that are.
    """
    shown, known = set(families), ATTENTION.names()
    modules = [name for name in (*known, *sorted(shown - set(known))) if name != BASELINE]
    found = {BASELINE: Look(INK, "o")}
    for place, name in enumerate(modules):
        if name in shown:
            taken = found.values()
            colour = _free(COLOURS, place, [look.colour for look in taken])
            found[name] = Look(colour, _free(MARKERS, place, [look.marker for look in taken]))
    return found


def _free(choices: Sequence[str], place: int, taken: Sequence[str]) -> str:
    """Return the choice of a place, or the next one that is free; where none is, its own."""
    turned = [choices[(place + step) % len(choices)] for step in range(len(choices))]
    return next((choice for choice in turned if choice not in taken), turned[0])


def looks_of(configs: Iterable[ConfigRow]) -> dict[str, Look]:
    """Return colour and marker of each module of a study."""
    return looks(config.attention for config in configs)


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of the reports, whatever that of the session is."""
    with style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, of inches, that pyplot knows nothing of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # which measures text
    return figure


def panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, row by row, the rows about equally full.

    It is as wide as a column of print where half the panels of a row would leave room.

    Args:
        count: of panels.
        columns: panels side by side at most.
        height: inches of a row.
    """
    lines = math.ceil(count / columns)
    across = math.ceil(count / lines)
    width = COLUMN if across <= columns / 2 else TEXT_WIDTH
    figure = new_figure(width, height * lines + 0.25)
    axes = figure.subplots(lines, across, squeeze=False)
    for place in axes.flat[count:]:
        place.set_axis_off()
    return figure, list(axes.flat[:count])


def pages(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Yield the items of each page: as few pages as can be, about equally full."""
    count = math.ceil(len(items) / most)
    for page in range(count):
        yield items[page * len(items) // count : (page + 1) * len(items) // count]


def symbol(marker: str, *, colour: str = GREY, size: float | None = None, **more: Any) -> Line2D:
    """Return a mark for a legend."""
    return Line2D([], [], marker=marker, markersize=size, linestyle="", color=colour, **more)


def legend(
    figure: Figure, entries: Sequence[tuple[Artist, str]], wide: int = 5, narrow: int = 3
) -> None:
    """Write what the marks mean under the panels.

    Args:
        figure: that is not settled yet.
        entries: marks, and what they mean.
        wide: entries of a line at most, across two columns of print.
        narrow: likewise, in one column.
    """
    most = wide if figure.get_figwidth() > COLUMN else narrow
    figure.legend(
        *zip(*entries, strict=True),
        loc="outside lower center",
        ncols=min(most, len(entries)),
        handletextpad=0.4,
        columnspacing=1.0,
        handlelength=2.0,
    )


def bounds(metric: Metric) -> tuple[float, float]:
    """Return between what a metric is, as printed: 0 and 100 for one in per cent."""
    return (0.0, 100.0) if metric.scale == 100 else (-math.inf, math.inf)


ROUNDING = 1e-6
"""Of a metric: scores that differ by less are equal, and an axis of them would show noise."""
ROOM = 0.01
"""Of a metric, on both sides of equal scores."""


def end_axis(axes: Axes, metric: Metric) -> None:
    """End the y-axis, whose limits are fixed, where the metric does; room for labels is beyond."""
    least, most = bounds(metric)
    bottom, top = axes.get_ylim()
    if top - bottom < ROUNDING * metric.scale:
        bottom, top = axes.set_ylim(bottom - ROOM * metric.scale, top + ROOM * metric.scale)
    low, high = max(bottom, least), min(top, most)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.spines["left"].set_bounds(low, high)


def settle(figure: Figure) -> None:
    """Lay a figure out, once: the axes move no more, so labels can be placed and files written."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)  # not "none", by which every file would be laid out again


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, the same bytes for the same figure; return the paths."""
    anonymous: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    paths = [stem.with_suffix(suffix) for suffix in anonymous]
    with styled():
        for path in paths:
            figure.savefig(path, metadata=anonymous[path.suffix])
    return paths


def save_pages(figures: Sequence[Figure], stem: Path) -> list[Path]:
    """Write figures as "stem", or "stem_1", "stem_2", ... where there are several."""
    if len(figures) == 1:
        return save(figures[0], stem)
    return [
        path
        for number, figure in enumerate(figures, start=1)
        for path in save(figure, stem.with_name(f"{stem.name}_{number}"))
    ]
