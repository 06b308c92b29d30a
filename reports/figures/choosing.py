"""Which configurations are drawn where there is no room for all: validation chooses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from reports.configs import ConfigRow
from sweep.tasks.base import Metric


def by_validation(configs: Iterable[ConfigRow], metric: Metric) -> list[ConfigRow]:
    """Return configurations from the best mean validation score; those without one come last."""
    sign = -1 if metric.mode == "max" else 1

    def place(config: ConfigRow) -> float:
        mean = _validation_mean(config, metric)
        return math.inf if mean is None else sign * mean

    return sorted(configs, key=place)


def _validation_mean(config: ConfigRow, metric: Metric) -> float | None:
    """Return the mean over finished trials of the best epoch's validation score."""
    scores = [
        score
        for trial in config.trials
        if trial.status == "done"
        and math.isfinite(score := trial.metrics.get(f"best_val_{metric.name}", math.nan))
    ]
    return statistics.fmean(scores) if scores else None
