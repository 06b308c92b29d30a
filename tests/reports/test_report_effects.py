"""Effects against closed forms, numpy's least squares, statsmodels' formulas, and simulations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from reports.configs import config_rows
from reports.effect_words import sentences
from reports.effects import (
    NO_FREEDOM,
    NO_NOISE,
    NO_SCORES,
    NOT_TRIED,
    Effects,
    MainEffect,
    effects,
    interactions,
    main_effects,
)
from reports.factors import Family, families
from reports.rows import StudyRows, TrialRow
from reports.stats import holm
from reports.tables.effects import effects_table, interactions_table
from sweep.tasks.base import Metric

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]
Setting = Mapping[str, Any]

PRESETS = {  # ELA section 3.3
    "T": {"kernel_size": 5, "groups": "in_channels", "num_groups": 32},
    "B": {"kernel_size": 7, "groups": "in_channels", "num_groups": 16},
    "S": {"kernel_size": 5, "groups": "in_channels/8", "num_groups": 16},
    "L": {"kernel_size": 7, "groups": "in_channels/8", "num_groups": 16},
}


@pytest.fixture(scope="session")
def ela(trial: Make, study: Study) -> Callable[..., StudyRows]:
    """A study of ELA from (hyperparameters, seed, score, changes)."""

    def make(trials: Iterable[tuple[Any, ...]]) -> StudyRows:
        return study(
            trial(f"ELA-{index}", seed, score, **{"hyperparameters": setting, **dict(*changes)})
            for index, (setting, seed, score, *changes) in enumerate(trials)
        )

    return make


def _effects(rows: StudyRows) -> Effects:
    return effects(rows, config_rows(rows))


def _family(rows: StudyRows) -> Family:
    (family,) = families(rows, config_rows(rows))
    return family


def _by_title(found: Effects) -> dict[str, MainEffect]:
    return {f"{e.factor} {e.comparison}": e for e in found.main}


def _factorial(**levels: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(levels, values, strict=True)) for values in product(*levels.values())]


# Against other computations ----------------------------------------------------------------------


def test_balanced_two_way_design_by_hand(ela: Callable[..., StudyRows]) -> None:
    """Kernel size (2) by groups (2) by seed (3): marginal means, and the residual mean square."""
    y = np.random.default_rng(1).normal(0.9, 0.01, (2, 2, 3))
    y[1] += 0.02
    groups = ["in_channels", "in_channels/8"]
    found = _by_title(
        _effects(
            ela(
                ({"kernel_size": k, "groups": g}, s, y[i, j, s])
                for i, k in enumerate((5, 7))
                for j, g in enumerate(groups)
                for s in range(3)
            )
        )
    )
    kernel, group = found["kernel_size 7 over 5"], found["groups in_channels/8 over in_channels"]
    assert kernel.difference == pytest.approx(y[1].mean() - y[0].mean())
    assert group.difference == pytest.approx(y[:, 1].mean() - y[:, 0].mean())
    means = (y.mean(axis=(1, 2)), y.mean(axis=(0, 2)), y.mean(axis=(0, 1)))
    fitted = means[0][:, None, None] + means[1][:, None] + means[2] - 2 * y.mean()
    error = math.sqrt(((y - fitted) ** 2).sum() / 7 * (1 / 6 + 1 / 6))
    assert kernel.freedom == 7  # 12 trials; a mean, 1 + 1 for factors, 2 for seeds
    assert kernel.margin == pytest.approx(stats.t.ppf(0.975, 7) * error)
    assert kernel.p == pytest.approx(2 * stats.t.sf(abs(kernel.difference) / error, 7))
    assert len(kernel.runs) == 12


def test_unbalanced_design_against_normal_equations(ela: Callable[..., StudyRows]) -> None:
    """Three levels and two, seeds that differ, trials that failed."""
    rng = np.random.default_rng(2)
    cells = [(f, x, s) for f in (8, 16, 32) for x in (True, False) for s in range(4)]
    kept = [cell for cell in cells if cell not in {(8, True, 0), (8, False, 3), (32, True, 1)}]
    scores = {cell: rng.normal(0.7, 0.02) for cell in kept}
    failed = {"status": "failed", "metrics": {}}
    rows = ela(
        (
            {"factor": f, "cross": x},
            s,
            scores.get((f, x, s), 0.0),
            *([] if (f, x, s) in scores else [failed]),
        )
        for f, x, s in cells
    )
    matrix = np.array(
        [[1, f == 16, f == 32, not x, s == 1, s == 2, s == 3] for f, x, s in kept], dtype=float
    )
    y = np.array([scores[cell] for cell in kept])
    solution, squares, rank, _ = np.linalg.lstsq(matrix, y, rcond=None)
    freedom = len(kept) - rank
    errors = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)) * squares[0] / freedom)
    found = _by_title(_effects(rows))
    for index, title in (
        (1, "factor 16 over 8"),
        (2, "factor 32 over 8"),
        (3, "cross false over true"),
    ):
        assert found[title].difference == pytest.approx(solution[index])
        assert found[title].margin == pytest.approx(stats.t.ppf(0.975, freedom) * errors[index])
        assert found[title].freedom == freedom == 14
    assert len(found["factor 32 over 8"].runs) == 6 + 7
    assert "3 of 24 trials have no score and are left out" in _effects(rows).notes[0]


def test_against_formulas_and_anova_of_statsmodels(ela: Callable[..., StudyRows]) -> None:
    """Main effects, and each interaction as F test of two nested models, one cell being thin."""
    rng = np.random.default_rng(3)
    settings = _factorial(kernel_size=[3, 5, 7], num_groups=[16, 32], shared=[True, False])
    trials = [(setting, s, rng.normal(0.8, 0.01)) for setting in settings for s in range(3)][2:]
    found = _effects(ela(trials))
    frame = pd.DataFrame([{**setting, "seed": s, "y": y} for setting, s, y in trials])
    frame["shared"] = frame["shared"].map({True: "a", False: "b"})
    additive = "y ~ C(kernel_size) + C(num_groups) + C(shared) + C(seed)"
    fit = smf.ols(additive, frame).fit()
    names = {
        "kernel_size 5 over 3": "C(kernel_size)[T.5]",
        "kernel_size 7 over 3": "C(kernel_size)[T.7]",
        "num_groups 32 over 16": "C(num_groups)[T.32]",
        "shared false over true": "C(shared)[T.b]",
    }
    main = _by_title(found)
    assert set(main) == set(names)
    for title, name in names.items():
        low, high = fit.conf_int().loc[name]
        assert main[title].difference == pytest.approx(fit.params[name])
        assert main[title].margin == pytest.approx((high - low) / 2)
        assert main[title].p == pytest.approx(fit.pvalues[name])
    expected = multipletests([fit.pvalues[name] for name in names.values()], method="holm")[1]
    assert [main[title].p_holm for title in names] == pytest.approx(list(expected))
    for test in found.interactions:
        a, b = test.factors
        table = anova_lm(fit, smf.ols(f"{additive} + C({a}):C({b})", frame).fit())
        assert test.f == pytest.approx(table["F"][1])
        assert test.p == pytest.approx(table["Pr(>F)"][1])
        assert test.freedom == (table["df_diff"][1], table["df_resid"][1])
    assert len(found.interactions) == 3


def test_slope_over_a_logarithm_is_linear_regression(ela: Callable[..., StudyRows]) -> None:
    rng = np.random.default_rng(4)
    rates = [f"{rate:.4g}" for rate in 10 ** rng.uniform(-3, 0, 12)]
    scores = 0.8 + 0.05 * np.log10([float(rate) for rate in rates]) + rng.normal(0, 0.01, 12)
    rows = ela(
        ({}, 0, y, {"chosen": {"recipe.lr": lr}}) for lr, y in zip(rates, scores, strict=True)
    )
    expected = stats.linregress(np.log10([float(rate) for rate in rates]), scores)
    (effect,) = _effects(rows).main
    assert effect.title == "ResNet-18, ELA: lr per factor of 10"
    assert effect.difference == pytest.approx(expected.slope)
    assert effect.margin == pytest.approx(stats.t.ppf(0.975, 10) * expected.stderr)
    assert effect.p == pytest.approx(expected.pvalue)
    assert len(effect.runs) == 12


def test_slope_over_few_values_that_never_repeat_is_a_line(ela: Callable[..., StudyRows]) -> None:
    """A search draws each value once; as levels, they would be confounded with all else."""
    rng = np.random.default_rng(5)
    drawn = [(0.5, 3), (0.6, 5), (0.8, 3), (0.9, 5), (0.95, 5)]
    scores = rng.normal(0.8, 0.01, (5, 2))
    rows = ela(
        ({"kernel_size": k}, s, scores[i, s], {"chosen": {"recipe.momentum": str(m)}})
        for i, (m, k) in enumerate(drawn)
        for s in range(2)
    )
    matrix = np.array([[1, m, k == 5, s] for m, k in drawn for s in range(2)], dtype=float)
    solution = np.linalg.lstsq(matrix, scores.ravel(), rcond=None)[0]
    found = _by_title(_effects(rows))
    assert found["momentum 0.95 over 0.5, on a line"].difference == pytest.approx(
        0.45 * solution[1]
    )
    assert found["kernel_size 5 over 3"].difference == pytest.approx(solution[2])


@pytest.mark.parametrize(
    ("tried", "scored", "compared"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 1.0), 3, "momentum 0.3 over 0.1, on a line"),
        ((1, 2, 4, 8, 16, 32, 64), 3, "momentum per factor of 10"),
    ],
)
def test_a_slope_is_over_values_that_have_a_score(
    ela: Callable[..., StudyRows], tried: tuple[float, ...], scored: int, compared: str
) -> None:
    """The others failed: what the line would say there, nobody has seen."""
    failed = {"status": "failed", "metrics": {}}
    noise = np.random.default_rng(14).normal(0, 0.001, (len(tried), 3))
    rows = ela(
        (
            {},
            s,
            0.8 + 0.1 * m + noise[i, s],
            {"chosen": {"recipe.momentum": str(m)}, **(failed if i >= scored else {})},
        )
        for i, m in enumerate(tried)
        for s in range(3)
    )
    (effect,) = _effects(rows).main
    at = np.log10(tried[:scored]) if "per" in compared else np.array(tried[:scored]) / 0.2
    means = 0.8 + 0.1 * np.array(tried[:scored]) + noise[:scored].mean(axis=1)
    assert f"{effect.factor} {effect.comparison}" == compared
    assert (effect.reference, effect.level) == (f"{tried[0]:g}", f"{tried[scored - 1]:g}")
    assert effect.difference == pytest.approx(stats.linregress(at, means).slope)


@pytest.mark.parametrize("scored", [0, 1])
@pytest.mark.parametrize("tried", [(1, 2, 3, 4, 5, 6, 7), (1, 2, 4, 8, 16, 32, 64)])
def test_a_slope_over_no_range_cannot_be_told(
    ela: Callable[..., StudyRows], tried: tuple[float, ...], scored: int
) -> None:
    failed = {"status": "failed", "metrics": {}}
    rows = ela(
        ({"factor": m}, s, 0.8 + 0.1 * s, *([failed] if i >= scored else []))
        for i, m in enumerate(tried)
        for s in range(3)
    )
    assert [e.reason for e in _effects(rows).main] == [NO_SCORES]


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_what_differs_between_seeds_is_noted(ela: Callable[..., StudyRows], spread: float) -> None:
    """If and only if the F test of seed by factor, by statsmodels' formulas, is below 0.05."""
    noted = 0
    for draw in range(10):
        rng = np.random.default_rng(draw)
        slopes = rng.normal(0, spread, 3)
        settings = _factorial(kernel_size=[5, 7], num_groups=[16, 32], shared=[True, False])
        trials = [
            (setting, s, rng.normal(0.9, 0.01) + slopes[s] * (setting["kernel_size"] == 7))
            for setting in settings
            for s in range(3)
        ]
        frame = pd.DataFrame([{**setting, "seed": s, "y": y} for setting, s, y in trials])
        additive = "y ~ C(kernel_size) + C(num_groups) + C(shared) + C(seed)"
        fit = smf.ols(additive, frame).fit()
        expected = [
            f"ResNet-18, ELA: what {name} does differs between seeds: its interval is too narrow."
            for name in settings[0]
            if anova_lm(fit, smf.ols(f"{additive} + C({name}):C(seed)", frame).fit())["Pr(>F)"][1]
            < 0.05
        ]
        notes = _effects(ela(trials)).notes
        assert [note for note in notes if "differs" in note] == expected
        noted += any("kernel_size" in note for note in expected)
    assert (noted >= 5) is (spread > 0)


