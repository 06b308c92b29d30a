"""The tables of main effects and of interactions of hyperparameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from reports.effects import Effects, Interaction, MainEffect
from reports.printed import metric_name, number, probability_text, unit_of_change
from reports.rows import StudyRows
from reports.tables.base import MISSING, Cell, Column, Section, Table
from sweep.tasks.base import Metric

Row = tuple[Cell, ...]


def effects_table(rows: StudyRows, found: Effects) -> Table | None:
    """Return the main effects of a study; None if no hyperparameter of a module varies."""
    if not found.main:
        return None
    metric = rows.compared
    name, unit = metric_name(metric), unit_of_change(metric)
    return Table(
        name="effects",
        study=rows.study,
        title="Effects of hyperparameters",
        columns=(
            Column(title="Module"),
            Column(title="Hyperparameter"),
            Column(title="Compared"),
            Column(title="Trials", kind="number"),
            Column(title=f"Δ{name}", unit=unit, kind="number"),
            Column(title="± 95 %", unit=unit, kind="number"),
            Column(title="p", kind="number"),
            Column(title="p after Holm", kind="number"),
        ),
        sections=_sections((e.group, _effect_row(e, metric)) for e in found.main),
        caption=(
            f"What a hyperparameter does to {name} on the test split, the others and the seed held "
            "equal; ± is half of the 95 % interval. Scores are of the test split: a level picked "
            "from this table has been chosen on it; choose on validation."
        ),
        limits=(
            *(["Less is better."] if metric.mode == "min" else []),
            *(f"{e.title}: cannot be told, {e.reason}." for e in found.main if e.reason),
            *found.notes,
        ),
        notes=(
            "By least squares for each module: score = mean + seed + one term for each "
            "hyperparameter. Seeds are taken to shift all trials of a module alike. Intervals are "
            "Student's, each by itself; Holm's correction is of the p-values, over all rows.",
        ),
        records=[_effect_record(effect, metric) for effect in found.main],
    )


def interactions_table(rows: StudyRows, found: Effects) -> Table | None:
    """Return the interactions of a study; None if no module has two hyperparameters that vary."""
    if not found.interactions:
        return None
    return Table(
        name="interactions",
        study=rows.study,
        title="Interactions of hyperparameters",
        columns=(
            Column(title="Module"),
            Column(title="Hyperparameters"),
            Column(title="Trials", kind="number"),
            Column(title="F", kind="number"),
            Column(title="Degrees of freedom"),
            Column(title="p", kind="number"),
            Column(title="p after Holm", kind="number"),
        ),
        sections=_sections((test.group, _interaction_row(test)) for test in found.interactions),
        caption="Whether the effect of one hyperparameter depends on another.",
        notes=(
            "F test of the model of the main effects with the products of two hyperparameters "
            "against the model without. Holm's correction is over all rows.",
        ),
        limits=tuple(
            f"{t.title}: cannot be told, {t.reason}." for t in found.interactions if t.reason
        ),
        records=[_interaction_record(test) for test in found.interactions],
    )


def _sections(rows: Iterable[tuple[str, Row]]) -> tuple[Section, ...]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for group, row in rows:
        groups[group].append(row)
    return tuple(Section(title=group, rows=tuple(own)) for group, own in groups.items())


def _effect_row(effect: MainEffect, metric: Metric) -> Row:
    return (
        Cell(text=effect.module, sort=effect.module),
        Cell(text=effect.factor, sort=effect.factor),
        Cell(text=effect.comparison),
        Cell(text=str(len(effect.runs)), sort=len(effect.runs), runs=effect.runs),
        _score(effect.difference, metric, "+", effect.runs),
        _score(effect.margin, metric, runs=effect.runs),
        _p(effect.p, effect.runs),
        _p(effect.p_holm, effect.runs),
    )


def _interaction_row(test: Interaction) -> Row:
    freedom = MISSING if test.freedom is None else "{}, {}".format(*test.freedom)
    return (
        Cell(text=test.module, sort=test.module),
        Cell(text=" × ".join(test.factors), sort=" × ".join(test.factors)),
        Cell(text=str(len(test.runs)), sort=len(test.runs), runs=test.runs),
        Cell(
            text=MISSING if test.f is None else f"{test.f:.2f}",
            sort=test.f,
            runs=test.runs if test.f is not None else (),
        ),
        Cell(text=freedom),
        _p(test.p, test.runs),
        _p(test.p_holm, test.runs),
    )


def _score(value: float | None, metric: Metric, sign: str = "", runs: tuple[str, ...] = ()) -> Cell:
    text = MISSING if value is None else number(value, metric, sign)
    return Cell(text=text, sort=value, runs=runs if value is not None else ())


def _p(p: float | None, runs: tuple[str, ...]) -> Cell:
    return Cell(text=probability_text(p), sort=p, runs=runs if p is not None else ())


def _effect_record(effect: MainEffect, metric: Metric) -> dict[str, object]:
    name = f"test_{metric.name}" + ("_pct" if metric.scale == 100 else "")
    low = high = difference = None
    if effect.difference is not None and effect.margin is not None:
        difference = effect.difference * metric.scale
        low, high = ((effect.difference + s * effect.margin) * metric.scale for s in (-1, 1))
    return {
        "group": effect.group,
        "module": effect.module,
        "hyperparameter": effect.factor,
        "level": effect.level,
        "reference": effect.reference,
        "scale": effect.scale,
        "trials": len(effect.runs),
        f"{name}_difference": difference,
        f"{name}_low": low,
        f"{name}_high": high,
        "degrees_of_freedom": effect.freedom,
        "p": effect.p,
        "p_holm": effect.p_holm,
        "reason": effect.reason,
    }


def _interaction_record(test: Interaction) -> dict[str, object]:
    products, noise = test.freedom or (None, None)
    return {
        "group": test.group,
        "module": test.module,
        "hyperparameters": " x ".join(test.factors),
        "trials": len(test.runs),
        "f": test.f,
        "degrees_of_freedom": products,
        "degrees_of_freedom_noise": noise,
        "p": test.p,
        "p_holm": test.p_holm,
        "reason": test.reason,
    }
