from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from reports.configs import ConfigRow, by_group, config_rows
from reports.rows import StudyRows, TrialRow
from reports.stats import (
    MOST_SEEDS,
    Spread,
    effect_size,
    holm,
    improvement,
    paired_p,
    seeds_needed,
    spread,
)

VALUES = [0.91, 0.94, 0.90, 0.97, 0.92]

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


def _configs(study: Study, trials: list[TrialRow]) -> dict[str, ConfigRow]:
    return {config.name: config for config in config_rows(study(trials))}


def test_spread_is_the_sample_s() -> None:
    values = [0.91, 0.94, 0.90, 0.97]
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert (found.n, found.low, found.high) == (4, 0.90, 0.97)


def test_one_value_shows_no_spread() -> None:
    assert spread([0.5]).std is None


def test_the_interval_is_students() -> None:
    found = spread(VALUES).interval
    assert found is not None
    expected = stats.t.interval(0.95, 4, np.mean(VALUES), stats.sem(VALUES))
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_bootstrap_interval_is_studentized() -> None:
    """Against a loop with other random numbers, and more of them."""
    found, draw, t = spread(VALUES).bootstrap, random.Random(1), []
    assert found is not None
    while len(t) < 40_000:
        drawn = draw.choices(VALUES, k=5)
        away = statistics.fmean(drawn) - statistics.fmean(VALUES)
        if len(set(drawn)) > 1:
            t.append(away / (statistics.stdev(drawn) / math.sqrt(5)))
    low, high = np.quantile(t, [0.025, 0.975])
    error = statistics.stdev(VALUES) / math.sqrt(5)
    # Five values have 126 resamples, so quantiles move in steps.
    assert found.low == pytest.approx(statistics.fmean(VALUES) - high * error, abs=0.2 * error)
    assert found.high == pytest.approx(statistics.fmean(VALUES) - low * error, abs=0.2 * error)
    assert spread(VALUES).bootstrap == found


@pytest.mark.parametrize(
    ("values", "t", "bootstrap"),
    [
        ([0.5], False, False),
        ([0.5] * 10, False, False),
        ([0.1, 0.2, 0.3, 0.4], True, False),
        ([0.5, 0.5, 0.5, 0.5, 0.6], True, False),  # a third of the resamples is 0.5 only
        ([0.1, 0.2, 0.3, 0.4, 0.5], True, True),
    ],
)
def test_no_interval_claims_certainty(values: list[float], t: bool, bootstrap: bool) -> None:
    found = spread(values)
    assert (found.interval is not None, found.bootstrap is not None) == (t, bootstrap)


def test_p_is_of_the_paired_t_test() -> None:
    others = [0.90, 0.91, 0.95, 0.93, 0.90]
    differences = spread([a - b for a, b in zip(VALUES, others, strict=True)])
    assert paired_p(differences) == pytest.approx(stats.ttest_rel(VALUES, others).pvalue)
    assert paired_p(spread([0.1])) is None
    assert paired_p(spread([0.1, 0.1, 0.1])) is None


def test_the_effect_size_is_corrected_as_hedges_did() -> None:
    # The factors by hand: gamma(1) / gamma(1/2) and gamma(2) / (sqrt(2) gamma(3/2)).
    assert effect_size(spread([1, 2, 3])) == pytest.approx(2 / math.sqrt(math.pi))
    d = -3 / math.sqrt(2.5)
    expected = d * math.sqrt(2 / math.pi)
    assert effect_size(spread([-1, -2, -3, -4, -5])) == pytest.approx(expected)
    assert effect_size(spread([1, 2])) is None
    assert effect_size(spread([1, 1, 1])) is None


def test_improvement_is_mann_and_whitneys_u() -> None:
    own, others = [0.91, 0.93, 0.93, 0.97], [0.90, 0.93, 0.95]
    u = stats.mannwhitneyu(own, others).statistic
    assert improvement(own, others, "max") == pytest.approx(u / 12)
    assert improvement(own, others, "min") == pytest.approx(1 - u / 12)
    assert improvement([2, 3], [1, 3], "max") == (1 + 0 + 1 + 0.5) / 4
    assert improvement([0.9], [0.1, 0.2], "max") is None


def test_holms_correction() -> None:
    by_hand = [0.03, 0.06, 0.06, None, 0.02]
    assert holm([0.01, 0.04, 0.03, None, 0.005]) == [p and pytest.approx(p) for p in by_hand]
    assert holm([None, 0.04]) == [None, 0.04]
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([None]) == [None]
    ps = np.random.default_rng(0).beta(0.3, 3, size=40)
    assert holm(ps.tolist()) == pytest.approx(multipletests(ps, method="holm")[1])


def test_seeds_needed_are_those_of_the_power_analysis() -> None:
    # Cohen's tables and G*Power: 34 pairs for d = 0.5, 15 for d = 0.8, two-sided, 0.05, 0.8.
    assert seeds_needed(_with_effect(0.5), 0.05) == 34
    assert seeds_needed(_with_effect(-0.8), 0.05) == 15
    for effect, level in ((0.3, 0.05), (1.0, 0.05 / 12), (2.0, 0.05 / 12), (0.2, 0.01)):
        exact = TTestPower().solve_power(effect, alpha=level, power=0.8)
        assert seeds_needed(_with_effect(effect), level) == math.ceil(exact)
    assert seeds_needed(_with_effect(0.001), 0.05) == MOST_SEEDS + 1
    assert seeds_needed(_with_effect(1e6), 0.05) == 2
    assert seeds_needed(spread([-1, 0, 1]), 0.05) is None
    assert seeds_needed(spread([1, 1]), 0.05) is None
    assert seeds_needed(spread([1]), 0.05) is None


