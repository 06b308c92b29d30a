"""How numbers are printed: decimals, signs, units."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reports.stats import LEVEL, MOST_SEEDS, Interval, Spread
from reports.tables.base import MISSING, Cell, Mark
from sweep.tasks.base import Metric

GIGA_FROM = 1e9
"""MACs from which a table counts in G."""


def with_minus(text: str) -> str:
    """Return text with the sign of minus, and not a hyphen, before numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def metric_name(metric: Metric) -> str:
    """Return a metric's name without its unit ("Top-1")."""
    return metric.label.partition(" (")[0]


def unit(metric: Metric) -> str:
    """Return the unit of a metric's values ("%"); empty if it has none."""
    return metric.label.partition(" (")[2].removesuffix(")")


def unit_of_change(metric: Metric) -> str:
    """Return the unit of a difference of a metric's values ("points")."""
    return "points" if unit(metric) == "%" else unit(metric)


def decimals(metric: Metric) -> int:
    """Return how many decimals of a metric are printed: two of per cent, as in the papers."""
    return 2 if metric.scale == 100 else 4


def number(value: float, metric: Metric, sign: str = "") -> str:
    """Return a stored value as printed, scaled."""
    return f"{value * metric.scale:{sign}.{decimals(metric)}f}"


def amount(value: float, metric: Metric, sign: str = "") -> str:
    """Return a difference with its unit ("0.42 points")."""
    return f"{number(value, metric, sign)} {unit_of_change(metric)}".rstrip()


def spread_text(spread: Spread | None, metric: Metric, sign: str = "") -> str:
    """Return "mean ± std (n)"; without ± for one seed, which shows no spread."""
    if spread is None:
        return MISSING
    spread_part = f" ± {number(spread.std, metric)}" if spread.std is not None else ""
    return f"{number(spread.mean, metric, sign)}{spread_part} ({spread.n})"


def interval_text(interval: Interval | None, metric: Metric, sign: str = "") -> str:
    """Return "low to high"."""
    if interval is None:
        return MISSING
    return f"{number(interval.low, metric, sign)} to {number(interval.high, metric, sign)}"


def probability_text(p: float | None) -> str:
    """Return a p-value, or a probability, of as many decimals as mean anything."""
    if p is None:
        return MISSING
    if p < 0.001:
        return "<0.001"
    near = f"{p:.3f}" == f"{LEVEL:.3f}"  # on which side of it, the next decimal says
    return f"{p:.4f}" if near else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """Return a p-value as a sentence has it ("p = 0.01", "p < 0.001")."""
    text = probability_text(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def spread_cell(
    spread: Spread | None,
    metric: Metric,
    runs: tuple[str, ...],
    *,
    sign: str = "",
    mark: Mark = "",
) -> Cell:
    """Return the cell of a spread; it is sorted by its mean."""
    if spread is None:
        return Cell(text=MISSING)
    std = number(spread.std, metric) if spread.std is not None else ""
    return Cell(
        text=spread_text(spread, metric, sign),
        parts=(number(spread.mean, metric, sign), std, str(spread.n)),
        sort=spread.mean * metric.scale,
        mark=mark,
        runs=runs,
    )


def seeds_text(seeds: int) -> str:
    """Return a number of seeds that are needed ("about 9", "more than 1,000")."""
    return f"about {seeds}" if seeds <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"


def in_giga(macs: Iterable[int | None]) -> bool:
    """Tell whether a table counts MACs in G, and not in M."""
    return max((count or 0 for count in macs), default=0) >= GIGA_FROM


def scaled(value: float | None, by: float, decimals: int, runs: tuple[str, ...] = ()) -> Cell:
    """Return the cell of a number that is printed in units of ``by``."""
    if value is None:
        return Cell(text=MISSING)
    return Cell(text=f"{value / by:.{decimals}f}", sort=value / by, runs=runs)
