"""Typed rows: what was run, one row per trial, before any statistics.

Values are as stored (accuracies are fractions); ``Metric.scale`` takes them to what is printed.
"""

from __future__ import annotations

import ast
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from reports.costs import cost_notes, last_costs, study_costs
from sweep.devices import UNKNOWN, Stretch, device_type, devices_of, from_json, told
from sweep.registry import ATTENTION, TASKS
from sweep.spec.labels import Module, module_key, module_labels
from sweep.tasks.base import Metric
from sweep.tracking import names
from sweep.tracking.measurements import Cost
from sweep.tracking.reading import Refusal, RunRecord, StudyRecord

if TYPE_CHECKING:
    import pandas as pd

Value = str | int | float | bool | None
Status = Literal["done", "failed", "stopped", "unfinished"]
"""Of a trial; one that a scheduler stopped has not been trained to its end, and has no score."""
STATUSES: tuple[Status, ...] = get_args(Status)
Split = Literal["test", "best_val"]
"""What a score is of: the test split, or the validation split at the epoch that it chose."""

SEQUENTIAL = (
    "How many seeds there are was decided by a sequential test on the way: the answers above "
    "account for that, the spreads, intervals, p-values and the bold print do not."
)
UNENDED = "the sweep has not ended: more trials may come, and change what is said here"
BASELINE = "none"
"""The attention module that is none."""
NESTED = {
    "hyperparameters": names.HYPERPARAMETER,
    "metrics": "",
    "settings": "",
    "chosen": "",
    "segment": names.SEGMENT,
    "versions": "env.",
    "cost": "cost.",
}
"""Fields of a row that are several columns of a frame, and what these begin with."""
DIGESTS = ("dataset.files", "dataset.annotations")
"""Settings that are text, even where one has no letter."""
OF_THE_MODEL = ("backbone", "stem", "weights", "attention", "sites", "seed")
"""Parameters of a run that have a field of their own; the hyperparameters have one too."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One run."""

    trial_id: str
    run_id: str
    experiment_id: str
    """In MLflow; another one than the study's where another sweep made the run."""
    backbone: str
    stem: str
    weights: str
    placement: str
    """Name of the policy; "none" for a baseline."""
    attention: str
    preset: str | None
    part: str | None
    """What the module is without, where its study takes it apart."""
    label: str
    """Of the module, as tables print it, and of what a search chose."""
    hyperparameters: Mapping[str, Value]
    chosen: Mapping[str, str]
    """What a search chose of the recipe ("recipe.lr"); with it the module is a configuration."""
    settings: Mapping[str, str]
    """The other parameters: task, data set, recipe."""
    segment: Mapping[str, Value] = field(default_factory=dict)
    """Of a population, its "parent" and the epoch "until" which it was trained; else empty. Where
    it comes from is its own: members with one recipe are one configuration."""
    seed: int
    status: Status
    reason: str
    """Why it failed, or was stopped."""
    adjusted: str
    """What of its hyperparameters was changed so that the model can exist."""
    params_true: int | None
    params_thop_like: int | None
    params_no_norm: int | None
    macs: int | None
    """Of one image, forward."""
    macs_fvcore: int | None
    metrics: Mapping[str, float]
    device: str
    """Of its last attempt, where the trial was measured too; empty if it did not finish."""
    versions: Mapping[str, str]
    trained: tuple[Stretch, ...] = ()
    """Which types of devices trained which epochs; empty where that was not recorded."""
    nodes: str = ""
    """That it was begun on, in the order of attempts, where that was recorded."""
    cost: Cost | None = None
    """Of its model, in the setting that was measured last in the study."""
    costs: tuple[Cost, ...] = ()
    """The same in all settings, in the order they were measured."""

    @property
    def device_types(self) -> tuple[str, ...]:
        """The types of devices that trained it, in their order; none if that is not known."""
        if self.trained:
            return devices_of(self.trained)
        return (device_type(self.device),) if self.device else ()

    def score(self, metric: str, split: Split = "test") -> float | None:
        """Return a metric; None if the trial did not finish or measured no finite number."""
        value = self.metrics.get(f"{split}_{metric}")
        if self.status != "done" or value is None or not math.isfinite(value):
            return None
        return value


@dataclass(frozen=True, kw_only=True)
class StudyRows:
    """A study, read."""

    study: str
    question: str
    metrics: tuple[Metric, ...]
    """Of the task; the one that is compared comes first."""
    trials: tuple[TrialRow, ...]
    planned: int | None
    """Trials of the grid when the sweep last ended; None if it has not ended."""
    refused: tuple[Refusal, ...]
    refused_complete: bool
    parent_id: str
    experiment_id: str
    """Of the parent run."""
    version: str
    """Of this package, when the sweep ran."""
    commit: str
    notes: tuple[str, ...]
    """What could not be understood."""
    exported: bool = False
    """Whether it was read from a file, which may lack trials that have started."""

    @property
    def compared(self) -> Metric:
        """The metric that the study compares."""
        return self.metrics[0]


