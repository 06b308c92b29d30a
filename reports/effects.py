"""What each hyperparameter does to the score, and whether two of them depend on each other.

The model of a family (one module, one backbone, one recipe) is additive, fitted by ordinary least
squares to the score of every trial on the test split:

    score = mean + seed + one term for each factor + noise

Seeds are blocks: what a seed does to all trials is no noise. What it does to one level alone would
be, and not for each trial anew: where the F test of seed by factor shows it, a note says that the
interval is too narrow. A factor is a category, each level
against its reference (the smallest number, else the first of the grid); a number with more levels
than can be compared has a slope. A main effect so is the mean over whatever else varies, and where
the design is not balanced, the other factors are held equal. Intervals are Student's, 95 %, from
the residuals of the model; p is corrected by Holm over all main effects of the study.

An interaction is tested by the F test of two nested models: the additive one, and with the products
of two factors' terms. These p are a family of their own.

Whether a design can tell a difference at all is decided numerically: a coefficient can be estimated
if and only if it is in the row space of the design (Searle, Linear Models, 1971, section 5.4).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from reports.configs import ConfigRow
from reports.factors import Array, Factor, Family, Scale, families, joined, text_of_level
from reports.rows import StudyRows
from reports.stats import LEVEL, holm

if TYPE_CHECKING:
    from statsmodels.regression.linear_model import RegressionResults

ROUNDING = 1e-9
"""Residuals below this share of the scores are rounding, and show no noise."""
SEED = "seed"
"""The term of the blocks."""

NO_FREEDOM = "there are as many terms as trials, so nothing is left to judge the noise by"
NO_NOISE = "the model leaves no residuals, so there is no noise to judge it by"
NO_SCORES = "too few of its values have a score"
NOT_TRIED = "the combinations that have a score do not tell it from the effects of each alone"


@dataclass(frozen=True, kw_only=True)
class MainEffect:
    """One level of a factor against the reference; or the slope of a factor."""

    group: str
    module: str
    factor: str
    level: str
    reference: str
    """Of a slope, the other end of the range that has a score."""
    runs: tuple[str, ...]
    """MLflow ids of the trials at the two levels, of a slope of all."""
    scale: Scale
    """Of a logarithmic slope, the difference is what a factor of 10 does."""
    difference: float | None = None
    """As stored; None where the design cannot tell it, or the noise."""
    margin: float | None = None
    """Half of its 95 % interval."""
    freedom: int | None = None
    """Degrees of freedom of the noise."""
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""
    """Why there is no difference."""

    @property
    def comparison(self) -> str:
        """What is compared ("7 over 5")."""
        if self.scale == "log":
            return "per factor of 10"
        return f"{self.level} over {self.reference}" + ", on a line" * (self.scale == "linear")

    @property
    def title(self) -> str:
        """Of what it is the effect ("ResNet-18, ELA: kernel_size 7 over 5")."""
        return f"{self.group}, {self.module}: {self.factor} {self.comparison}"


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """Whether the effect of one factor depends on another."""

    group: str
    module: str
    factors: tuple[str, str]
    runs: tuple[str, ...]
    f: float | None = None
    freedom: tuple[int, int] | None = None
    """Degrees of freedom of the products, and of the noise."""
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""
    """Why there is no test."""

    @property
    def title(self) -> str:
        """Whose interaction it is ("ResNet-18, ELA: kernel_size × groups")."""
        return f"{self.group}, {self.module}: {' × '.join(self.factors)}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Mean scores over two factors, plain means over whatever else varies."""

    group: str
    module: str
    factors: tuple[str, str]
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    """Of the rows (R) and columns (C)."""
    mean: Array
    """(R, C), as stored; nan where no trial has a score."""
    n: NDArray[np.int64]
    """(R, C), trials with a score."""


@dataclass(frozen=True)
class Effects:
    """Of all hyperparameters of a study."""

    main: tuple[MainEffect, ...]
    interactions: tuple[Interaction, ...]
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    """What a reader must know of the designs."""


def effects(rows: StudyRows, configs: Sequence[ConfigRow]) -> Effects:
    """Return the effects of a study's hyperparameters on the metric that it compares."""
    found = families(rows, configs)
    return Effects(
        main=_corrected([effect for family in found for effect in main_effects(family)]),
        interactions=_corrected([test for family in found for test in interactions(family)]),
        grids=tuple(grid for family in found for grid in _grids(family)),
        notes=tuple(f"{f.title}: {note}." for f in found for note in (*f.notes, *_notes(f))),
    )


