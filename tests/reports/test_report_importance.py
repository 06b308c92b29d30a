"""Importance against functions whose variance is known in closed form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import optuna
import pytest

from reports.configs import config_rows
from reports.importance import LEAST_TRIALS, Importance, importances, reasons
from reports.rows import StudyRows, TrialRow
from reports.tables.importance import importance_table
from sweep.tasks.base import Metric

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]
Trials = Iterable[tuple[dict[str, Any], int, float]]

LEVELS = {"kernel_size": (5, 7), "factor": (8, 16, 32), "norm": ("gn", "bn", "none", "ln")}
PARTS = {
    "kernel_size": (0.0, 0.2),
    "factor": (0.0, 0.0, 0.3),
    "norm": (0.1, 0.0, 0.4, 0.1),
}
"""Of an additive function, by level."""


@pytest.fixture(scope="session")
def ela(trial: Make, study: Study) -> Callable[..., StudyRows]:
    """A study of ELA from (hyperparameters, seed, score)."""

    def make(trials: Trials, **changes: Any) -> StudyRows:
        rows = (
            trial(f"ELA-{i}", seed, score, hyperparameters=setting)
            for i, (setting, seed, score) in enumerate(trials)
        )
        return study(rows, **changes)

    return make


def _importances(rows: StudyRows) -> dict[str, Importance]:
    return {one.evaluator: one for one in importances(rows, config_rows(rows))}


def _grid(score: Callable[[tuple[int, ...]], float], seeds: int = 5) -> Trials:
    """Return every combination of LEVELS under each seed; a score is of the indices of levels."""
    for at in product(*(range(len(levels)) for levels in LEVELS.values())):
        setting = {name: LEVELS[name][i] for name, i in zip(LEVELS, at, strict=True)}
        yield from ((setting, seed, score(at)) for seed in range(seeds))


def _additive(at: tuple[int, ...]) -> float:
    return sum(part[i] for part, i in zip(PARTS.values(), at, strict=True))


def test_fanova_of_an_additive_function_is_its_parts_of_variance(
    ela: Callable[..., StudyRows],
) -> None:
    """The variance of a sum over a full grid is the sum of the parts' variances."""
    found = _importances(ela(_grid(_additive)))["fANOVA"]
    variances = {name: np.var(part) for name, part in PARTS.items()}
    assert found.shares == pytest.approx(
        {name: v / sum(variances.values()) for name, v in variances.items()}, abs=0.03
    )
    assert found.alone == pytest.approx(1, abs=0.02)


def test_fanova_of_a_product_is_mostly_no_single_factor_s(ela: Callable[..., StudyRows]) -> None:
    """Signs of kernel and norm multiplied: each alone does nothing, both do everything."""
    found = _importances(ela(_grid(lambda at: (-1.0) ** (at[0] + at[2]))))["fANOVA"]
    assert found.alone is not None
    assert found.alone < 0.1


@pytest.mark.parametrize("mode", ["max", "min"])
def test_ped_anova_is_the_divergence_of_the_best(ela: Callable[..., StudyRows], mode: str) -> None:
    """The best tenth all have one of 2 levels, one of 3, and any of 4; p (q / p - 1)^2 is summed.

    p is 1 / L. Of one level seen, Optuna's prior makes (1 + 1/2, 1/2, ...) / (1 + L/2): for q 3/4
    and 1/4 of two levels, 3/5, 1/5 and 1/5 of three. Sums: 0.25 and 0.32. The worst tenth would
    have any of 3.
    """
    best = 1 if mode == "max" else -1
    rng = np.random.default_rng(0)
    trials = list(_grid(lambda at: best * (at[0] * (1 + at[1]) + 0.01 * rng.normal()), seeds=50))
    metrics = (Metric("top1", "Top-1 (%)" if best == 1 else "Error (%)", mode, 100),)
    shares = _importances(ela(trials, metrics=metrics))["PED-ANOVA"].shares
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    expected = {"kernel_size": 0.25 / 0.57, "factor": 0.32 / 0.57, "norm": 0}
    assert shares == pytest.approx(expected, abs=0.01)


def test_slopes_of_a_search(trial: Make, study: Study) -> None:
    """Of two numbers that are drawn anew each time, one has nothing to say."""
    rng = np.random.default_rng(1)
    rows = study(
        trial(
            f"ELA-{i}",
            0,
            0.5 + 0.1 * np.log10(lr),
            hyperparameters={},
            chosen={"recipe.lr": f"{lr:.4g}", "recipe.weight_decay": f"{decay:.4g}"},
        )
        for i, (lr, decay) in enumerate(10 ** rng.uniform(-4, 0, (60, 2)))
    )
    for one in _importances(rows).values():
        assert one.shares is not None
        assert list(one.shares) == ["lr", "weight_decay"]
        assert one.shares["lr"] > 0.7