def test_one_pair_of_columns_cannot_test_what_differs_between_seeds(
    ela: Callable[..., StudyRows],
) -> None:
    """All that is left is that difference, and it is the noise then: a paired t-test."""
    rng = np.random.default_rng(15)
    rows = ela(({"kernel_size": k}, s, rng.normal()) for k in (5, 7) for s in range(4))
    assert _effects(rows).notes == ()


# What a design can tell --------------------------------------------------------------------------


def test_presets_that_change_everything_at_once_are_refused(ela: Callable[..., StudyRows]) -> None:
    found = _effects(
        ela((PRESETS[p], s, 0.9 + 0.01 * s + 0.02 * (p == "L")) for p in "TL" for s in range(3))
    )
    assert [(e.factor, e.difference, e.reason) for e in found.main] == [
        ("kernel_size", None, "groups and num_groups changed with it"),
        ("groups", None, "kernel_size and num_groups changed with it"),
        ("num_groups", None, "kernel_size and groups changed with it"),
    ]
    assert [(t.f, t.reason) for t in found.interactions] == [(None, NOT_TRIED)] * 3


def test_four_presets_tell_effects_if_these_add_up(ela: Callable[..., StudyRows]) -> None:
    """Then L - S is the kernel's effect, L - B that of groups; T - (B + S - L) of norm groups."""
    y = {name: np.random.default_rng(ord(name)).normal(0.9, 0.01, 3) for name in PRESETS}
    found = _effects(ela((PRESETS[name], s, y[name][s]) for name in PRESETS for s in range(3)))
    mean = {name: values.mean() for name, values in y.items()}
    assert [e.difference for e in found.main] == pytest.approx(
        [
            mean["L"] - mean["S"],
            mean["L"] - mean["B"],
            mean["T"] - (mean["B"] + mean["S"] - mean["L"]),
        ]
    )
    assert any("that the effects add up is assumed" in note for note in found.notes)
    assert all(test.reason == NOT_TRIED for test in found.interactions)