def _with_effect(d: float) -> Spread:
    """Three differences with standard deviation 1 and mean d."""
    return spread([d - 1, d, d + 1])


def test_differences_that_only_rounding_tells_apart_are_equal(trial: Make, study: Study) -> None:
    """0.9 - 0.8 is not 0.5 - 0.4 in floating point."""
    trials = [trial("baseline", s, v) for s, v in enumerate((0.8, 0.4, 0.1))]
    trials += [trial("ELA", s, v) for s, v in enumerate((0.9, 0.5, 0.2))]
    assert _configs(study, trials)["ELA"].differences["top1"].std == 0


def test_validation_scores_are_a_column_of_their_own(trial: Make, study: Study) -> None:
    scores = [{"test_top1": 0.7, "best_val_top1": v} for v in (0.8, 0.6, math.nan)]
    config = _configs(study, [trial("ELA", s, metrics=m) for s, m in enumerate(scores)])["ELA"]
    assert config.spreads["top1"].n == 3
    assert (config.validation["top1"].n, config.validation["top1"].mean) == (2, pytest.approx(0.7))
    assert "loss" not in config.validation


def test_differences_are_paired_by_seed(trial: Make, study: Study) -> None:
    trials = [trial("baseline", s, v) for s, v in ((0, 0.90), (1, 0.80), (3, 0.10))]
    trials += [trial("ELA", s, v) for s, v in ((0, 0.92), (1, 0.83), (2, 0.99))]
    found = _configs(study, trials)["ELA"].differences["top1"]
    assert (found.n, found.mean) == (2, pytest.approx(0.025))
    assert found.std == pytest.approx(math.sqrt(2) * 0.005)


def test_the_baseline_is_the_one_of_the_same_backbone(trial: Make, study: Study) -> None:
    trials = [trial("baseline", 0, 0.5), trial("ELA", 0, 0.6)]
    trials += [trial("baseline", 0, 0.7, backbone="resnet50", params_true=25_000_000)]
    trials += [trial("ELA", 0, 0.75, backbone="resnet50", params_true=25_000_000)]
    groups = by_group(config_rows(study(trials)))
    assert list(groups) == ["ResNet-18", "ResNet-50"]
    assert groups["ResNet-50"][1].differences["top1"].mean == pytest.approx(0.05)


def test_placements_share_the_baseline_and_are_named(trial: Make, study: Study) -> None:
    trials = [trial("baseline", 0, 0.5), trial("ELA", 0, 0.6)]
    trials += [trial("ELA", 0, 0.7, placement="block_last_bn")]
    configs = _configs(study, trials)
    assert set(configs) == {"baseline", "ELA, stage3", "ELA, block_last_bn"}
    assert configs["ELA, block_last_bn"].differences["top1"].mean == pytest.approx(0.2)


def test_recipes_are_never_mixed(trial: Make, study: Study) -> None:
    other = {"task": "classification", "dataset": "digits", "recipe.epochs": "90"}
    trials = [trial("ELA", 0, 0.5), trial("ELA", 1, 0.9, settings=other)]
    groups = by_group(config_rows(study(trials)))
    assert set(groups) == {"ResNet-18, recipe.epochs 5", "ResNet-18, recipe.epochs 90"}


def test_recipes_that_a_search_chose_are_configurations(trial: Make, study: Study) -> None:
    """Each compares with the baseline of its own recipe, and none is a seed of another."""
    trials = [
        replace(trial(label, seed, top1), label=f"{label}, lr {lr}", chosen={"recipe.lr": lr})
        for label, lr, seed, top1 in (
            ("ELA", "0.1", 0, 0.8),
            ("ELA", "0.1", 1, 0.7),
            ("ELA", "0.3", 0, 0.9),
            ("baseline", "0.1", 0, 0.5),
            ("baseline", "0.2", 0, 0.6),
        )
    ]
    rows = study(trials)
    (group,) = by_group(config_rows(rows)).values()
    found = {c.name: (c.spreads["top1"].n, c.differences.get("top1")) for c in group}
    assert list(found) == ["baseline, lr 0.1", "baseline, lr 0.2", "ELA, lr 0.1", "ELA, lr 0.3"]
    assert [n for n, _ in found.values()] == [1, 1, 2, 1]
    assert found["ELA, lr 0.1"][1].mean == pytest.approx(0.3)
    assert found["ELA, lr 0.3"][1] is None


def test_what_was_stopped_early_enters_no_mean(trial: Make, study: Study) -> None:
    trials = [trial("ELA", 0, 0.8), trial("ELA", 1, 0.99, status="stopped")]
    (config,) = config_rows(study(trials))
    assert (config.spreads["top1"].n, config.spreads["top1"].mean) == (1, 0.8)


def test_what_did_not_finish_enters_no_mean_and_is_counted(trial: Make, study: Study) -> None:
    trials = [trial("ELA", 0, 0.8), trial("ELA", 1, 0.1, status="failed")]
    trials += [trial("ELA", 2, 0.1, status="unfinished"), trial("ELA", 3, math.nan)]
    config = _configs(study, trials)["ELA"]
    assert (config.spreads["top1"].n, config.spreads["top1"].mean) == (1, 0.8)
    counts = [config.count(status) for status in ("done", "failed", "unfinished")]
    assert counts == [2, 1, 1]


def test_order_of_tables(trial: Make, study: Study) -> None:
    trials = [trial("EMA", 0), trial("ELA-L", 0, params_true=12_000_000), trial("ELA-T", 0)]
    assert list(_configs(study, [*trials, trial("baseline", 0)])) == [
        "baseline",
        "EMA",
        "ELA-L",
        "ELA-T",
    ]