def study_rows(record: StudyRecord) -> StudyRows:
    """Return the rows of a study that was read from MLflow."""
    tags = record.parent.tags
    study = record.study
    described = [run for run in record.trials if "attention" in run.params]
    whole = [run for run in described if not _is_passed_on(run)]
    left_out = len(described) - len(whole)
    runs = sorted(whole, key=lambda run: _place(run, study))
    labels = module_labels(_module(run, study) for run in runs)
    searched = json.loads(tags.get(names.SEARCHED, "[]"))
    costs = study_costs(runs, record.measurements)
    last = last_costs(costs)
    trials = tuple(
        replace(
            _trial(run, study, labels[module_key(*_module(run, study))], searched),
            cost=last.get(run.run_id),
            costs=costs.get(run.run_id, ()),
        )
        for run in runs
    )
    task = next((trial.settings["task"] for trial in trials), "classification")
    metrics, notes = _metrics(task, tags.get(names.METRIC, ""))
    planned = record.parent.metrics.get("trials")
    answers = json.loads(tags.get(names.ANSWERS, "[]"))
    return StudyRows(
        study=record.study,
        question=tags.get(names.QUESTION, ""),
        metrics=metrics,
        trials=trials,
        planned=None if planned is None else int(planned) - left_out,
        refused=record.refused,
        refused_complete=record.refused_complete,
        parent_id=record.parent.run_id,
        experiment_id=record.parent.experiment_id,
        version=tags.get(names.VERSION, "unknown"),
        commit=tags.get(names.COMMIT, "unknown"),
        exported=bool(record.limits),
        notes=(
            *record.limits,
            *answers,
            *([SEQUENTIAL] if answers else []),
            *notes,
            *([UNENDED] if record.parent.status == "RUNNING" else []),
            *cost_notes(costs),
            *_on_latency(trials),
            *_passed_on(left_out),
            *_undescribed(len(record.trials) - len(described)),
        ),
    )


def trials_frame(trials: Iterable[TrialRow]) -> pd.DataFrame:
    """Return the trials as a frame, one row each, its columns in an order that does not vary.

    First what a trial is and what trained it, then hyperparameters, metrics as stored, settings,
    what a search chose, the segment of a population, versions. Whole numbers are Int64 and truth
    values boolean, also with gaps; other numbers are float64; what is a number in some rows and a
    word in others ("groups") is text.
    """
    import pandas as pd

    trials = list(trials)
    plain = [f.name for f in fields(TrialRow) if f.name not in (*NESTED, "costs", "trained")]
    columns = {name: [getattr(trial, name) for trial in trials] for name in plain}
    columns["devices"] = [told(trial.trained) for trial in trials]
    for part, prefix in NESTED.items():
        found = [_several(trial, part) for trial in trials]
        keys = dict.fromkeys(key for mapping in found for key in mapping)
        for key in keys if part == "hyperparameters" else sorted(keys):
            values = [mapping.get(key) for mapping in found]
            typed = part in ("settings", "chosen") and key not in DIGESTS
            columns[prefix + key] = [_value(str(v)) for v in values] if typed else values
    return pd.DataFrame({name: _series(values) for name, values in columns.items()})


def _several(trial: TrialRow, part: str) -> Mapping[str, Value]:
    """Return a field of a row that is several columns."""
    if part != "cost":
        mapping: Mapping[str, Value] = getattr(trial, part)
        return mapping
    cost = vars(trial.cost) if trial.cost is not None else {}
    return {
        key: value
        for key, value in cost.items()
        if key not in ("versions", "run_id", "experiment_id")
    }