@pytest.mark.parametrize("seed", range(20))
def test_what_can_be_told_is_decided_by_ranks(ela: Callable[..., StudyRows], seed: int) -> None:
    """Told in a random part of a grid, if and only if its column adds to the rank of the others."""
    rng = np.random.default_rng(seed)
    cells = [(s, d) for s in _factorial(a=[1, 2], b=[1, 2, 3], c=["x", "y"]) for d in range(3)]
    chosen = [cells[i] for i in rng.choice(len(cells), int(rng.integers(4, 10)), replace=False)]
    rows = ela((setting, d, rng.normal()) for setting, d in chosen)
    family = _family(rows)
    dummies = {
        (factor.name, str(level)): [float(s[factor.name] == level) for s, _ in chosen]
        for factor in family.factors
        for level in [v for v in factor.levels if v in {s[factor.name] for s, _ in chosen}][1:]
    }
    seeds = sorted({d for _, d in chosen})[1:]
    blocks = [[float(d == seed) for _, d in chosen] for seed in seeds]
    matrix = np.array([np.ones(len(chosen)), *dummies.values(), *blocks])
    rank = np.linalg.matrix_rank(matrix)
    for index, key in enumerate(dummies, start=1):
        told = bool(np.linalg.matrix_rank(np.delete(matrix, index, axis=0)) < rank)
        (effect,) = [e for e in main_effects(family) if (e.factor, e.level) == key]
        assert effect.reason.endswith("changed with it") is not told
        assert (effect.difference is not None) == (told and rank < len(chosen))


