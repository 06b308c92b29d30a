"""Heat maps: the mean score at every pair of values of two hyperparameters.

Every cell says its mean and how many trials it is of; the colour only helps to find one. A cell
that no trial is in stays empty.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from reports.effects import Grid
from reports.figures.style import PAPER, pages, panels, settle, styled
from reports.printed import number
from reports.rows import StudyRows
from sweep.tasks.base import Metric

COLUMNS, ROWS = 3, 4
"""Panels side by side, and one below the other, at most."""
HEIGHT = 2.0
"""Inches of a row of panels."""
MAP = colormaps["cividis"]
"""Perceptually uniform, and the same for colour-blind readers."""
DARK_TEXT, LIGHT_TEXT = "#000000", "#fefefe"
"""Not those of a page, which may replace its own: cells have one colour by day and night."""
LIGHT = 0.179
"""Relative luminance above which black text is the easier to read (WCAG 2)."""
TOGETHER = "as no value of either has results at two values of the other"
TITLE = 30
"""Characters of a line of a panel's title."""


def heat_maps(rows: StudyRows, grids: Sequence[Grid]) -> tuple[Figure, ...]:
    """Return the figures of a study; none without a grid that has two scores to compare.

    Two of a row or of a column are, where one value alone differs. In a grid without such a pair
    both values change together, as those of presets do. The panels of a group share their colours.
    """
    metric = rows.compared
    shown = [grid for grid in grids if _compares(grid)]
    norms = {
        group: _norm([grid for grid in shown if grid.group == group])
        for group in {grid.group for grid in shown}
    }
    with styled():
        return tuple(_page(page, norms, metric) for page in pages(shown, COLUMNS * ROWS))


def caption(rows: StudyRows, grids: Sequence[Grid]) -> str:
    """Return what the figure shows, and which pairs of hyperparameters it leaves out."""
    left_out = [
        f"{' with '.join(grid.factors)} ({grid.group}, {grid.module})"
        for grid in grids
        if not _compares(grid)
    ]
    return (
        f"Mean test {rows.compared.label} at every pair of values of two hyperparameters, over "
        "whatever else varies, with the number of trials in brackets. The colours of a backbone "
        "are on one scale; an empty cell has no result."
        + (f" Left out, {TOGETHER}: {'; '.join(left_out)}." if left_out else "")
    )


def text_colour(red: float, green: float, blue: float) -> str:
    """Return the colour of text that is read best on a colour, by WCAG's relative luminance.

    Args:
        red: in [0, 1], of sRGB, as the others.
        green: likewise.
        blue: likewise.
    """
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return DARK_TEXT if luminance > LIGHT else LIGHT_TEXT


def _compares(grid: Grid) -> bool:
    """Return whether a row or a column has two scores."""
    filled = np.isfinite(grid.mean)
    return any((filled.sum(axis=axis) > 1).any() for axis in (0, 1))


def _norm(grids: Sequence[Grid]) -> Normalize:
    means = np.concatenate([grid.mean.ravel() for grid in grids])
    return Normalize(np.nanmin(means), np.nanmax(means))


def _page(grids: Sequence[Grid], norms: dict[str, Normalize], metric: Metric) -> Figure:
    figure, axes = panels(len(grids), COLUMNS, HEIGHT)
    for place, grid in zip(axes, grids, strict=True):
        _draw(place, grid, norms[grid.group], metric)
    settle(figure)
    return figure


def _draw(axes: Axes, grid: Grid, norm: Normalize, metric: Metric) -> None:
    title = f"{grid.group}, {grid.module}"
    axes.set_title(textwrap.fill(title, TITLE), loc="left", fontsize=7.5)
    down, across = (
        [level.replace("in_channels", "C") for level in levels] for levels in grid.levels
    )
    axes.set_ylabel(grid.factors[0])
    axes.set_xlabel(grid.factors[1])
    axes.set_yticks(range(len(down)), down)
    axes.set_xticks(range(len(across)), across)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    edges = [np.arange(len(levels) + 1) - 0.5 for levels in (across, down)]
    axes.pcolormesh(*edges, grid.mean, cmap=MAP, norm=norm, edgecolor=PAPER, linewidth=1)
    axes.invert_yaxis()
    for (row, column), mean in np.ndenumerate(grid.mean):
        if np.isfinite(mean):
            words = f"{number(mean, metric)}\n({grid.n[row, column]})"
            colour = text_colour(*MAP(norm(mean))[:3])
            axes.text(column, row, words, color=colour, ha="center", va="center", fontsize=7)
