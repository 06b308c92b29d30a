"""Which differences between configurations are beyond the noise of their seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.configs import ConfigRow
from sweep.tasks.base import Metric

CONFIDENCE = 0.95
"""That none of the differences beyond the noise is chance."""


@dataclass(frozen=True)
class Noise:
    """What the seeds of several configurations say about the noise of one trial."""

    std: float
    """Within configurations, pooled; it is taken to be the same for all."""
    freedom: int
    """Degrees of freedom of ``std``."""
    quantile: float
    """Of the studentized range, for all configurations at once."""

    def margin(self, n: int, other: int) -> float:
        """Return what two means over ``n`` and ``other`` seeds must differ by to show anything.

        It is Tukey and Kramer's: with probability ``CONFIDENCE`` no pair of equally good
        configurations of the group differs by more.
        """
        return self.quantile * self.std * math.sqrt((1 / n + 1 / other) / 2)


def noise(configs: Iterable[ConfigRow], metric: str) -> Noise | None:
    """Return the noise of one trial within a group; None where no seeds show any."""
    from scipy.stats import studentized_range

    spreads = [c.spreads[metric] for c in configs if metric in c.spreads]
    freedom = sum(s.n - 1 for s in spreads)
    squares = math.fsum((s.n - 1) * s.std**2 for s in spreads if s.std is not None)
    if len(spreads) < 2 or not squares:
        return None
    quantile = float(studentized_range.ppf(CONFIDENCE, len(spreads), freedom))
    return Noise(math.sqrt(squares / freedom), freedom, quantile)


def leader(configs: Iterable[ConfigRow], metric: Metric) -> ConfigRow | None:
    """Return the configuration of a group with the best mean, whatever the noise.

    Of equals it is the first, and so the baseline; sums over seeds differ in their last digit.
    """
    sign = 1 if metric.mode == "max" else -1
    measured = [c for c in configs if metric.name in c.spreads]
    return max(measured, key=lambda c: sign * round(c.spreads[metric.name].mean, 12), default=None)


def best_beyond_noise(configs: Sequence[ConfigRow], metric: Metric) -> ConfigRow | None:
    """Return the leader of a group if it beats every other one by more than the noise."""
    best, level = leader(configs, metric), noise(configs, metric.name)
    if best is None or level is None:
        return None
    own = best.spreads[metric.name]
    others = [c.spreads[metric.name] for c in configs if c is not best and metric.name in c.spreads]
    beaten = all(abs(own.mean - other.mean) > level.margin(own.n, other.n) for other in others)
    return best if beaten else None