def test_a_factor_that_changes_with_the_seed_is_refused(ela: Callable[..., StudyRows]) -> None:
    found = _effects(ela(({"kernel_size": k}, k, 0.5 + 0.1 * k) for k in (5, 7)))
    assert [e.reason for e in found.main] == ["seed changed with it"]


def test_one_seed_and_one_trial_of_each_level_show_no_noise(ela: Callable[..., StudyRows]) -> None:
    found = _effects(ela(({"kernel_size": k}, 0, 0.5 + 0.1 * k) for k in (3, 5, 7)))
    assert [(e.difference, e.reason) for e in found.main] == [(None, NO_FREEDOM)] * 2


def test_one_seed_of_a_grid_is_judged_by_what_does_not_add_up(
    ela: Callable[..., StudyRows],
) -> None:
    """A 2 x 2 design without repeats: the residuals are a quarter of the interaction, 1 freedom."""
    a, b, c, d = 0.90, 0.92, 0.95, 0.99
    settings = _factorial(kernel_size=[5, 7], num_groups=[16, 32])
    found = _effects(ela((s, 0, y) for s, y in zip(settings, (a, b, c, d), strict=True)))
    kernel, _ = found.main
    residual = (a - b - c + d) / 4
    assert kernel.difference == pytest.approx((c + d - a - b) / 2)
    assert kernel.margin == pytest.approx(stats.t.ppf(0.975, 1) * math.sqrt(4 * residual**2))
    assert any("no combination was repeated" in note for note in found.notes)
    assert [test.reason for test in found.interactions] == [NO_FREEDOM]


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_scores_without_noise_have_no_interval(ela: Callable[..., StudyRows], gap: float) -> None:
    rows = ela(({"kernel_size": k}, s, 0.8 + gap * (k == 7)) for k in (5, 7) for s in range(3))
    assert [e.reason for e in _effects(rows).main] == [NO_NOISE]


