from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.comparisons import Contrast, Standing, against_baseline, standings
from reports.configs import ConfigRow, config_rows
from reports.rows import StudyRows, TrialRow
from reports.tables.comparisons import comparisons

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]
Scores = dict[str, Sequence[float]]
"""By configuration, seed by seed."""

BASE, NEAR = [0.90, 0.92, 0.91, 0.93], [0.91, 0.92, 0.93, 0.93]
FAR, WORSE = [0.95, 0.9702, 0.9603, 0.9801], [0.80, 0.8203, 0.8101, 0.8302]


@pytest.fixture
def rows(trial: Make, study: Study) -> Callable[..., StudyRows]:
    """A study of test scores, and of validation scores that are one per configuration."""

    def make(test: Scores, validation: dict[str, float] | None = None, **more: Any) -> StudyRows:
        return study(
            trial(name, seed, metrics=_metrics(score, (validation or {}).get(name)), **more)
            for name, scores in test.items()
            for seed, score in enumerate(scores)
        )

    return make


def _metrics(test: float, validation: float | None) -> dict[str, float]:
    metrics = {"test_top1": test, "test_loss": 1 - test}
    if validation is not None:
        metrics |= {"best_val_top1": validation, "best_val_loss": 1 - validation}
    return metrics


def _contrast(rows: StudyRows, name: str) -> Contrast:
    contrasts = against_baseline(config_rows(rows), rows.compared)
    return next(contrast for contrast in contrasts if contrast.config.name == name)


def _standing(rows: StudyRows, group: str = "ResNet-18", metric: int = 0) -> Standing:
    return standings(config_rows(rows), rows.metrics[metric])[group]


def _names(configs: Sequence[ConfigRow]) -> list[str]:
    return [config.name for config in configs]


def test_the_test_is_paired_over_shared_seeds(trial: Make, study: Study) -> None:
    base = {0: 0.90, 1: 0.80, 3: 0.85, 4: 0.10}
    own = {0: 0.92, 1: 0.83, 2: 0.99, 3: 0.86}
    trials = [trial("baseline", *score) for score in base.items()]
    found = _contrast(study([*trials, *(trial("ELA", *score) for score in own.items())]), "ELA")
    pairs = [own[s] for s in (0, 1, 3)], [base[s] for s in (0, 1, 3)]
    assert found.difference.n == 3
    assert found.p == pytest.approx(stats.ttest_rel(*pairs).pvalue)
    u = stats.mannwhitneyu(list(own.values()), list(base.values())).statistic
    assert found.improvement == pytest.approx(u / 16)  # of all runs, paired or not


def test_all_comparisons_of_a_study_are_one_family(
    rows: Callable[..., StudyRows], study: Study
) -> None:
    one = rows({"baseline": BASE, "ELA": NEAR, "CA": FAR})
    other = rows({"baseline": BASE, "SE": WORSE, "EMA": [v + 0.01 for v in BASE]}, stem="other")
    whole = study([*one.trials, *other.trials])
    ps = {n: stats.ttest_rel(v, BASE).pvalue for n, v in (("CA", FAR), ("SE", WORSE))}
    ps["ELA"] = stats.ttest_rel(NEAR, BASE).pvalue
    found = {name: _contrast(whole, name) for name in ("CA", "SE", "ELA", "EMA")}
    assert found["EMA"].p is None  # all differences are equal, so it is not of the family
    assert found["EMA"].p_holm is None
    first, second, third = sorted(ps, key=ps.__getitem__)
    assert third == "ELA"
    assert found[first].p_holm == pytest.approx(3 * ps[first])
    assert found[second].p_holm == pytest.approx(max(3 * ps[first], 2 * ps[second]))
    assert found["ELA"].p_holm == pytest.approx(ps["ELA"])
    assert {c.family for c in found.values()} == {3}
    assert [found[n].better is found[n].config for n in ("CA", "SE", "ELA")] == [True, False, False]
    assert found["SE"].better is found["SE"].other