def test_the_same_twice_and_nothing_of_optuna_s_is_changed(
    ela: Callable[..., StudyRows], capfd: pytest.CaptureFixture[str]
) -> None:
    rows = ela(_grid(_additive, 2))
    optuna.logging.set_verbosity(logging.INFO)
    assert _importances(rows) == _importances(rows)
    assert optuna.logging.get_verbosity() == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_too_few_trials(ela: Callable[..., StudyRows]) -> None:
    settings = [{"kernel_size": k, "num_groups": g} for k in (5, 7) for g in (16, 32)]
    rows = ela((s, seed, 0.9 + 0.01 * seed) for s in settings for seed in range(4))
    found = importances(rows, config_rows(rows))
    assert [one.shares for one in found] == [None, None]
    assert reasons(found) == (
        "ResNet-18, ELA: no importance: 16 trials have a score, and below 20 the best 5 are too "
        "many.",
    )
    assert LEAST_TRIALS == 20
    assert importance_table(rows, found) is None


def test_equal_scores_and_designs_that_tell_nothing(ela: Callable[..., StudyRows]) -> None:
    rows = ela(_grid(lambda at: 0.9))
    assert reasons(importances(rows, config_rows(rows))) == (
        "ResNet-18, ELA: no importance: all scores are equal.",
    )
    presets = [{"kernel_size": k, "num_groups": g} for k, g in ((5, 32), (7, 16))]
    rows = ela((preset, seed, 0.1 * seed) for preset in presets for seed in range(10))
    assert reasons(importances(rows, config_rows(rows))) == (
        "ResNet-18, ELA: no importance: the design does not tell kernel_size and num_groups apart.",
    )


def _scored_at(trial: Make, study: Study, kept: Callable[[int, int], bool]) -> StudyRows:
    """A grid of two by two, 20 seeds, that failed but for the kept."""
    rng = np.random.default_rng(2)
    lost: dict[str, Any] = {"status": "failed", "metrics": {}}
    return study(
        trial(
            f"ELA-{k}-{g}",
            s,
            rng.normal(0.9, 0.01),
            hyperparameters={"kernel_size": k, "num_groups": g},
            **({} if kept(k, g) else lost),
        )
        for k, g in product((5, 7), (16, 32))
        for s in range(20)
    )


@pytest.mark.parametrize("seen", [((5, 16),), ((5, 16), (5, 32))])
def test_importance_is_of_at_least_two_that_vary_among_scores(
    trial: Make, study: Study, seen: tuple[tuple[int, int], ...]
) -> None:
    rows = _scored_at(trial, study, lambda k, g: (k, g) in seen)
    found = importances(rows, config_rows(rows))
    assert [one.shares for one in found] == [None, None]
    assert reasons(found) == (
        "ResNet-18, ELA: no importance: fewer than two hyperparameters have two values with a "
        "score.",
    )


def test_what_has_one_value_with_a_score_is_left_out_and_named(trial: Make, study: Study) -> None:
    rng = np.random.default_rng(3)
    lost: dict[str, Any] = {"status": "failed", "metrics": {}}
    rows = study(
        trial(
            f"ELA-{k}-{g}-{n}",
            s,
            rng.normal(0.9, 0.01),
            hyperparameters={"kernel_size": k, "num_groups": g, "norm": n},
            **(lost if n == "bn" else {}),
        )
        for k, g, n in product((5, 7), (16, 32), ("gn", "bn"))
        for s in range(6)
    )
    found = importances(rows, config_rows(rows))
    assert [list(one.shares or ()) for one in found] == [["kernel_size", "num_groups"]] * 2
    note = "ResNet-18, ELA: norm left out: only one value has a score."
    table = importance_table(rows, found)
    assert table is not None
    assert table.notes[-1] == note
    assert reasons(found) == (note,)


@pytest.mark.parametrize("size", [1e-6, 1e-12])
def test_small_differences_are_split_as_large_ones(
    ela: Callable[..., StudyRows], size: float
) -> None:
    """A forest of scikit-learn takes a variance of 1e-16 for none."""
    shares = _importances(ela(_grid(_additive)))["fANOVA"].shares
    small = _importances(ela(_grid(lambda at: size * _additive(at))))["fANOVA"].shares
    assert small == pytest.approx(shares)


def test_scores_that_differ_by_rounding_are_equal(ela: Callable[..., StudyRows]) -> None:
    rows = ela(_grid(lambda at: 0.9 + 1e-16 * at[2]))
    assert "all scores are equal" in reasons(importances(rows, config_rows(rows)))[0]


def test_ped_anova_is_of_at_least_five_trials(ela: Callable[..., StudyRows]) -> None:
    """Of 20, the best two have 7 and 32 and would share alike; of the best five, all have 7."""
    order = [(7, 32), (7, 32), (7, 16), (7, 16), (7, 32), (7, 32), (7, 32), (7, 16), (7, 16)]
    order += [(7, 16), *[(5, 16), (5, 32)] * 5]
    rows = ela(
        ({"kernel_size": k, "num_groups": g}, order[:i].count((k, g)), 1 - 0.01 * i)
        for i, (k, g) in enumerate(order)
    )
    found = _importances(rows)["PED-ANOVA"]
    assert found.shares is not None, found.reason
    assert found.shares["kernel_size"] > 0.9