def test_levels_without_a_score_are_told(ela: Callable[..., StudyRows]) -> None:
    """The reference is the smallest level that has a score."""
    scores = {7: (0.9, 0.91, 0.93), 9: (0.92, 0.91, 0.95)}
    lost = {5: {"status": "failed", "metrics": {}}, 11: {"metrics": {"test_top1": math.nan}}}
    rows = ela(
        (
            {"kernel_size": k},
            s,
            scores[k][s] if k in scores else 0.0,
            *([lost[k]] if k in lost else []),
        )
        for k in (5, 7, 9, 11)
        for s in range(3)
    )
    found = _by_title(_effects(rows))
    assert (
        found["kernel_size 5 over 7"].reason == found["kernel_size 11 over 7"].reason == NO_SCORES
    )
    assert found["kernel_size 9 over 7"].difference == pytest.approx(0.04 / 3)
    assert _effects(rows).notes == (
        "ResNet-18, ELA: 6 of 12 trials have no score and are left out.",
    )


def test_nothing_has_a_score(ela: Callable[..., StudyRows]) -> None:
    rows = ela(
        (setting, 0, 0.0, {"status": "unfinished"})
        for setting in _factorial(kernel_size=[5, 7], num_groups=[16, 32])
    )
    found = _effects(rows)
    assert [e.reason for e in found.main] == [NO_SCORES] * 2
    assert [t.reason for t in found.interactions] == [NOT_TRIED]
    assert found.grids[0].n.tolist() == [[0, 0], [0, 0]]
    assert np.isnan(found.grids[0].mean).all()


def test_no_trials_and_no_factors(ela: Callable[..., StudyRows]) -> None:
    for trials in ([], [({"kernel_size": 5}, 0, 0.9), ({"kernel_size": 5}, 1, 0.8)]):
        found = _effects(ela(trials))
        assert found == Effects((), (), (), ())
        assert effects_table(ela(trials), found) is None
        assert interactions_table(ela(trials), found) is None