def test_seeds_needed_only_where_nothing_is_shown(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "ELA": NEAR, "CA": FAR})
    assert _contrast(study, "CA").seeds_needed is None
    found = _contrast(study, "ELA")
    needed = found.seeds_needed
    assert needed is not None
    # By hand, at the level 0.05 / 2: the noncentral t of one seed less, and of that many.
    assert found.difference.std is not None
    d = found.difference.mean / found.difference.std
    powers = [
        stats.nct.sf(stats.t.isf(0.0125, n - 1), n - 1, d * math.sqrt(n))
        for n in (needed - 1, needed)
    ]
    assert powers[0] < 0.8 <= powers[1]


def test_less_loss_is_better(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "CA": FAR}, {"baseline": 0.9, "CA": 0.95})
    (found,) = against_baseline(config_rows(study), study.metrics[2])
    assert found.difference.mean < 0
    assert found.improvement == 1
    assert found.better is found.config
    standing = _standing(study, metric=2)
    assert standing.best is standing.chosen
    assert standing.chosen is not None
    assert standing.chosen.name == "CA"


def test_what_shares_no_seed_is_compared_with_nothing(trial: Make, study: Study) -> None:
    trials = [trial("baseline", 0), trial("ELA", 1), trial("CA", 0, math.nan)]
    assert against_baseline(config_rows(study(trials)), study([]).compared) == ()
    assert against_baseline((), study([]).compared) == ()


def test_one_seed_shows_nothing(trial: Make, study: Study) -> None:
    found = _contrast(study([trial("baseline", 0, 0.1), trial("ELA", 0, 0.9)]), "ELA")
    facts = (found.p, found.p_holm, found.effect_size, found.improvement, found.seeds_needed)
    assert facts == (None,) * 5
    assert not found.is_shown
    assert found.better is None


def test_validation_chooses_and_test_does_not(rows: Callable[..., StudyRows]) -> None:
    validation = {"baseline": 0.8, "ELA": 0.95, "CA": 0.9}
    standing = _standing(rows({"baseline": BASE, "ELA": NEAR, "CA": FAR}, validation))
    assert standing.chosen is not None
    assert standing.chosen.name == "ELA"


def test_of_equals_the_baseline_is_chosen(trial: Make, rows: Callable[..., StudyRows]) -> None:
    """Also where the means of equal values differ in their last digit."""
    study = rows({"ELA": [0.9] * 3, "baseline": [0.9] * 3}, {"ELA": 0.1 + 0.2, "baseline": 0.3})
    standing = _standing(study)
    assert standing.chosen is not None
    assert standing.chosen.is_baseline
    assert (standing.best, _names(standing.tied)) == (None, ["ELA"])


def test_best_is_what_beats_every_other(rows: Callable[..., StudyRows]) -> None:
    validation = {"baseline": 0.8, "ELA": 0.8, "CA": 0.9}
    standing = _standing(rows({"baseline": BASE, "CA": FAR, "ELA": WORSE}, validation))
    assert standing.best is standing.chosen
    assert standing.tied == ()
    level = [0.96, 0.96, 0.97, 0.975]
    standing = _standing(rows({"baseline": BASE, "CA": FAR, "ELA": level}, validation))
    assert (standing.best, _names(standing.tied)) == (None, ["ELA"])


def test_what_did_better_on_test_is_neither_tied_nor_best(rows: Callable[..., StudyRows]) -> None:
    validation = {"baseline": 0.9, "CA": 0.8, "ELA": 0.8}
    standing = _standing(rows({"baseline": BASE, "CA": FAR, "ELA": NEAR}, validation))
    assert standing.chosen is not None
    assert standing.chosen.is_baseline
    assert (standing.best, _names(standing.tied)) == (None, ["ELA"])


def test_without_validation_nothing_is_chosen(rows: Callable[..., StudyRows]) -> None:
    found = _standing(rows({"baseline": BASE, "CA": FAR}))
    assert (found.chosen, found.best, found.tied, found.contrasts) == (None, None, (), ())