def confounded(family: Family) -> tuple[str, ...]:
    """Return the factors whose effects the design of a family does not tell from others'."""
    design = _design(family)
    pairs = zip(design.columns, design.estimable, strict=True)
    aliased = (n for (n, column), told in pairs if not told and column.values.any() and n != SEED)
    return tuple(dict.fromkeys(aliased))


# The design --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of a design: what its coefficient says."""

    values: Array
    """(N,)"""
    level: str = ""
    reference: str = ""
    concerned: NDArray[np.bool_] | None = None
    """(N,): trials that have the level or the reference; None for a slope, which all have."""
    scale: Scale = "levels"


Term = tuple[_Column, ...]
"""A factor, the seeds, or the products of two factors."""


@dataclass(frozen=True)
class _Design:
    """A linear model of the scores (N,): a mean and terms."""

    scores: Array
    terms: Mapping[str, Term]

    @property
    def columns(self) -> list[tuple[str, _Column]]:
        """The columns after that of the mean, each with the name of its term."""
        return [(name, column) for name, term in self.terms.items() for column in term]

    @cached_property
    def matrix(self) -> Array:
        """The design (N, 1 + columns)."""
        return np.column_stack([np.ones(len(self.scores)), *(c.values for _, c in self.columns)])

    @cached_property
    def fit(self) -> RegressionResults:
        """Least squares, of least norm where the columns depend on each other."""
        from statsmodels.regression.linear_model import OLS
        from statsmodels.tools.sm_exceptions import SingularMatrixWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularMatrixWarning)  # estimable says what is unique
            return OLS(self.scores, self.matrix).fit()

    @cached_property
    def estimable(self) -> NDArray[np.bool_]:
        """(columns,): whether the coefficient has one value in all fits that are best."""
        row_space = np.linalg.pinv(self.matrix) @ self.matrix
        return np.isclose(np.diag(row_space)[1:], 1)

    def can_tell(self, column: _Column) -> bool:
        """Tell whether the coefficient of a column can be estimated."""
        pairs = zip(self.columns, self.estimable, strict=True)
        return any(found for (_, other), found in pairs if other is column)

    def without(self, names: Collection[str]) -> _Design:
        """Return the model without some of its terms."""
        return _Design(self.scores, {n: t for n, t in self.terms.items() if n not in names})

    def with_products(self, a: str, b: str) -> _Design:
        """Return the model with the products of two of its terms."""
        pairs = product(self.terms[a], self.terms[b])
        products = tuple(_Column(x.values * y.values) for x, y in pairs)
        return _Design(self.scores, {**self.terms, f"{a} × {b}": products})

    @property
    def silence(self) -> str:
        """Why the fit says nothing of the noise; empty if it does."""
        if not self.fit.df_resid:
            return NO_FREEDOM
        limit = ROUNDING**2 * float(self.scores @ self.scores)
        return NO_NOISE if self.fit.ssr <= limit else ""


def _design(family: Family) -> _Design:
    """Return the additive model of a family."""
    terms = {factor.name: _term(factor, family) for factor in family.factors}
    seeds = np.array([trial.seed for trial in family.trials])
    blocks = tuple(_Column((seeds == seed).astype(float)) for seed in np.unique(seeds)[1:])
    return _Design(family.scores, {**terms, SEED: blocks} if blocks else terms)


def _term(factor: Factor, family: Family) -> Term:
    """Return the columns of a factor.

    The reference is the first level that has a score. A level without one is a column of zeros.
    """
    at = factor.positions(family.values(factor))
    if factor.scale != "levels":
        return (_slope(factor, family),)
    names = _names(factor)
    first = int(at.min()) if at.size else 0
    return tuple(
        _Column((at == level).astype(float), name, names[first], np.isin(at, (level, first)))
        for level, name in enumerate(names)
        if level != first
    )


def _slope(factor: Factor, family: Family) -> _Column:
    """Return the column of a slope, over the range that has a score: beyond it, nothing is known.

    Where that is no range, it is the column of a constant, which tells nothing.
    """
    values = family.values(factor)
    scored = [level for level in factor.levels if level in values]
    low, *_, high = scored if len(scored) > 1 else factor.levels
    at, (start, end) = factor.positions(values), factor.positions((low, high))
    if factor.scale == "linear":
        at = (at - start) / (end - start)
    return _Column(at, text_of_level(high), text_of_level(low), scale=factor.scale)


# What the design tells ---------------------------------------------------------------------------