def test_families_are_not_mixed(trial: Make, study: Study) -> None:
    """Another backbone, another recipe, another module: each has effects of its own."""
    long = {"task": "classification", "dataset": "digits", "recipe.epochs": "90"}
    kinds = [
        ("ELA", {}),
        ("ELA", {"backbone": "resnet50"}),
        ("ELA", {"settings": long}),
        ("CA", {}),
    ]
    rng = np.random.default_rng(6)
    rows = study(
        trial(
            label,
            s,
            rng.normal(0.8, 0.01) + 0.1 * i * (r == 32),
            hyperparameters={"reduction": r},
            **kind,
        )
        for i, (label, kind) in enumerate(kinds)
        for r in (32, 16)
        for s in range(5)
    )
    found = _effects(rows).main
    assert sorted(round(e.difference or 0, 1) for e in found) == [0.0, 0.1, 0.2, 0.3]
    assert len({(e.group, e.module) for e in found}) == 4


def test_placements_and_missing_settings_are_factors_too(ela: Callable[..., StudyRows]) -> None:
    rng = np.random.default_rng(7)
    rows = ela(
        ({"norm": "gn", **({"depth": 2} if i % 2 else {})}, s, rng.normal(), {"placement": place})
        for i in range(2)
        for place in ("stage3", "block_last_bn")
        for s in range(3)
    )
    assert set(_by_title(_effects(rows))) == {
        "depth 2 over none",
        "placement block_last_bn over stage3",
    }


def test_adjusted_and_stopped_trials_are_noted(ela: Callable[..., StudyRows]) -> None:
    changes = {0: {"adjusted": "32 norm groups became 24"}, 2: {"status": "stopped"}}
    rows = ela(
        ({"kernel_size": k}, s, 0.9 + 0.01 * s, *([changes[i]] if i in changes else []))
        for i, (k, s) in enumerate(product((5, 7), range(2)))
    )
    notes = " ".join(_effects(rows).notes)
    assert "1 of them were stopped early" in notes
    assert "2 of 4 trials were adjusted" in notes


def test_grid_means(ela: Callable[..., StudyRows]) -> None:
    rng = np.random.default_rng(8)
    settings = _factorial(
        kernel_size=[7, 5], groups=["in_channels", "in_channels/8"], shared=[True, False]
    )
    trials = [(setting, s, rng.normal()) for setting in settings for s in range(2)]
    trials = [t for t in trials if (t[0]["kernel_size"], t[0]["groups"]) != (7, "in_channels/8")]
    grid = _effects(ela(trials)).grids[0]
    assert grid.factors == ("kernel_size", "groups")
    assert grid.levels == (("5", "7"), ("in_channels", "in_channels/8"))
    assert grid.n.tolist() == [[4, 4], [4, 0]]
    own = [
        y
        for setting, _, y in trials
        if (setting["kernel_size"], setting["groups"]) == (5, "in_channels/8")
    ]
    assert grid.mean[0, 1] == pytest.approx(np.mean(own))
    assert np.isnan(grid.mean[1, 1])


# Simulations -------------------------------------------------------------------------------------


@pytest.fixture
def design(ela: Callable[..., StudyRows]) -> Family:
    """Three levels by two by two, three seeds, some trials missing; scores are to be replaced."""
    settings = _factorial(kernel_size=[3, 5, 7], num_groups=[16, 32], shared=[True, False])
    trials = [(setting, s, 0.0) for setting in settings for s in range(3)]
    return _family(ela(t for i, t in enumerate(trials) if i not in {0, 7, 8, 20, 33}))


def test_the_interval_covers_a_known_effect(design: Family) -> None:
    """In 95 of 100 studies: 2,000 are simulated, with a seed's effect and others' beside it."""
    rng = np.random.default_rng(9)
    kernel, groups, shared = (np.array(design.values(factor)) for factor in design.factors)
    seeds = np.array([trial.seed for trial in design.trials])
    truth = 0.004
    signal = 0.9 + truth * (kernel == 7) - 0.01 * (groups == 32) + 0.02 * shared
    covered = 0
    for _ in range(2000):
        noise = rng.normal(0, 0.005, len(seeds)) + rng.normal(0, 0.02, 3)[seeds]
        found = main_effects(replace(design, scores=signal + noise))
        (effect,) = [e for e in found if e.level == "7"]
        assert effect.difference is not None
        assert effect.margin is not None
        covered += abs(effect.difference - truth) < effect.margin
    assert 0.93 < covered / 2000 < 0.97


