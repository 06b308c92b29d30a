"""The sequential paired test against SciPy's t test and simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweep.orchestration.sequential import SequentialTest, nominal_level

RUNS = 20_000


def first_crossings(differences: np.ndarray, alpha: float, least: int) -> np.ndarray:
    """Return the look (from 1) at which each row of differences is found not to be zero, or 0."""
    runs, most = differences.shape
    level = nominal_level(alpha, least, most)
    found = np.zeros(runs, dtype=int)
    for n in range(least, most + 1):
        part = stats.ttest_1samp(differences[:, :n], 0, axis=1)
        found[(found == 0) & (part.pvalue < level)] = n
    return found


@pytest.mark.parametrize(("alpha", "least", "most"), [(0.05, 3, 10), (0.01, 2, 5), (0.1, 4, 8)])
def test_all_looks_together_err_as_often_as_promised(alpha: float, least: int, most: int) -> None:
    differences = np.random.RandomState(7).normal(0, 3.0, (RUNS, most))  # a Mersenne Twister
    rate = np.mean(first_crossings(differences, alpha, least) > 0)
    assert abs(rate - alpha) < 3 * math.sqrt(alpha * (1 - alpha) / RUNS)


def test_the_decisions_are_those_of_the_looks() -> None:
    differences = np.random.RandomState(3).normal(0.8, 1.0, (300, 8))
    test = SequentialTest(alpha=0.1, min_seeds=3, max_seeds=8)
    for row, crossed in zip(differences, first_crossings(differences, 0.1, 3), strict=True):
        decision = test.decide(row.tolist())
        assert (decision.n, decision.verdict in ("better", "worse")) == (crossed or 8, crossed > 0)
        assert decision.mean == pytest.approx(row[: decision.n].mean())


def test_a_large_effect_is_found_and_early() -> None:
    differences = np.random.RandomState(5).normal(2.0, 1.0, (2_000, 10))
    found = first_crossings(differences, 0.05, 3)
    assert np.mean(found > 0) > 0.98
    assert np.mean(found) < 7


def test_the_intervals_hold_the_true_difference_whenever_one_stops() -> None:
    truth = 0.6
    test = SequentialTest(min_seeds=3, max_seeds=6)
    held = 0
    for row in np.random.RandomState(11).normal(truth, 1.0, (4_000, 6)):
        interval = test.decide(row.tolist()).interval
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    # Stopping is one of the looks, so it misses no more often than any of them.
    assert held / 4_000 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 4_000)


@pytest.mark.parametrize("shift", [-1.5, -0.4, 0.3, 0.6, 1.0, 1.5])
def test_a_single_look_is_the_paired_t_test(shift: float) -> None:
    generator = np.random.RandomState(2)
    baseline = generator.normal(90, 1, 5)
    module = baseline + generator.normal(shift, 0.8, 5)
    peer = stats.ttest_rel(module, baseline)
    decision = SequentialTest(min_seeds=5, max_seeds=5).decide((module - baseline).tolist())
    limits = peer.confidence_interval(0.95)
    assert decision.interval == pytest.approx((limits.low, limits.high), rel=1e-10)
    assert (decision.verdict in ("better", "worse")) == (peer.pvalue < 0.05)
    assert decision.verdict != "worse" or shift < 0


def test_more_looks_need_clearer_answers() -> None:
    assert nominal_level(0.05, 4, 4) == 0.05
    levels = [nominal_level(0.05, 4, most) for most in range(4, 13)]
    assert levels == sorted(levels, reverse=True)
    assert all(0.05 / (most - 3) <= level for most, level in zip(range(4, 13), levels, strict=True))
    earlier = [nominal_level(0.05, least, 12) for least in range(2, 13)]
    assert earlier == sorted(earlier)


def test_many_seeds_come_near_the_published_boundary() -> None:
    # Pocock (1977), table 1: five looks at alpha 0.05 have the nominal level 0.0158 where the
    # groups are equal and the variance is known. Looks at 40, 50, ... overlap more; so a bound.
    assert nominal_level(0.05, 60, 64) > 0.0158


def decide(*differences: float | None, **settings: float) -> tuple[str, str]:
    decision = SequentialTest(**{"min_seeds": 3, "max_seeds": 5, **settings}).decide(differences)
    return decision.verdict, decision.text


def test_the_sentences() -> None:
    assert decide() == ("open", "open after 0 of 5 seeds; the first look is after 3")
    assert decide(1.0, 1.1) == ("open", "open after 2 of 5 seeds; the first look is after 3")
    verdict, text = decide(1.0, 1.1, 0.9)
    limits = r"after 3 of 5 seeds"
    assert verdict == "better"
    assert text.startswith("better by 1.00 points (0.")
    assert text.endswith(limits)
    verdict, text = decide(-1.0, -1.1, -0.9)
    assert verdict == "worse"
    assert text.startswith("worse by 1.00 points (0.")
    assert decide(0.1, -0.1, 0.0, margin=1)[1].startswith("equivalent within 1 points (-0.")
    assert decide(3.0, -1.0, 0.0)[1].startswith("open, at 0.67 points (-")
    verdict, text = decide(3.0, -1.0, 0.0, -2.0, 1.0)
    assert verdict == "undecided"
    assert text.endswith("after 5 of 5 seeds")


def test_a_small_clear_difference_within_the_margin_does_not_matter() -> None:
    assert decide(0.10, 0.11, 0.09)[0] == "better"
    assert decide(0.10, 0.11, 0.09, margin=0.5)[0] == "equivalent"


def test_only_seeds_without_a_gap_before_them_count() -> None:
    test = SequentialTest(min_seeds=3, max_seeds=5)
    decision = test.decide([1.0, 1.1, None, 0.9, 1.0])
    assert (decision.verdict, decision.n, decision.interval) == ("open", 2, None)
    assert decision.mean == pytest.approx(1.05)


def test_later_seeds_do_not_change_a_decision() -> None:
    test = SequentialTest(min_seeds=3, max_seeds=5)
    clear = [1.0, 1.1, 0.9]
    assert test.decide([*clear, -50.0, 70.0]) == test.decide(clear)
    open_ones = [3.0, -1.0, 0.0, -2.0, 1.0]
    assert test.decide([*open_ones, 100.0]) == test.decide(open_ones)


def test_differences_without_noise_show_nothing_but_equality() -> None:
    assert decide(0, 0, 0) == (
        "open",
        "open, at 0.00 points (0.00 to 0.00) after 3 of 5 seeds; all differences are equal, and "
        "equal ones show no noise to judge them by",
    )
    assert decide(0, 0, 0, 0, 0)[0] == "undecided"
    assert decide(0, 0, 0, margin=0.1)[0] == "open"
    assert decide(0, 0, 0, 0, 0, margin=0.1)[0] == "equivalent"
    # Of counts of images, several equal differences are chance; so is their rounding.
    rounded = (0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6)
    assert len(set(rounded)) > 1
    assert decide(*rounded)[0] == "open"
    assert decide(*rounded, margin=0.2)[0] == "open"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_difference_is_a_finite_number(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"a difference \(=-?(nan|inf)\) must be a finite number"):
        SequentialTest().decide([0.1, wrong, 0.2])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"alpha": 0.0}, r"alpha \(=0.0\) must lie from 0.001 to 0.5"),
        ({"alpha": math.nan}, r"alpha \(=nan\) must lie from 0.001 to 0.5"),
        ({"margin": 0.0}, r"margin \(=0.0\) must be a number above 0"),
        ({"margin": math.nan}, r"margin \(=nan\) must be a number above 0"),
        ({"min_seeds": 1}, r"min_seeds \(=1\) must be at least 2"),
        ({"min_seeds": 4, "max_seeds": 3}, r"max_seeds \(=3\) must not be below min_seeds \(=4\)"),
    ],
)
def test_settings_that_make_no_test(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SequentialTest(**settings)
