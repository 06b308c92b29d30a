"""The table of hyperparameter importance: a row for each hyperparameter of a module."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from reports.importance import (
    BEST,
    EVALUATORS,
    QUANTILE,
    UNLIKELY,
    Evaluator,
    Importance,
    reasons,
)
from reports.printed import metric_name
from reports.rows import StudyRows
from reports.tables.base import MISSING, Cell, Column, Section, Table

Shares = dict[Evaluator, Importance]
"""Of one module on one backbone."""


def importance_table(rows: StudyRows, found: Sequence[Importance]) -> Table | None:
    """Return the importance of hyperparameters; None where no module has any that can be told."""
    groups: dict[str, dict[str, Shares]] = defaultdict(lambda: defaultdict(dict))
    for one in found:
        if one.shares is not None:
            groups[one.group][one.module][one.evaluator] = one
    if not groups:
        return None
    return Table(
        name="importance",
        study=rows.study,
        title="Importance of hyperparameters",
        columns=(
            Column(title="Module"),
            Column(title="Hyperparameter"),
            Column(title="Trials", kind="number"),
            *(Column(title=evaluator, unit="%", kind="number") for evaluator in EVALUATORS),
        ),
        sections=tuple(
            Section(
                title=group,
                rows=tuple(row for m, shares in modules.items() for row in _rows(m, shares)),
            )
            for group, modules in groups.items()
        ),
        caption=(
            f"Share of each hyperparameter in what varies of {metric_name(rows.compared)} on the "
            "test split, by module; it says how much, not in which direction. A level picked from "
            "this table has been chosen on the test split; choose on validation."
        ),
        notes=(
            "fANOVA: share in the variance of a random forest. PED-ANOVA: share in what sets the "
            f"best {QUANTILE:.0%} of the trials, at least {BEST}, and what ties with them, apart "
            "from all.",
            "Shares sum to 100 % whatever there is to share: with few trials much of it is noise. "
            "Whether there is an effect at all, the table of effects says.",
            *(_alone(i) for i in found if i.alone is not None),
            *(_chance(i, i.chance) for i in found if i.chance is not None),
            *reasons(found),
        ),
        records=[_record(one, factor) for one in found for factor in one.shares or ()],
    )


def _rows(module: str, shares: Shares) -> list[tuple[Cell, ...]]:
    """Return a row for each factor; the estimators have the same ones."""
    first = next(iter(shares.values()))
    return [
        (
            Cell(text=module, sort=module),
            Cell(text=factor, sort=factor),
            Cell(text=str(len(first.runs)), sort=len(first.runs), runs=first.runs),
            *(_share(shares.get(evaluator), factor) for evaluator in EVALUATORS),
        )
        for factor in first.shares or ()
    ]


def _share(importance: Importance | None, factor: str) -> Cell:
    if importance is None or importance.shares is None:
        return Cell(text=MISSING)
    share = importance.shares[factor]
    return Cell(text=f"{100 * share:.0f}", sort=share, runs=importance.runs)


def _alone(importance: Importance) -> str:
    return (
        f"{importance.group}, {importance.module}: one by one, hyperparameters explain "
        f"{importance.alone:.0%} of the forest's variance; the rest is interactions, and noise."
    )


def _chance(importance: Importance, chance: tuple[float, float]) -> str:
    median, high = chance
    return (
        f"{importance.group}, {importance.module}: with the scores of each seed shuffled, so that "
        f"no hyperparameter does anything, the largest share by {importance.evaluator} is "
        f"{median:.0%} (median), and above {high:.0%} in one of {1 / (1 - UNLIKELY):.0f} studies."
    )


def _record(importance: Importance, factor: str) -> dict[str, object]:
    return {
        "group": importance.group,
        "module": importance.module,
        "hyperparameter": factor,
        "evaluator": importance.evaluator,
        "trials": len(importance.runs),
        "share": (importance.shares or {})[factor],
    }