def _series(values: Sequence[Value]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return pd.Series(values, dtype="Int64" if kinds == {int} else "float64")
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    return pd.Series([None if value is None else str(value) for value in values], dtype="str")


def _trial(run: RunRecord, study: str, label: str, searched: Sequence[str]) -> TrialRow:
    counted = (*names.COST_METRICS, names.FVCORE_MACS)
    chosen = {key: run.params[key] for key in searched if key in run.params}
    return TrialRow(
        trial_id=run.tags.get(names.TRIAL_ID, ""),
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        backbone=run.params["backbone"],
        stem=run.params["stem"],
        weights=run.params["weights"],
        placement=run.tags.get(names.per_sweep(names.PLACEMENT, study), ""),
        attention=run.params["attention"],
        preset=_name(run, study, names.PRESET),
        part=_name(run, study, names.PART),
        label=", ".join([label, *(f"{k.removeprefix('recipe.')} {v}" for k, v in chosen.items())]),
        hyperparameters=_hyperparameters(run),
        chosen=chosen,
        settings={
            key: value
            for key, value in run.params.items()
            if key not in (*OF_THE_MODEL, *chosen)
            and not key.startswith((names.HYPERPARAMETER, names.SEGMENT))
        },
        segment=_segment(run),
        seed=int(run.params["seed"]),
        status=_status(run),
        reason=run.tags.get(names.REASON, ""),
        adjusted=run.tags.get(names.ADJUSTED, ""),
        params_true=_count(run, "params_true"),
        params_thop_like=_count(run, "params_thop_like"),
        params_no_norm=_count(run, "params_no_norm"),
        macs=_count(run, "macs"),
        macs_fvcore=_count(run, names.FVCORE_MACS),
        metrics={key: value for key, value in run.metrics.items() if key not in counted},
        device=run.tags.get(names.DEVICE, ""),
        trained=_trained(run),
        nodes=run.tags.get(names.NODES, ""),
        versions={
            key.removeprefix(names.ENVIRONMENT): value
            for key, value in run.tags.items()
            if key.startswith(names.ENVIRONMENT)
        },
    )


def _trained(run: RunRecord) -> tuple[Stretch, ...]:
    """Return what trained a run's epochs; none where that is not there, or of another version."""
    try:
        return from_json(run.tags.get(names.DEVICES, "[]"))
    except ValueError:
        return ()


def _status(run: RunRecord) -> Status:
    if run.status == "FINISHED":
        return "done"
    if run.tags.get(names.STATE) == "stopped":
        return "stopped"
    return "failed" if run.status == "FAILED" else "unfinished"


def _module(run: RunRecord, study: str) -> Module:
    preset, part = (_name(run, study, tag) for tag in (names.PRESET, names.PART))
    return run.params["attention"], preset, part, _hyperparameters(run)


def _name(run: RunRecord, study: str, tag: str) -> str | None:
    """Return a name that a run has in one study, if any."""
    return run.tags.get(names.per_sweep(tag, study)) or None


def _segment(run: RunRecord) -> dict[str, Value]:
    """Return where a member of a population comes from, and ends; an id stays text."""
    if names.UNTIL not in run.params:
        return {}
    return {"until": int(run.params[names.UNTIL]), "parent": run.params.get(names.PARENT)}


def _is_passed_on(run: RunRecord) -> bool:
    """Tell whether a run is a segment that others go on from; one that failed is to be seen."""
    until = run.params.get(names.UNTIL)
    passed_on = until is not None and until != run.params["recipe.epochs"]
    return passed_on and run.status != "FAILED"


def _on_latency(trials: Iterable[TrialRow]) -> tuple[str, ...]:
    """Return the note on a search that kept the trials' own latency small, on several devices."""
    timed = Counter(t.device for t in trials if "latency_ms" in t.metrics)
    if len(timed) < 2:
        return ()
    counts = "; ".join(
        f"{count} trial{'s' * (count > 1)} on {device or UNKNOWN}"
        for device, count in timed.items()
    )
    return (
        "the trials' own latency (latency_ms), which the search kept small, was measured on "
        f"different devices, whose times do not compare: {counts}. The search was told that of one "
        "device alone, and nothing of a configuration that ended on others: what it found is no "
        "fair choice among these",
    )


def _passed_on(count: int) -> tuple[str, ...]:
    """Return the note on segments of populations."""
    return (
        (
            f"{count} segments of populations are left out: the last of each member is its row, "
            "and names the last recipe of several",
        )
        if count
        else ()
    )


def _undescribed(count: int) -> tuple[str, ...]:
    """Return the note on runs that were created but not yet described."""
    return (f"{count} runs are left out: MLflow does not have their settings yet",) if count else ()


def _place(run: RunRecord, study: str) -> int:
    """Return the place of a trial in the grid of its study."""
    return int(run.tags[names.per_sweep(names.ORDER, study)])


def _hyperparameters(run: RunRecord) -> dict[str, Value]:
    """Return the hyperparameters in the order of the module's Config; unknown ones come last.

    One that the module gained after the run has its default: it is what was trained.
    """
    attention, prefix = run.params["attention"], names.HYPERPARAMETER
    fields = ATTENTION[attention].Config.model_fields if attention in ATTENTION else {}
    stored = {
        key.removeprefix(prefix): _value(text)
        for key, text in sorted(run.params.items())
        if key.startswith(prefix)
    }
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    return {
        name: stored.get(name, defaults.get(name)) for name in dict.fromkeys([*fields, *stored])
    }


def _value(text: str) -> Value:
    """Return the plain value that MLflow stored as text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _count(run: RunRecord, name: str) -> int | None:
    value = run.metrics.get(name)
    return int(value) if value is not None and math.isfinite(value) else None


def _metrics(task: str, compared: str) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    """Return a task's metrics, the compared one first, and what is to be said about them."""
    known = TASKS[task].metrics if task in TASKS else ()
    first = [metric for metric in known if metric.name == compared]
    if first:
        return (*first, *(metric for metric in known if metric.name != compared)), ()
    note = (
        f"the metric {compared!r} of task {task!r} is not known to this installation: "
        "it is printed as stored, and more of it is taken to be better"
    )
    return (Metric(compared, compared, "max"), *known), (note,)