@pytest.mark.parametrize(
    ("evaluator", "reason"),
    [
        ("PED-ANOVA", "the best trials are set as all are (PED-ANOVA)"),
        ("fANOVA", "no hyperparameter explains anything by itself (fANOVA)"),
    ],
)
def test_nothing_to_share_is_each_estimator_s_own(
    ela: Callable[..., StudyRows], monkeypatch: pytest.MonkeyPatch, evaluator: str, reason: str
) -> None:
    for name in ("PedAnovaImportanceEvaluator", "FanovaImportanceEvaluator"):
        nothing = lambda *_, **__: dict.fromkeys(LEVELS, 0.0)  # noqa: E731
        monkeypatch.setattr(f"optuna.importance.{name}.evaluate", nothing)
    assert _importances(ela(_grid(_additive)))[evaluator].reason == reason


def test_shuffled_scores_stay_within_their_seed(ela: Callable[..., StudyRows]) -> None:
    """The best five of 20: four of the best seed, one of the next. Both factors are 3 to 2 in any
    order within the seeds, so that each has a half; free to move, they would be 4 to 1 at times.
    """
    rng = np.random.default_rng(4)
    rows = ela(
        ({"kernel_size": k, "num_groups": g}, s, s + 0.01 * rng.normal())
        for k, g in product((5, 7), (16, 32))
        for s in range(5)
    )
    assert _importances(rows)["PED-ANOVA"].chance == pytest.approx((0.5, 0.5))


def test_the_largest_share_of_noise_is_told(ela: Callable[..., StudyRows]) -> None:
    """Noise has a larger one in about one study of 20."""
    rng = np.random.default_rng(5)
    settings = [{"kernel_size": k, "num_groups": g} for k in (5, 7) for g in (16, 32)]
    beyond = 0
    for _ in range(20):
        noise = ela((s, seed, rng.normal()) for s in settings for seed in range(5))
        found = _importances(noise)["PED-ANOVA"]
        if found.shares and found.chance:
            assert 0.5 <= found.chance[0] <= found.chance[1] <= 1
            beyond += max(found.shares.values()) > found.chance[1] + 1e-9
    assert beyond <= 3


def test_the_table_says_what_chance_gives_and_where_to_choose(trial: Make, study: Study) -> None:
    """And of a module that has too few trials, why it is not in the table."""
    rng = np.random.default_rng(6)
    rows = study(
        trial(
            f"{module}-{k}-{g}",
            s,
            rng.normal(0.9, 0.01),
            hyperparameters={"kernel_size": k, "num_groups": g},
        )
        for module, seeds in (("ELA", 6), ("CA", 2))
        for k, g in product((5, 7), (16, 32))
        for s in range(seeds)
    )
    found = importances(rows, config_rows(rows))
    table = importance_table(rows, found)
    assert table is not None
    assert "choose on validation" in table.caption
    assert "and what ties with them" in table.notes[0]
    chance = found[0].chance
    assert chance is not None
    assert table.notes[-2].endswith(
        f"the largest share by PED-ANOVA is {chance[0]:.0%} (median), and above {chance[1]:.0%} in "
        "one of 20 studies."
    )
    assert table.notes[-1].startswith("ResNet-18, CA: no importance: 8 trials have a score")


def test_the_best_may_be_set_as_all_are(ela: Callable[..., StudyRows]) -> None:
    """Four trials are better than 116 that are equal, so that the best tenth cannot be told."""
    trials = _grid(lambda at: float(at[:2] == (0, 0)))
    rows = ela((setting, seed, score * (seed == 0)) for setting, seed, score in trials)
    found = _importances(rows)
    assert found["PED-ANOVA"].shares is None
    assert found["PED-ANOVA"].reason == "the best trials are set as all are (PED-ANOVA)"
    assert found["fANOVA"].shares is not None


def test_one_factor_has_no_importance(ela: Callable[..., StudyRows]) -> None:
    rows = ela(({"kernel_size": k}, seed, 0.1 * k) for k in (5, 7) for seed in range(20))
    assert importances(rows, config_rows(rows)) == ()


def test_table(ela: Callable[..., StudyRows]) -> None:
    rows = ela(_grid(_additive))
    found = _importances(rows)
    table = importance_table(rows, list(found.values()))
    assert table is not None
    assert [c.heading for c in table.columns][2:] == ["Trials", "PED-ANOVA (%)", "fANOVA (%)"]
    (section,) = table.sections
    assert [row[1].text for row in section.rows] == list(LEVELS)
    shares = found["fANOVA"].shares
    assert shares is not None
    assert [row[4].sort for row in section.rows] == list(shares.values())
    assert section.rows[0][2].text == "120"
    assert len(table.records) == 6
    assert "one by one, hyperparameters explain 100% of the forest's variance" in table.notes[2]
