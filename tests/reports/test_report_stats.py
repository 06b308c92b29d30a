from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.rows import StudyRows, TrialRow
from reports.stats import (
    ConfigRow,
    best_beyond_noise,
    by_group,
    config_rows,
    leader,
    noise,
    spread,
)
from reports.summary import summarise
from reports.tables.scores import Table, markdown

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
    table = Table(rows, tuple(group))
    assert "one recipe for all rows, but for lr, which a search chose" in markdown(table)
    assert "Δ only where the baseline was trained with the same lr." in markdown(table)
    assert summarise(rows, group).warnings == ()


def test_what_was_stopped_early_enters_no_mean(trial: Make, study: Study) -> None:
    trials = [trial("ELA", 0, 0.8), trial("ELA", 1, 0.99, status="stopped")]
    rows = study(trials)
    (config,) = config_rows(rows)
    assert (config.spreads["top1"].n, config.spreads["top1"].mean) == (1, 0.8)
    assert "1 done, 0 failed, 1 stopped early" in summarise(rows, [config]).trials
    assert "ELA: 1 stopped early of 2 trials" in markdown(Table(rows, (config,)))


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


def test_margin_is_tukey_and_kramers(trial: Make, study: Study) -> None:
    samples = {"baseline": [0.90, 0.92, 0.91], "ELA": [0.95, 0.93, 0.94], "CA": [0.92, 0.96]}
    trials = [trial(name, s, v) for name, vs in samples.items() for s, v in enumerate(vs)]
    level = noise(config_rows(study(trials)), "top1")
    assert level is not None
    pooled = sum(np.var(v, ddof=1) * (len(v) - 1) for v in samples.values()) / 5
    assert (level.std, level.freedom) == (pytest.approx(math.sqrt(pooled)), 5)
    assert level.quantile == pytest.approx(4.602, abs=5e-4)  # a printed table: k = 3, df = 5
    interval = stats.tukey_hsd(*samples.values()).confidence_interval(0.95)
    assert level.margin(3, 2) == pytest.approx((interval.high - interval.low)[0, 2] / 2, rel=1e-4)


def test_bold_is_beyond_noise_only(trial: Make, study: Study) -> None:
    near = [trial("baseline", s, 0.90 + 0.01 * s) for s in range(3)]
    near += [trial("ELA", s, 0.91 + 0.01 * s) for s in range(3)]
    far = near + [trial("CA", s, 0.99 + 0.001 * s) for s in range(3)]
    lone = [trial("baseline", 0, 0.1), trial("ELA", 0, 0.9)]
    metric = study([]).compared
    assert best_beyond_noise(config_rows(study(near)), metric) is None
    assert best_beyond_noise(config_rows(study(lone)), metric) is None
    best = best_beyond_noise(config_rows(study(far)), metric)
    assert best is not None
    assert best.name == "CA"


def test_less_loss_is_better(trial: Make, study: Study) -> None:
    rows = study([trial("baseline", 0, 0.4), trial("ELA", 0, 0.6)])
    best = leader(config_rows(rows), rows.metrics[2])
    assert best is not None
    assert best.name == "ELA"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"baseline": [0.90, 0.92], "ELA": [0.91, 0.94]},
            "no other configuration can be told from it",
        ),
        ({"baseline": [0.10, 0.12], "ELA": [0.91, 0.94]}, "beats every other configuration"),
        ({"baseline": [0.10], "ELA": [0.91]}, "no difference can be told from noise"),
        ({"ELA": [0.91, 0.94]}, "no other configuration"),
        ({"ELA": [math.nan]}, "nothing can be said"),
    ],
)
def test_the_summary_claims_what_seeds_show(
    trial: Make, study: Study, values: dict[str, list[float]], said: str
) -> None:
    rows = study(trial(name, s, v) for name, vs in values.items() for s, v in enumerate(vs))
    assert said in summarise(rows, config_rows(rows)).findings[0]


def test_the_summary_warns(trial: Make, study: Study) -> None:
    rows = study([trial("ELA", 0, 0.9)], planned=3)
    summary = summarise(rows, config_rows(rows))
    assert any("no baseline" in warning for warning in summary.warnings)
    assert any("one seed" in warning for warning in summary.warnings)
    assert "3 trials: 1 done, 0 failed, 2 not started, 1 combination refused" in summary.trials