def test_interactions_are_found_if_there_are_any(design: Family) -> None:
    """Without: at the level of the test. With one of three times the noise: mostly, alone."""
    rng = np.random.default_rng(10)
    kernel, groups = (np.array(design.values(factor)) for factor in design.factors[:2])
    planted = 0.015 * ((kernel == 7) & (groups == 32))
    chance = np.zeros(3)
    found = np.zeros(3)
    for _ in range(600):
        noise = rng.normal(0.9, 0.005, len(kernel))
        chance += [t.p < 0.05 for t in interactions(replace(design, scores=noise))]
        found += [t.p < 0.05 for t in interactions(replace(design, scores=noise + planted))]
    assert (chance / 600 > 0.025).all()
    assert (chance / 600 < 0.08).all()
    assert found[0] / 600 > 0.8
    assert (found[1:] / 600 < 0.08).all()


def test_false_positives_after_holm_stay_below_their_level(ela: Callable[..., StudyRows]) -> None:
    """Six levels that are all alike, five of them against the same reference."""
    rng = np.random.default_rng(11)
    design = _family(ela(({"factor": f}, s, 0.0) for f in (2, 4, 8, 16, 32, 64) for s in range(3)))
    wrong = 0
    for _ in range(2000):
        found = main_effects(replace(design, scores=rng.normal(size=len(design.trials))))
        wrong += any(p is not None and p < 0.05 for p in holm([effect.p for effect in found]))
    assert 0.02 < wrong / 2000 < 0.05


# In words and in tables --------------------------------------------------------------------------


def test_in_words(ela: Callable[..., StudyRows]) -> None:
    """Two levels, three seeds: the paired t-test of two columns, worked by hand.

    Differences 0.01, 0.02, 0.03: mean 0.02, standard error 0.01 / sqrt(3); t(0.975, 2) = 4.3027.
    """
    scores = {5: (0.80, 0.81, 0.85), 7: (0.81, 0.83, 0.88)}
    rows = ela(({"kernel_size": k}, s, scores[k][s]) for k in (5, 7) for s in range(3))
    found = _effects(rows)
    p = stats.ttest_rel(scores[7], scores[5]).pvalue
    assert f"{p:.2g}" == "0.074"
    assert sentences(found, rows.compared) == (
        "ResNet-18, ELA: kernel_size 7 over 5: +2.00 ± 2.48 points (95 %; p = 0.074 after Holm).",
    )


def test_refusals_and_interactions_in_words(ela: Callable[..., StudyRows]) -> None:
    rows = ela((PRESETS[p], s, 0.9) for p in "TL" for s in range(3))
    assert sentences(_effects(rows), rows.compared) == (
        "3 effects cannot be told: the table of effects says why.",
    )
    table = effects_table(rows, _effects(rows))
    assert table is not None
    assert (
        "ResNet-18, ELA: kernel_size 7 over 5: cannot be told, groups and num_groups changed with "
        "it." in table.limits
    )
    rng = np.random.default_rng(12)
    settings = _factorial(kernel_size=[5, 7], num_groups=[16, 32])
    crossed = ela(
        (s, seed, rng.normal(0.9, 0.001) + 0.1 * (s == settings[0]))
        for s in settings
        for seed in range(3)
    )
    assert sentences(_effects(crossed), crossed.compared)[-1] == (
        "ResNet-18, ELA: kernel_size × num_groups: the effect of one depends on the other "
        "(p < 0.001 after Holm): read the grid of both, not the effect of one."
    )


def test_one_effect_that_cannot_be_told_is_one(ela: Callable[..., StudyRows]) -> None:
    rows = ela(({"kernel_size": k}, k, 0.5 + 0.1 * k) for k in (5, 7))
    assert sentences(_effects(rows), rows.compared) == (
        "1 effect cannot be told: the table of effects says why.",
    )


