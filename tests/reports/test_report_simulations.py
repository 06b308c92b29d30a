"""What the statistics promise, checked on studies whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from reports.comparisons import against_baseline, standings
from reports.configs import ConfigRow, config_rows
from reports.rows import StudyRows, TrialRow
from reports.stats import LEVEL, paired_p, seeds_needed, spread
from sweep.tasks.base import Metric

TOP1 = Metric("top1", "Top-1 (%)", "max", scale=100)
Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_intervals_hold_the_mean_as_often_as_they_say(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.42, 0.19, size=(2000, n))
    intervals = [spread(sample).interval for sample in samples.tolist()]
    held = [i is not None and i.low < 0.42 < i.high for i in intervals]
    assert 0.93 < np.mean(held) < 0.97


@pytest.mark.parametrize("n", [5, 10])
def test_bootstrap_intervals_hold_the_mean_as_often_as_they_say(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.42, 0.19, size=(2000, n))
    intervals = [spread(sample).bootstrap for sample in samples.tolist()]
    held = [i is not None and i.low < 0.42 < i.high for i in intervals]
    assert 0.93 < np.mean(held) < 0.97


@pytest.mark.parametrize(("effect", "level"), [(0.5, LEVEL), (1.0, LEVEL / 12), (3.0, LEVEL / 66)])
def test_the_seeds_that_are_needed_suffice_four_times_of_five(effect: float, level: float) -> None:
    n = seeds_needed(spread([effect - 1, effect, effect + 1]), level)
    assert n is not None
    generator = np.random.default_rng(0)
    for seeds, least, most in ((n, 0.78, 0.9), (n - 1, 0.4, 0.82)):
        samples = generator.normal(effect, 1, size=(2000, seeds)).tolist()
        shown = np.mean([(paired_p(spread(sample)) or 1) < level for sample in samples])
        assert least < shown < most


@dataclass
class Claims:
    """Studies in which something was claimed."""

    against_baseline: int = 0
    of_the_choice: int = 0
    best: int = 0


@pytest.fixture(scope="module")
def claims(trial: Make, study: Study) -> Callable[..., Claims]:
    """Studies of modules that all equal their baseline, so that every claim is false.

    A trained model that is lucky is so on both splits: ``luck`` is the share of that in the
    variance. The rest is the splits' own.
    """

    def count(modules: int, seeds: int, studies: int, luck: float) -> Claims:
        generator, found = np.random.default_rng(seeds), Claims()
        shape = (studies, 1 + modules, seeds)
        lucky = generator.normal(0.9, 0.01 * luck**0.5, size=shape)
        own = 0.01 * (1 - luck) ** 0.5
        test, validation = (lucky + generator.normal(0, own, size=shape) for _ in range(2))
        for scores in np.stack([test, validation], axis=-1).tolist():
            configs = simulated(scores)
            shown = [c for c in against_baseline(configs, TOP1) if c.is_shown]
            (standing,) = standings(configs, TOP1).values()
            chosen_among = [c for c in standing.contrasts if c.config.baseline is not c.other]
            found.against_baseline += bool(shown)
            found.of_the_choice += any(c.is_shown for c in chosen_among)
            found.best += standing.best is not None
        return found

    def simulated(scores: list[list[list[float]]]) -> tuple[ConfigRow, ...]:
        trials = [
            trial(
                f"M-{number}" if number else "baseline",
                seed,
                metrics={"test_top1": test, "best_val_top1": validation},
            )
            for number, config in enumerate(scores)
            for seed, (test, validation) in enumerate(config)
        ]
        return config_rows(study(trials, metrics=(TOP1,)))

    return count


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_modules_are_seldom_told_apart(claims: Callable[..., Claims], seeds: int) -> None:
    """Of one family of comparisons: those with the baseline, and those with what was chosen."""
    found = claims(modules=12, seeds=seeds, studies=1000, luck=0.9)
    assert found.against_baseline < 1000 * LEVEL
    assert found.of_the_choice < 1000 * LEVEL
    assert found.best == 0


def test_one_of_two_equals_is_seldom_called_the_best(
    claims: Callable[..., Claims],
) -> None:
    found = claims(modules=1, seeds=5, studies=2000, luck=0.5)
    assert 2000 * LEVEL / 4 < found.best < 2000 * LEVEL
