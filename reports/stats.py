"""Statistics of plain numbers over seeds: means and their intervals, and tests of differences.

Seeds are few, and their scores are counts over a test split: what has no spread, or too few values,
has no interval and no p-value here, where a formula would claim certainty.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ncfdtr, poch, stdtr, stdtrit

CONFIDENCE = 0.95
"""Of every interval."""
LEVEL = 0.05
"""A corrected p-value below it shows a difference."""
POWER = 0.8
"""Probability with which the seeds that are needed show the difference."""
MOST_SEEDS = 1000
"""That are looked at; what needs more needs another question."""
RESAMPLES = 1999
"""With one more, a tail of 2.5 % is a whole number of them."""
FEWEST_RESAMPLED = 5
"""Values: of fewer, too many resamples are all one value."""


@dataclass(frozen=True)
class Interval:
    """Of a mean, at ``CONFIDENCE``."""

    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """Values over seeds; ``spread`` makes it."""

    n: int
    mean: float
    std: float | None
    """Of the sample (n - 1); None for n = 1, which shows no spread."""
    low: float
    high: float
    values: tuple[float, ...] = field(repr=False)

    @cached_property
    def interval(self) -> Interval | None:
        """Student's t interval of the mean.

        None for one value, and for equal ones: that few seeds agree is chance, and an interval of
        no width would call it certain.
        """
        if not self.std:
            return None
        reach = stdtrit(self.n - 1, (1 + CONFIDENCE) / 2) * self.std / math.sqrt(self.n)
        return Interval(float(self.mean - reach), float(self.mean + reach))

    @cached_property
    def bootstrap(self) -> Interval | None:
        """Studentized bootstrap ("bootstrap-t") interval of the mean; the same at every call.

        From five values on it holds the true mean of normal ones in 95 of 100 cases; percentile and
        BCa intervals do in 74 to 85 with three to five values, and in 92 with twenty. None for
        fewer, for equal ones, and where resamples of one single value reach into a tail: their t is
        infinite (A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997,
        sections 2.4 and 5.2).
        """
        if self.n < FEWEST_RESAMPLED or not self.std:
            return None
        t = np.sort(_resampled_t(np.array(self.values), self.mean))
        tail = round((1 - CONFIDENCE) / 2 * (RESAMPLES + 1))
        error = self.std / math.sqrt(self.n)
        low, high = (float(self.mean - quantile * error) for quantile in (t[-tail], t[tail - 1]))
        return Interval(low, high) if math.isfinite(high - low) else None


def spread(values: Sequence[float]) -> Spread:
    """Return mean, sample standard deviation and range of at least one value."""
    n, mean, low, high = len(values), statistics.fmean(values), min(values), max(values)
    std = math.dist(values, [mean] * n) / math.sqrt(n - 1) if n > 1 else None
    equal = n > 1 and low == high  # the mean of equal values is rounded
    return Spread(n, mean, 0.0 if equal else std, low, high, tuple(values))


def paired_p(differences: Spread) -> float | None:
    """Return the p-value of the two-sided paired t-test; None where the interval is."""
    if not differences.std:
        return None
    t = differences.mean / (differences.std / math.sqrt(differences.n))
    return float(2 * stdtr(differences.n - 1, -abs(t)))


def effect_size(differences: Spread) -> float | None:
    """Return mean over standard deviation of paired differences (Cohen's d_z), without its bias.

    Of few values the quotient is too large; the factor that corrects it is exact for normal ones.
    None for less than three, where no factor does, and for equal ones (L. V. Hedges, Distribution
    theory for Glass's estimator of effect size, J. Educ. Stat. 6, 1981, equation 6e).
    """
    freedom = differences.n - 1
    if freedom < 2 or not differences.std:
        return None
    correction = poch((freedom - 1) / 2, 0.5) / math.sqrt(freedom / 2)
    return float(correction * differences.mean / differences.std)


def improvement(
    values: Sequence[float], others: Sequence[float], mode: Literal["max", "min"]
) -> float | None:
    """Return the probability that a run of the values is better than a run of the others.

    The share of all pairs, seeds as they come, in which it is; equal pairs count half. That is U of
    Mann and Whitney over the number of pairs (R. Agarwal et al., Deep Reinforcement Learning at the
    Edge of the Statistical Precipice, NeurIPS 2021, section 4.3). None where either is a single
    run: one pair says 0 or 1.
    """
    if min(len(values), len(others)) < 2:
        return None
    sign = 1 if mode == "max" else -1
    above = np.sign(np.subtract.outer(values, others)).mean()
    return float((1 + sign * above) / 2)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for each other by Holm's step-down method; what is None stays so.

    The probability of calling any true equality a difference is at most ``LEVEL``, however the
    tests depend on each other (S. Holm, A simple sequentially rejective multiple test procedure,
    Scand. J. Stat. 6, 1979). statsmodels' multipletests says the same, and collects all garbage of
    the process at every call.
    """
    known = np.array([p for p in ps if p is not None])
    order = np.argsort(known)
    stepped = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
    corrected = np.empty(len(known))
    corrected[order] = np.minimum(stepped, 1)
    remaining = iter(corrected.tolist())
    return [None if p is None else next(remaining) for p in ps]


def seeds_needed(differences: Spread, level: float) -> int | None:
    """Return how many seeds a two-sided paired t-test needs to show a difference as observed.

    It shows it with probability ``POWER`` if the true mean and standard deviation are the observed
    ones, which few seeds know badly. statsmodels' TTestPower says the same where it knows the
    noncentral t; far in a tail it does not (4 seeds for 8, at d = 4 and a level of 0.05 / 700).

    Args:
        differences: paired.
        level: of the test.

    Returns:
        At least 2; ``MOST_SEEDS`` + 1 stands for more than ``MOST_SEEDS``. None where the mean is
        zero, which no number of seeds tells from zero, or where there is no spread.
    """
    if not differences.std or not differences.mean:
        return None
    effect = abs(differences.mean) / differences.std
    return bisect_left(range(MOST_SEEDS + 1), POWER, lo=2, key=lambda n: _power(effect, n, level))


def _power(effect: float, n: int, level: float) -> float:
    """Return the probability that a two-sided paired t-test shows an effect: t² is noncentral F.

    scipy's noncentral t is no number in a tail; its noncentral F is none only where this is 1, and
    so is not below ``POWER`` either.
    """
    critical = stdtrit(n - 1, 1 - level / 2)
    return float(1 - ncfdtr(1, n - 1, n * effect**2, critical**2))


def _resampled_t(values: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Return t (RESAMPLES,) of resamples; infinite where all that was drawn is one value."""
    drawn = values[_resamples(len(values))]  # (RESAMPLES, n)
    away = drawn.mean(axis=1) - mean
    error = drawn.std(axis=1, ddof=1) / math.sqrt(len(values))
    t: NDArray[np.float64] = np.copysign(np.inf, away)
    np.divide(away, error, out=t, where=np.ptp(drawn, axis=1) > 0)
    return t


@lru_cache(maxsize=8)
def _resamples(n: int) -> NDArray[np.int64]:
    """Return (RESAMPLES, n): places of the values that each resample draws."""
    return np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
