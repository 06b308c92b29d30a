"""Whether a module beats its baseline, asked after every seed, and answered as soon as it is clear.

The test is the paired t test of the differences seed by seed. Looking at it after every seed gives
chance as many tries, so each look has a nominal level below ``alpha``: the same for all (S. J.
Pocock, Group sequential methods in the design and analysis of clinical trials, Biometrika 64,
1977), chosen so that all looks together find a difference where there is none with probability
``alpha``. Pocock's table holds for a known variance; few seeds show little of theirs, so the level
is found by simulating t statistics. The intervals at that level are repeated confidence intervals:
all of them together hold the true difference with probability 1 - ``alpha``, whenever one stops
(C. Jennison, B. W. Turnbull, Group Sequential Methods with Applications to Clinical Trials, 2000,
sections 2.4 and 9.2).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

Verdict = Literal["better", "worse", "equivalent", "open", "undecided"]

PATHS = 200_000
"""Simulated sequences of differences; the error of ``alpha`` = 0.05 is 0.0005."""
LEAST_ALPHA = 0.001
"""So many paths tell no smaller one."""
ROUNDING = 1e-9
"""Relative to the differences, the largest spread that is taken for rounding."""


@dataclass(frozen=True)
class Decision:
    """What the first seeds say of a module; differences are positive where it is better."""

    verdict: Verdict
    """"open" asks for another seed, "undecided" has had the last one."""
    n: int
    """Seeds that the verdict is of."""
    mean: float | None
    """Of the differences; None without a seed."""
    interval: tuple[float, float] | None
    """Repeated confidence interval of the difference; None before the first look."""
    text: str
    """All of this in a sentence."""


@dataclass(frozen=True, kw_only=True)
class SequentialTest:
    """A paired test that is looked at after every seed from ``min_seeds`` to ``max_seeds``.

    Raises:
        ValueError: a setting that makes no test; the text names it.
    """

    alpha: float = 0.05
    """Probability, over all looks, of telling apart what is equal (two-sided)."""
    margin: float | None = None
    """Difference in points that does not matter; an interval within it is an answer too."""
    min_seeds: int = 3
    max_seeds: int = 10

    def __post_init__(self) -> None:
        if not LEAST_ALPHA <= self.alpha <= 0.5:
            raise ValueError(f"alpha (={self.alpha}) must lie from {LEAST_ALPHA} to 0.5")
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ValueError(f"margin (={self.margin}) must be a number above 0")
        if self.min_seeds < 2:
            raise ValueError(f"min_seeds (={self.min_seeds}) must be at least 2: one has no spread")
        if self.max_seeds < self.min_seeds:
            raise ValueError(
                f"max_seeds (={self.max_seeds}) must not be below min_seeds (={self.min_seeds})"
            )

    def decide(self, differences: Sequence[float | None]) -> Decision:
        """Return the decision of the first look that gives an answer, else of the last one.

        Seeds after that do not change it, nor do seeds that overtook an unfinished one.

        Args:
            differences: module minus baseline in the metric's points, seed by seed in the order of
                the seeds; None where one of the two is not finished. Where less is better, their
                negatives.

        Raises:
            ValueError: a difference is infinite or no number.
        """
        whole = list(itertools.takewhile(lambda d: d is not None, differences))
        known = [float(d) for d in whole if d is not None][: self.max_seeds]
        if wrong := [d for d in known if not math.isfinite(d)]:
            raise ValueError(f"a difference (={wrong[0]}) must be a finite number")
        if len(known) < self.min_seeds:
            return self._too_early(known)
        for n in range(self.min_seeds, len(known) + 1):
            decision = self._look(known[:n])
            if decision.verdict != "open":
                break
        return decision

    def _look(self, known: list[float]) -> Decision:
        n, mean, std = len(known), statistics.fmean(known), statistics.stdev(known)
        flat = std <= ROUNDING * max(map(abs, known))
        level = nominal_level(self.alpha, self.min_seeds, self.max_seeds)
        reach = 0.0 if flat else _critical(level, n) * std / math.sqrt(n)
        interval = (mean - reach, mean + reach)
        verdict = self._verdict(interval, n, flat)
        text = self._text(verdict, n, mean, interval)
        if flat and verdict in ("open", "undecided"):
            text += "; all differences are equal, and equal ones show no noise to judge them by"
        return Decision(verdict, n, mean, interval, text)

    def _verdict(self, interval: tuple[float, float], n: int, flat: bool) -> Verdict:
        """Return what an interval says; ``flat``: the seeds show no noise to compare with.

        Scores are counts: that a few differences are equal is chance, and no clear answer.
        """
        low, high = interval
        last = n == self.max_seeds
        if self.margin is not None and -self.margin < low and high < self.margin:
            if not flat or last:
                return "equivalent"
        elif not flat and (low > 0 or high < 0):
            return "better" if low > 0 else "worse"
        return "undecided" if last else "open"

    def _text(self, verdict: Verdict, n: int, mean: float, interval: tuple[float, float]) -> str:
        low, high = interval
        said = f"{verdict}, at {mean:z.2f} points ({low:z.2f} to {high:z.2f})"
        if verdict == "better":
            said = f"better by {mean:z.2f} points ({low:z.2f} to {high:z.2f})"
        elif verdict == "worse":
            said = f"worse by {-mean:z.2f} points ({-high:z.2f} to {-low:z.2f})"
        elif verdict == "equivalent":
            said = f"equivalent within {self.margin:g} points ({low:z.2f} to {high:z.2f})"
        return f"{said} after {n} of {self.max_seeds} seeds"

    def _too_early(self, known: list[float]) -> Decision:
        n = len(known)
        text = f"open after {n} of {self.max_seeds} seeds; the first look is after {self.min_seeds}"
        return Decision("open", n, statistics.fmean(known) if known else None, None, text)


@lru_cache
def nominal_level(alpha: float, min_seeds: int, max_seeds: int) -> float:
    """Return the two-sided level of every single look, for ``alpha`` over all of them.

    It is the ``alpha`` quantile of the smallest p value that a path without a difference shows.
    """
    if min_seeds == max_seeds:
        return alpha
    generator = np.random.Generator(np.random.PCG64(0))
    smallest = np.ones(PATHS)
    mean, squares = np.zeros(PATHS), np.zeros(PATHS)
    for n in range(1, max_seeds + 1):
        step = generator.standard_normal(PATHS) - mean
        mean += step / n
        squares += step * step * ((n - 1) / n)  # sum of squares about the mean (Welford)
        if n >= min_seeds:
            t = np.abs(mean) / np.sqrt(squares / (n - 1) / n)
            small = np.flatnonzero(t > _critical(alpha, n))  # others do not touch the quantile
            smallest[small] = np.minimum(smallest[small], 2 * stdtr(n - 1, -t[small]))
    return float(np.quantile(smallest, alpha))


def _critical(level: float, n: int) -> float:
    """Return the two-sided critical value of t over ``n`` differences."""
    return -float(stdtrit(n - 1, level / 2))
