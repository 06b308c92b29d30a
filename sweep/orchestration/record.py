"""What a sweep and its trials say of themselves in MLflow: plan, space, versions, refusals."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from sweep import __version__
from sweep.plan import Plan, PlannedTrial
from sweep.registry import TASKS
from sweep.spec.schema import Space, is_range
from sweep.tasks.base import Metric
from sweep.tracking import names
from sweep.tracking.records import SweepRecord, TrialRecord

TAG_LENGTH = 7500
"""Characters that every MLflow store takes in a tag."""


def sweep_record(space: Space, plan: Plan) -> SweepRecord:
    """Return what the parent run of a sweep says."""
    task = TASKS[space.general.task]
    refused = dict.fromkeys((p.label, p.trial.backbone.name, p.reason) for p in plan.refused)
    return SweepRecord(
        study=plan.study,
        question=plan.question,
        metric=plan.metric,
        tags={
            names.REFUSED: _short_list(list(refused)),
            names.ANSWERS: "[]",
            names.SEARCHED: json.dumps(_searched(space)),
            **_versions(),
        },
        artifacts={
            names.SPACE: space.document.text,
            names.RESOLVED: _json(space.document.data),
            "plan.json": plan.model_dump_json(indent=1),
            "environment.json": _json(_environment()),
        },
        trials=tuple(trial_record(planned) for planned in plan.runnable),
        measures={metric.name: _meaning(metric) for metric in task.metrics},
        ascending=task.metric(plan.metric).mode == "min",
    )


def trial_record(planned: PlannedTrial) -> TrialRecord:
    """Return what a trial's run says before it starts."""
    return TrialRecord(
        planned.trial,
        planned.label,
        planned.cost.model_dump() if planned.cost else {},
        planned.reason if planned.status == "adjusted" else "",
    )


def _meaning(metric: Metric) -> str:
    """Return what a metric is, as MLflow holds it: without the scale that tables print it by."""
    return metric.label if metric.scale == 1 else f"{metric.label}, divided by {metric.scale:g}"


def _searched(space: Space) -> list[str]:
    """Return the parameters of recipes of which a search has a range."""
    backbones = [b for b in space.document.data["backbones"] if isinstance(b, dict)]
    recipes = [entry.get("recipe") or {} for entry in (space.document.data, *backbones)]
    fields = {field for recipe in recipes for field, value in recipe.items() if is_range(value)}
    return [f"recipe.{field}" for field in sorted(fields)]


def _short_list(items: list[tuple[str, str, str]]) -> str:
    """Return the number of items and the first ones, as many as a tag of MLflow has room for."""
    count = len(items)
    while len(text := json.dumps({"count": count, "items": items})) > TAG_LENGTH:
        items = items[: len(items) // 2]
    return text


def _environment() -> dict[str, Any]:
    """Return the versions that a result may depend on, as the machine of the command has them."""
    packages = ("torch", "torchvision", "ray", "mlflow", "numpy", "scikit-learn", "pillow")
    return {
        **_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def _versions() -> dict[str, str]:
    """Return the versions of this package and of the code it runs from."""
    versions = {names.VERSION: __version__}
    root = Path(__file__).parents[2]
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")) == root:  # and no other repository
            versions[names.COMMIT] = _git(root, "rev-parse", "HEAD")
            versions["sweep.dirty"] = str(bool(_git(root, "status", "--porcelain", "-uno")))
    except (OSError, subprocess.SubprocessError):
        pass  # installed without its repository
    return versions


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _json(value: object) -> str:
    return json.dumps(value, indent=1, default=str)