def test_a_lone_configuration_is_not_the_best(rows: Callable[..., StudyRows]) -> None:
    standing = _standing(rows({"CA": FAR, "SE": [math.nan]}, {"CA": 0.9, "SE": 0.99}))
    assert standing.chosen is not None
    assert (standing.chosen.name, standing.best, standing.tied) == ("CA", None, ())


def test_the_choice_is_corrected_for(rows: Callable[..., StudyRows]) -> None:
    """By hand: Holm's over the modules, times half the number of configurations."""
    scores = {"baseline": BASE, "CA": FAR, "ELA": NEAR, "SE": WORSE}
    standing = _standing(rows(scores, dict.fromkeys(scores, 0.5) | {"CA": 0.9}))
    found = {contrast.other.name: contrast for contrast in standing.contrasts}
    ps = {name: stats.ttest_rel(FAR, scores[name]).pvalue for name in ("ELA", "SE")}
    assert ps["SE"] < ps["ELA"]
    assert found["SE"].p_holm == pytest.approx(2 * ps["SE"] * 4 / 2)
    assert found["ELA"].p_holm == pytest.approx(min(1, max(2 * ps["SE"], ps["ELA"]) * 4 / 2))
    assert found["SE"].level == pytest.approx(0.05 / 2 / 2)
    assert found["baseline"].family == 3


def test_one_answer_for_a_pair(rows: Callable[..., StudyRows]) -> None:
    """What is chosen stands to its baseline as in the table of comparisons."""
    study = rows({"baseline": BASE, "CA": FAR, "ELA": NEAR}, {"CA": 0.9, "ELA": 0.8})
    of_choice = next(c for c in _standing(study).contrasts if c.other.is_baseline)
    assert of_choice.p_holm == _contrast(study, "CA").p_holm


def test_the_table_has_every_module(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "CA": FAR, "ELA": NEAR, "SE": [math.nan]})
    table = comparisons(study, config_rows(study))
    assert table is not None
    ((*cells, _), *_, missing) = table.sections[0].rows
    assert [cell.text for cell in missing] == ["SE", "ResNet-18", *["–"] * 7]
    difference = np.subtract(FAR, BASE) * 100
    mean, std = difference.mean(), difference.std(ddof=1)
    low, high = stats.t.interval(0.95, 3, mean, std / 2)
    p = stats.ttest_rel(FAR, BASE).pvalue
    assert [cell.text for cell in cells] == [
        "CA",
        "ResNet-18",
        f"+{mean:.2f} ± {std:.2f} (4)",
        f"+{low:.2f} to +{high:.2f}",
        f"{mean / std * math.gamma(1.5) / math.sqrt(1.5) / math.gamma(1):+.2f}",
        "<0.001",
        "<0.001",
        "1.00",
    ]
    assert set(cells[2].runs) == {f"run-{n}-{s}" for n in ("CA", "baseline") for s in range(4)}
    record = dict(table.records[0])
    assert record["difference_mean"] == pytest.approx(mean)
    assert record["difference_t_low"] == pytest.approx(low)
    assert record["p"] == pytest.approx(p)
    assert record["p_holm"] == pytest.approx(2 * p)
    assert {tuple(record) for record in table.records} == {tuple(table.records[0])}


def test_from_five_seeds_on_there_is_a_bootstrap_interval(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": [*BASE, 0.9], "CA": [*FAR, 0.97], "SE": FAR[:2]})
    configs = config_rows(study)
    table = comparisons(study, configs)
    assert table is not None
    headings = [column.title for column in table.columns]
    place = headings.index("95 % interval, bootstrap")
    assert headings[place - 1] == "95 % interval, t"
    found = next(c for c in configs if c.name == "CA").differences["top1"].bootstrap
    assert found is not None
    cells = {row[0].text: row[place].text for row in table.sections[0].rows}
    assert cells == {"CA": f"{100 * found.low:+.2f} to {100 * found.high:+.2f}", "SE": "–"}


def test_without_a_module_there_is_no_table(rows: Callable[..., StudyRows], study: Study) -> None:
    only = rows({"baseline": BASE})
    assert comparisons(only, config_rows(only)) is None
    assert comparisons(study([]), ()) is None
