"""What MLflow's own pages show of a sweep: descriptions, and views that are set up already.

A run's description is Markdown in a tag, and so is an experiment's. A view is the state of the page
of runs (columns, order, filter, groups) as MLflow's "save as new view" keeps it, in a tag of the
experiment; a link names it. Where another version of MLflow keeps views otherwise, the link leads
to the same page without that state.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweep.devices import Stretch, devices_of, told
from sweep.ledger import State
from sweep.tracking import names
from sweep.tracking.records import SweepRecord, TrialRecord

VIEW = "mlflow.sharedViewState."
TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow shows the experiment as one of prompts and traces."""
REASON_LENGTH = 500
"""Characters of a description that a reason has; the tag has more of it."""

STATES: tuple[State, ...] = ("done", "failed", "stopped", "interrupted", "running", "planned")

MEANINGS = {
    "test_*": "on the test split: once, after the last epoch (`recipe.evaluate`: of which weights)",
    "val_*": "on the validation split, after each epoch",
    "best_val_*": "on the validation split, of the epoch that it chose",
    "train_*": "on the training split, while each epoch trains",
    "best_epoch": "the epoch that validation chose",
    "lr": "learning rate of the first parameter group, as the epoch begins",
    "epoch_seconds, train_seconds": "training of one epoch, of all; in seconds",
    "images_per_second": "training, of each epoch",
    "latency_ms": "of one image, on the device that the trial ended on, where a search keeps it "
    "small: compares only where `sweep.device` is the same",
    "peak_memory_gib": "GPU memory that was allocated at once, in GiB (2^30 bytes)",
    "params_true": "parameters, all",
    "params_thop_like, params_no_norm": "parameters without GroupNorm's, without any norm's",
    "macs, macs_fvcore": "multiply-accumulates of one image, forward: our count, fvcore's",
    "forward_latency_ms, forward_latency_iqr_ms": "`sweep profile`: a pass of one image in eval "
    "mode, median and interquartile range",
    "forward_images_per_second, forward_images_per_second_iqr": "`sweep profile`: passes of "
    "batches in eval mode, median and interquartile range",
    "forward_peak_gib": "`sweep profile`: memory at the peak of such a pass of a batch, in GiB",
}
"""Of metrics that every trial has, whatever its task, and of those of measured costs."""


def experiment_tags(sweep: SweepRecord, experiment_id: str) -> dict[str, str]:
    """Return the tags of a sweep's experiment: its description, and its views."""
    views = _views(sweep)
    return {
        **TRAINING,
        **{VIEW + key: json.dumps(state) for key, state in views.items()},
        names.NOTE: f"{_verbatim(sweep.question)} {_links(experiment_id)}",
    }


def sweep_note(sweep: SweepRecord, experiment_id: str, states: Iterable[State] = ()) -> str:
    """Return the description of a sweep's parent run.

    Args:
        sweep: the sweep.
        experiment_id: of the sweep.
        states: of its trials, once it has ended.
    """
    meanings = {**{f"*_{name}": meaning for name, meaning in sweep.measures.items()}, **MEANINGS}
    ended = Counter(states)
    counts = ", ".join(f"{ended[state]} {state}" for state in STATES if ended[state])
    return "\n".join(
        [
            f"**{_verbatim(sweep.question)}**",
            "",
            f"Trials: {counts}." if counts else "The sweep is running, or was cut off.",
            "",
            _links(experiment_id),
            "",
            f"`sweep report {sweep.study}` computes intervals and tests over the seeds, which "
            "MLflow's pages do not: most differences between single runs are noise. The report is "
            "then here, as the artifact `report/index.html`. `search_space.yaml` and `plan.json` "
            "say what was to run, `environment.json` by which versions.",
            "",
            "| metric | what it is |",
            "|---|---|",
            *(f"| `{name}` | {meaning} |" for name, meaning in meanings.items()),
        ]
    )


def trial_note(
    record: TrialRecord, state: str, reason: str = "", trained: Sequence[Stretch] = ()
) -> str:
    """Return the description of a trial's run: what it is, where it stands, and why.

    Args:
        record: the trial.
        state: where it stands.
        reason: why.
        trained: what trained its epochs; told where these are several devices.
    """
    trial = record.trial
    lines = [f"{record.title}, seed {trial.seed}, on {trial.dataset}: **{state}**"]
    if reason:
        text = reason[:REASON_LENGTH].replace("```", "'''")  # or it would end the block
        lines.append(f"```\n{text}\n```")
    if record.adjusted:
        lines.append(f"Adjusted: {record.adjusted}")
    if len(devices_of(trained)) > 1:
        lines.append(f"Trained on {told(trained)}; the times of its epochs do not compare.")
    return "\n\n".join(lines)


TITLES = {
    "trials": "All trials, best first",
    "models": "Models, mean over seeds",
    "ends": "How each trial ended",
}
"""Of the views, by their key."""


_ENDS = (names.STATE, names.REASON, names.ATTEMPTS, names.HOST, names.DEVICE, names.NODES)
"""Tags that the view of how each trial ended shows."""


def _views(sweep: SweepRecord) -> dict[str, dict[str, Any]]:
    """Return the states of MLflow's page of runs, by the key that a link names each with."""
    score = f"metrics.`test_{sweep.metric}`"
    models = ["params.`backbone`", f"tags.`{names.MODULE}`"]
    costs = ["metrics.`params_true`", "metrics.`macs`"]
    order = {"orderByKey": score, "orderByAsc": sweep.ascending}
    scores = [score, f"metrics.`best_val_{sweep.metric}`", *costs]
    ends = [f"tags.`{tag}`" for tag in _ENDS]
    groups = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "tag", "groupByData": names.MODEL}],
    }
    return {
        "trials": _state(sweep, order, [*scores, *models, "params.`seed`"]),
        "models": {**_state(sweep, order, scores), "groupBy": groups},
        "ends": _state(sweep, {"orderByKey": f"tags.`{names.STATE}`", "orderByAsc": False}, ends),
    }


def _state(sweep: SweepRecord, order: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.`{names.per_sweep(names.MEMBER, sweep.study)}` = 'yes'",
        **order,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
    }


def _verbatim(text: str) -> str:
    """Return text without what Markdown makes links, images and HTML of: its author is anyone."""
    return re.sub(r"[\\`<>\[\]]", r"\\\g<0>", text)


def _links(experiment_id: str) -> str:
    """Return links to the views, on whatever server shows them; in one line, or MLflow folds it."""
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return " · ".join(f"[{t}]({page}&viewStateShareKey={key})" for key, t in TITLES.items())