def test_holm_is_over_all_modules_of_the_study(trial: Make, study: Study) -> None:
    """Of main effects, and of interactions: each is one family, whatever the module."""
    rng = np.random.default_rng(16)
    rows = study(
        trial(
            f"{module}-{i}",
            s,
            rng.normal(0.8, 0.01) + 0.015 * (i > 1),
            hyperparameters=setting,
        )
        for module in ("ELA", "CA")
        for i, setting in enumerate(_factorial(reduction=[16, 32], kernel_size=[5, 7]))
        for s in range(3)
    )
    found = _effects(rows)
    assert {e.module for e in found.main} == {"ELA", "CA"}
    for tests in (found.main, found.interactions):
        expected = multipletests([one.p for one in tests], method="holm")[1]
        assert [one.p_holm for one in tests] == pytest.approx(list(expected))
    assert (len(found.main), len(found.interactions)) == (4, 2)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (range(1, 7), "levels"),
        (range(1, 8), "linear"),
        ((1, 2, 3, 4, 5, 6, 10), "linear"),
        ((1, 2, 3, 4, 5, 6, 11), "log"),
        ((0, 2, 3, 4, 5, 6, 11), "linear"),
    ],
)
def test_many_numbers_have_a_slope_and_wide_ones_one_of_the_logarithm(
    ela: Callable[..., StudyRows], values: Iterable[int], scale: str
) -> None:
    """More than six; more than a factor of 10."""
    rows = ela(({"factor": value}, s, 0.8) for value in values for s in range(2))
    (factor,) = _family(rows).factors
    assert factor.scale == scale


def test_captions_and_notes_say_how_to_read_the_effects(trial: Make, study: Study) -> None:
    rng = np.random.default_rng(17)
    top1, loss = Metric("top1", "Top-1 (%)", "max", 100), Metric("loss", "Loss (nats)", "min")
    for metrics in ((top1,), (loss,)):
        rows = study(
            (
                trial(
                    f"ELA-{k}",
                    s,
                    hyperparameters={"kernel_size": k},
                    metrics={f"test_{metrics[0].name}": rng.normal()},
                )
                for k in (5, 7)
                for s in range(3)
            ),
            metrics=metrics,
        )
        table = effects_table(rows, _effects(rows))
        assert table is not None
        assert "choose on validation" in table.caption
        assert "Seeds are taken to shift all trials of a module alike" in table.notes[0]
        assert ("Less is better." in table.limits) is (metrics[0] is loss)


def test_tables(ela: Callable[..., StudyRows]) -> None:
    rng = np.random.default_rng(13)
    settings = [*_factorial(kernel_size=[5, 7], num_groups=[16, 32])]
    rows = ela((s, seed, rng.normal(0.9, 0.01)) for s in settings for seed in range(3))
    found = _effects(rows)
    table = effects_table(rows, found)
    assert table is not None
    assert [c.heading for c in table.columns][4:6] == ["ΔTop-1 (points)", "± 95 % (points)"]
    (section,) = table.sections
    first, kernel = section.rows[0], found.main[0]
    assert section.title == "ResNet-18"
    assert [cell.text for cell in first[:4]] == ["ELA", "kernel_size", "7 over 5", "12"]
    assert first[4].text == f"{100 * (kernel.difference or 0):+.2f}"
    assert first[4].runs == kernel.runs
    assert first[5].sort == kernel.margin
    record = table.records[0]
    assert record["test_top1_pct_low"] == pytest.approx(
        100 * ((kernel.difference or 0) - (kernel.margin or 0))
    )
    crossed = interactions_table(rows, found)
    assert crossed is not None
    assert [cell.text for cell in crossed.sections[0].rows[0]][1:5] == [
        "kernel_size × num_groups",
        "12",
        f"{found.interactions[0].f:.2f}",
        "1, 6",
    ]
    assert crossed.records[0]["degrees_of_freedom_noise"] == 6


def test_tables_say_what_cannot_be_told(ela: Callable[..., StudyRows]) -> None:
    rows = ela((PRESETS[p], s, 0.9) for p in "TL" for s in range(3))
    table, crossed = (
        effects_table(rows, _effects(rows)),
        interactions_table(rows, _effects(rows)),
    )
    assert table is not None
    assert crossed is not None
    assert [cell.text for cell in table.sections[0].rows[0]][4:] == ["–"] * 4
    assert any("groups and num_groups changed with it" in note for note in table.limits)
    assert table.records[0]["test_top1_pct_difference"] is None
    assert any(NOT_TRIED in note for note in crossed.limits)
