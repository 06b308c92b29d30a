"""Tables of single trials: all of them, those that entered no mean, and what could not be one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.configs import ConfigRow
from reports.facts import is_mixed
from reports.printed import metric_name, number, unit
from reports.rows import StudyRows, TrialRow
from reports.tables.base import MISSING, Cell, Column, Section, Table
from sweep.devices import told
from sweep.tasks.base import Metric

OF_NAMES = (Column(title="Method"), Column(title="Backbone"), Column(title="Seed", kind="number"))
OF_IDS = (Column(title="Trial"), Column(title="MLflow run"))
NOT_FINITE = "not a finite number"
SHORT_ID = 8
"""Characters of a run's id that a table shows; its link has all."""


def all_trials(rows: StudyRows, configs: Sequence[ConfigRow]) -> Table | None:
    """Return every trial with its seed, its test score and its state; None if there is none."""
    metric, mixed = rows.compared, is_mixed(rows)
    return _table(
        rows.study,
        name="trials",
        title="All trials",
        columns=(
            *OF_NAMES,
            Column(title=metric_name(metric), unit=unit(metric), kind="number"),
            Column(title="State"),
            *([Column(title="Trained on")] if mixed else []),
            *OF_IDS,
        ),
        rows=[
            (
                *_names(config, trial),
                _score(trial, metric),
                _state(trial),
                *([_device(trial)] if mixed else []),
                *_ids(trial),
            )
            for config, trial in _trials(configs)
        ],
        caption="Scores are of the test split; sweep logs TRIAL tells what happened to a trial.",
    )


def without_result(rows: StudyRows, configs: Sequence[ConfigRow]) -> Table | None:
    """Return the trials that entered no mean, each with the reason; None if all did."""
    metric = rows.compared
    return _table(
        rows.study,
        name="without-result",
        title="Trials without a result",
        columns=(
            *OF_NAMES,
            Column(title="State"),
            Column(title="Reason"),
            *OF_IDS,
        ),
        rows=[
            (*_names(config, trial), _state(trial), Cell(text=_reason(config, trial)), *_ids(trial))
            for config, trial in _trials(configs)
            if trial.score(metric.name) is None or trial in config.repeats
        ],
        caption="They are in no mean; sweep retry runs failed ones again.",
    )


def refused(rows: StudyRows) -> Table | None:
    """Return the combinations that cannot exist, each with the reason; None if all can."""
    more = "" if rows.refused_complete else " The list was too long for MLflow: there are more."
    return _table(
        rows.study,
        name="refused",
        title="Refused combinations",
        columns=(Column(title="Method"), Column(title="Backbone"), Column(title="Reason")),
        rows=[
            (Cell(text=refusal.label), Cell(text=refusal.backbone), Cell(text=refusal.reason))
            for refusal in rows.refused
        ],
        caption=f"Points of the grid of which no model can be built.{more}",
    )


def _table(
    study: str,
    *,
    name: str,
    title: str,
    columns: tuple[Column, ...],
    rows: Sequence[tuple[Cell, ...]],
    caption: str,
) -> Table | None:
    if not rows:
        return None
    section = Section(title="", rows=tuple(rows))
    return Table(
        name=name, study=study, title=title, columns=columns, sections=(section,), caption=caption
    )


def _trials(configs: Sequence[ConfigRow]) -> Iterator[tuple[ConfigRow, TrialRow]]:
    """Yield all trials, those that repeat a seed behind the others of their configuration."""
    return ((config, t) for config in configs for t in (*config.trials, *config.repeats))


def _names(config: ConfigRow, trial: TrialRow) -> tuple[Cell, Cell, Cell]:
    seed = Cell(text=str(trial.seed), sort=trial.seed)
    return Cell(text=config.name), Cell(text=config.group), seed


def _ids(trial: TrialRow) -> tuple[Cell, Cell]:
    run = Cell(text=trial.run_id[:SHORT_ID], runs=(trial.run_id,))
    return Cell(text=trial.trial_id), run


def _state(trial: TrialRow) -> Cell:
    return Cell(text="stopped early" if trial.status == "stopped" else trial.status)


def _device(trial: TrialRow) -> Cell:
    found = trial.device_types
    return Cell(text=told(trial.trained) if len(found) > 1 else "".join(found) or MISSING)


def _score(trial: TrialRow, metric: Metric) -> Cell:
    score = trial.score(metric.name)
    if score is not None:
        return Cell(text=number(score, metric), sort=score, runs=(trial.run_id,))
    return Cell(text=NOT_FINITE if trial.status == "done" else MISSING)


def _reason(config: ConfigRow, trial: TrialRow) -> str:
    if trial in config.repeats:
        return "another trial of its configuration and seed counts"
    if trial.status == "done":
        return "its score is not a finite number"
    return trial.reason or ("none was recorded" if trial.status != "unfinished" else MISSING)
