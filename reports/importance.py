"""How much of the variation each hyperparameter is responsible for, by Optuna's two estimators.

fANOVA (Hutter et al., ICML 2014) fits a random forest to the scores and takes its variance apart:
a factor's share is that of the means over all others. PED-ANOVA (Watanabe et al., IJCAI 2023) asks
what sets the best trials apart: how far a factor's distribution among them is from that among all.
Shares of each sum to 1. Neither says in which direction, and neither has an interval: the seeds of
one setting enter as trials, so that noise has a share as well. Effects have both. How large a share
noise alone can have, shuffling tells: the scores of each seed change places among its trials, so
that no factor does anything, and PED-ANOVA, which takes milliseconds, is asked again.

Deviations: Optuna codes a category as one column for each level, so that its trees weigh three
levels by a half, a quarter and a quarter; here fANOVA sees the index of a level, and all weigh the
same. Its forest is smaller than Optuna's (64 trees of any depth), which took minutes for 2,000
trials: 64 leaves are enough for six factors of two levels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from reports.configs import ConfigRow
from reports.effects import ROUNDING, confounded
from reports.factors import Array, Factor, Family, families, joined
from reports.rows import StudyRows

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Evaluator = Literal["PED-ANOVA", "fANOVA"]
EVALUATORS: tuple[Evaluator, ...] = get_args(Evaluator)

LEAST_TRIALS = 20
"""Of which the best five are a quarter."""
BEST = 5
"""Trials that Optuna advises for PED-ANOVA at least."""
QUANTILE = 0.1
"""Of the trials that are the best ones, where that is more; Optuna's."""
TREES, DEPTH, FOREST_SEED = 32, 6, 0
"""Of the forest."""
SHUFFLES, SHUFFLE_SEED = 50, 0
UNLIKELY = 0.95
"""Of shuffled studies, the share with a smaller value than the one that is told."""
NOTHING: Mapping[Evaluator, str] = {
    "PED-ANOVA": "the best trials are set as all are",
    "fANOVA": "no hyperparameter explains anything by itself",
}
"""Why an estimator may find nothing that could be shared."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of the hyperparameters of one module on one backbone, by one estimator."""

    group: str
    module: str
    evaluator: Evaluator
    runs: tuple[str, ...]
    """MLflow ids of the trials with a score."""
    shares: Mapping[str, float] | None
    """By factor, which sum to 1; None where they cannot be told."""
    alone: float | None = None
    """Of fANOVA: share of the forest's variance that single factors explain. The rest is
    interactions, and noise that looks like them."""
    chance: tuple[float, float] | None = None
    """Of PED-ANOVA: the largest share where no factor does anything, as the median of shuffled
    studies and their quantile ``UNLIKELY``."""
    left_out: tuple[str, ...] = ()
    """Factors of which only one value has a score."""
    reason: str = ""
    """Why there are no shares."""


def importances(rows: StudyRows, configs: Sequence[ConfigRow]) -> tuple[Importance, ...]:
    """Return the importance of hyperparameters for the metric that a study compares.

    For each family in which at least two of them vary, by each estimator.
    """
    return tuple(
        _importance(family, evaluator, maximize=rows.compared.mode == "max")
        for family in families(rows, configs)
        if len(family.factors) > 1
        for evaluator in EVALUATORS
    )


def reasons(found: Sequence[Importance]) -> tuple[str, ...]:
    """Return in words where importance cannot be told, or not of all factors, and why."""
    return tuple(dict.fromkeys(text for one in found for text in _reasons(one)))


def _reasons(importance: Importance) -> Iterator[str]:
    title = f"{importance.group}, {importance.module}"
    if importance.reason:
        yield f"{title}: no importance: {importance.reason}."
    if importance.left_out:
        yield f"{title}: {joined(importance.left_out)} left out: only one value has a score."