def main_effects(family: Family) -> Iterator[MainEffect]:
    """Yield the main effects of a family; their p are not corrected."""
    design = _design(family)
    for index, (name, column) in enumerate(design.columns, start=1):
        if name == SEED:
            continue
        effect = MainEffect(
            group=family.group,
            module=family.module,
            factor=name,
            level=column.level,
            reference=column.reference,
            runs=_runs(family, column.concerned),
            scale=column.scale,
        )
        told = design.can_tell(column)
        reason = design.silence if told else _obstacle(design, name, column)
        if reason:
            yield replace(effect, reason=reason)
            continue
        low, high = design.fit.conf_int(LEVEL)[index]
        yield replace(
            effect,
            difference=float(design.fit.params[index]),
            margin=float(high - low) / 2,
            freedom=int(design.fit.df_resid),
            p=float(design.fit.pvalues[index]),
        )


def _obstacle(design: _Design, name: str, column: _Column) -> str:
    """Return why a coefficient cannot be estimated: the terms in its way, and none too many."""
    in_the_way = [other for other in design.terms if other != name]
    if not design.without(in_the_way).can_tell(column):
        return NO_SCORES
    for other in reversed(in_the_way):
        fewer = [term for term in in_the_way if term != other]
        if design.without(fewer).can_tell(column):
            in_the_way = fewer
    return f"{joined(in_the_way)} changed with it"


def interactions(family: Family) -> Iterator[Interaction]:
    """Yield the tests of a family's interactions; their p are not corrected."""
    additive = _design(family)
    for a, b in combinations(family.factors, 2):
        test = Interaction(
            group=family.group,
            module=family.module,
            factors=(a.name, b.name),
            runs=_runs(family),
        )
        full = additive.with_products(a.name, b.name)
        reason = _silence_of_test(additive, full)
        if reason:
            yield replace(test, reason=reason)
            continue
        f, p, _ = full.fit.compare_f_test(additive.fit)
        freedom = (int(additive.fit.df_resid - full.fit.df_resid), int(full.fit.df_resid))
        yield replace(test, f=float(f), freedom=freedom, p=float(p))


def _silence_of_test(additive: _Design, full: _Design) -> str:
    """Return why two nested models cannot be compared; empty if they can."""
    if not len(additive.scores) or additive.fit.df_resid == full.fit.df_resid:
        return NOT_TRIED
    return full.silence


def _differ_between_seeds(family: Family) -> Iterator[str]:
    """Yield the factors whose effect depends on the seed, by the F test of an interaction."""
    additive = _design(family)
    for factor in family.factors if SEED in additive.terms else ():
        full = additive.with_products(factor.name, SEED)
        if not _silence_of_test(additive, full):
            _, p, _ = full.fit.compare_f_test(additive.fit)
            if p < LEVEL:
                yield factor.name


def _grids(family: Family) -> Iterator[Grid]:
    for a, b in combinations([f for f in family.factors if f.scale == "levels"], 2):
        shape = len(a.levels), len(b.levels)
        at = a.positions(family.values(a)), b.positions(family.values(b))
        cells = np.ravel_multi_index((at[0].astype(int), at[1].astype(int)), shape)
        n = np.bincount(cells, minlength=shape[0] * shape[1])
        total = np.bincount(cells, weights=family.scores, minlength=len(n))
        mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
        yield Grid(
            group=family.group,
            module=family.module,
            factors=(a.name, b.name),
            levels=(_names(a), _names(b)),
            mean=mean.reshape(shape),
            n=n.reshape(shape),
        )


def _names(factor: Factor) -> tuple[str, ...]:
    return tuple(map(text_of_level, factor.levels))


def _notes(family: Family) -> Iterator[str]:
    """Yield what the model of a family takes for granted, and where it is seen not to hold."""
    tried = len({tuple(setting.values()) for setting in family.settings})
    factors = _design(family).without([SEED])
    if family.trials and tried == len(family.trials):
        yield "no combination was repeated: noise is whatever the effects do not add up to"
    rank = int(np.linalg.matrix_rank(factors.matrix)) if family.trials else 0
    if len(family.factors) > 1 and rank == tried and factors.estimable.any():
        yield "that the effects add up is assumed, the combinations that were tried cannot test it"
    for factor in _differ_between_seeds(family):
        yield f"what {factor} does differs between seeds: its interval is too narrow"


def _runs(family: Family, concerned: NDArray[np.bool_] | None = None) -> tuple[str, ...]:
    ids = [trial.run_id for trial in family.trials]
    return tuple(ids if concerned is None else np.array(ids, dtype=object)[concerned])


Tested = TypeVar("Tested", MainEffect, Interaction)


def _corrected(found: Sequence[Tested]) -> tuple[Tested, ...]:
    """Return effects or tests with p by Holm's correction."""
    corrected = holm([one.p for one in found])
    return tuple(replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True))
