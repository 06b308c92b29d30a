"""Statistics of plain numbers: means and their spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Values over seeds."""

    n: int
    mean: float
    std: float | None
    """Of the sample (n - 1); None for n = 1, which shows no spread."""
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return mean, sample standard deviation and range of at least one value."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), std, min(values), max(values))