def _importance(family: Family, evaluator: Evaluator, *, maximize: bool) -> Importance:
    varied = tuple(f for f in family.factors if len(set(family.values(f))) > 1)
    importance = Importance(
        group=family.group,
        module=family.module,
        evaluator=evaluator,
        runs=tuple(trial.run_id for trial in family.trials),
        shares=None,
    )
    left_out = tuple(factor.name for factor in family.factors if factor not in varied)
    family = replace(family, factors=varied)
    reason = _too_little(family)
    if reason:
        return replace(importance, reason=reason)
    losses = _losses(family.scores, maximize=maximize)
    with _quiet():
        study = _study(family, evaluator)
        found = _evaluate(study, evaluator, losses)
        total = sum(found.values())
        if not total:
            return replace(importance, reason=f"{NOTHING[evaluator]} ({evaluator})")
        return replace(
            importance,
            shares={factor.name: float(found[factor.name] / total) for factor in varied},
            alone=float(total) if evaluator == "fANOVA" else None,
            chance=_chance(family, study, losses) if evaluator == "PED-ANOVA" else None,
            left_out=left_out,
        )


def _too_little(family: Family) -> str:
    """Return why shares of a family would mean nothing; empty if they mean something."""
    count = len(family.trials)
    if count < LEAST_TRIALS:
        return f"{count} trials have a score, and below {LEAST_TRIALS} the best {BEST} are too many"
    if np.ptp(family.scores) <= ROUNDING * np.abs(family.scores).max():
        return "all scores are equal"
    if len(family.factors) < 2:
        return "fewer than two hyperparameters have two values with a score"
    alike = confounded(family)
    return f"the design does not tell {joined(alike)} apart" if alike else ""


def _losses(scores: Array, *, maximize: bool) -> Array:
    """Return scores (N,) of unit variance, less being better: forests do not split small ones."""
    losses: Array = (scores - scores.mean()) / scores.std()
    return -losses if maximize else losses


def _study(family: Family, evaluator: Evaluator) -> Study:
    """Return the trials of a family as Optuna has them; their values are given to estimators."""
    import optuna

    columns = {f.name: _parameter(family, f, evaluator) for f in family.factors}
    distributions = {name: distribution for name, (distribution, _) in columns.items()}
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: values[index] for name, (_, values) in columns.items()},
                distributions=distributions,
                value=0.0,
            )
            for index in range(len(family.trials))
        ]
    )
    return study


def _evaluate(study: Study, evaluator: Evaluator, losses: Array) -> Mapping[str, float]:
    """Return what an estimator of Optuna says of each factor, not yet as shares."""
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    def loss(trial: FrozenTrial) -> float:
        return float(losses[trial.number])

    if evaluator == "fANOVA":
        forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=FOREST_SEED)
        return forest.evaluate(study, target=loss)
    quantile = max(QUANTILE, BEST / len(losses))
    return PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, target=loss)


def _chance(family: Family, study: Study, losses: Array) -> tuple[float, float]:
    """Return median and quantile of the largest share by PED-ANOVA of shuffled losses (N,).

    Within the seeds, since what a seed does to all trials is not what is asked.
    """
    generator = np.random.default_rng(SHUFFLE_SEED)
    seeds = np.array([trial.seed for trial in family.trials])
    places = np.argsort(seeds, kind="stable")
    shuffled = np.empty_like(losses)
    largest = []
    for _ in range(SHUFFLES):
        shuffled[places] = losses[np.lexsort((generator.random(len(seeds)), seeds))]
        found = _evaluate(study, "PED-ANOVA", shuffled).values()
        largest.append(max(found) / (sum(found) or 1))
    return float(np.median(largest)), float(np.quantile(largest, UNLIKELY))


def _parameter(
    family: Family, factor: Factor, evaluator: Evaluator
) -> tuple[BaseDistribution, list[float]]:
    """Return a factor as Optuna takes it: its distribution, and its value in each trial (N,).

    Levels count if they have a score, and are then told by their index.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    at = factor.positions(family.values(factor))
    if factor.scale != "levels":
        return FloatDistribution(at.min(), at.max()), at.tolist()
    levels, index = np.unique(at, return_inverse=True)
    if evaluator == "PED-ANOVA":
        return CategoricalDistribution(range(len(levels))), index.tolist()
    return FloatDistribution(-0.5, len(levels) - 0.5), index.astype(float).tolist()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling users of a report that it makes studies."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
