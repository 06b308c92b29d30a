"""Studies made by hand, and a small MLflow store, written as sweep.tracking.delivery writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric as Logged
from mlflow.entities import Param

from reports.configs import ConfigRow, config_rows
from reports.rows import StudyRows, TrialRow
from sweep.tasks.base import Metric
from sweep.tracking import names
from sweep.tracking.reading import Refusal
from sweep.tracking.store import open_client

METRICS = (
    Metric("top1", "Top-1 (%)", "max", scale=100),
    Metric("top5", "Top-5 (%)", "max", scale=100),
    Metric("loss", "Cross-entropy (nats)", "min"),
)
HOSTILE = "<script>alert('boom')</script> 50 % of $x_1$"


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialRow]:
    """A finished trial, from its label, seed and top-1; "ELA-B" is of module ela."""

    def make(label: str, seed: int, top1: float = 0.5, **changes: Any) -> TrialRow:
        attention = "none" if label == "baseline" else label.partition("-")[0].lower()
        fields: dict[str, Any] = {
            "trial_id": f"{label}{seed}",
            "run_id": f"run-{label}-{seed}",
            "experiment_id": "1",
            "backbone": "resnet18",
            "stem": "cifar",
            "weights": "none",
            "placement": "none" if attention == "none" else "stage3",
            "attention": attention,
            "preset": None,
            "part": None,
            "label": label,
            "hyperparameters": {} if attention == "none" else {"kind": label},
            "chosen": {},
            "settings": {"task": "classification", "dataset": "digits", "recipe.epochs": "5"},
            "seed": seed,
            "status": "done",
            "reason": "",
            "adjusted": "",
            "params_true": 11_200_000,
            "params_thop_like": 11_180_000,
            "params_no_norm": 11_170_000,
            "macs": 34_718_720,
            "macs_fvcore": 34_796_032,
            "metrics": {"test_top1": top1, "test_top5": 0.99, "test_loss": 1 - top1},
            "device": "CPU x86_64, 1 threads",
            "versions": {"python": "3.11", "torch": "2.9"},
        }
        return TrialRow(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def study() -> Callable[..., StudyRows]:
    """A study of trials."""

    def make(trials: Iterable[TrialRow], **changes: Any) -> StudyRows:
        trials = tuple(trials)
        fields: dict[str, Any] = {
            "study": "a_study",
            "question": "Does it help?",
            "metrics": METRICS,
            "trials": trials,
            "planned": len(trials),
            "refused": (Refusal("ELA-B", "mobilenet_v2", "num_groups (=16) must divide 24"),),
            "refused_complete": True,
            "parent_id": "parent",
            "experiment_id": "1",
            "version": "0.1.0",
            "commit": "abc123",
            "notes": (),
        }
        return StudyRows(**{**fields, **changes})

    return make


class Example(NamedTuple):
    """A study with its configurations."""

    rows: StudyRows
    configs: tuple[ConfigRow, ...]


@pytest.fixture(scope="session")
def mixed(trial: Callable[..., TrialRow], study: Callable[..., StudyRows]) -> Example:
    """Two backbones; a clear winner, a failure, a hostile reason, a NaN, a lone seed."""
    small = [trial("baseline", seed, 0.90 + 0.001 * seed) for seed in range(3)]
    small += [trial("ELA-B_50%", seed, 0.95 + 0.001 * seed) for seed in range(3)]
    small += [trial("SE", 0, status="failed", reason=HOSTILE, metrics={})]
    small += [trial("CA", 0, math.nan), trial("ECA", 0, 0.91)]
    large = {"backbone": "resnet50", "params_true": 25_557_032, "macs": 4_100_000_000}
    big = [trial(name, 0, 0.9, **large) for name in ("baseline", "EMA")]
    rows = study([*small, *big])
    return Example(rows, config_rows(rows))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an sqlite store with studies "small" (five trials) and "empty" (none)."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    uri = f"sqlite:///{path}"
    client = open_client(uri)
    root = path.parent.as_uri()
    home, elsewhere = (client.create_experiment(n, artifact_location=root) for n in ("small", "o"))
    refused = [["ELA-B", "resnet50", "num_groups (=16) must divide 24"]]
    _parent(client, home, "small", refused)
    _parent(client, elsewhere, "empty", [])
    ela = {"kernel_size": 7, "groups": "in_channels/8", "num_groups": 16, "shared": True}
    _child(client, home, "none", {}, 0, 0.90)
    _child(client, home, "none", {}, 1, 0.92)
    _child(client, elsewhere, "ela", ela, 0, 0.95, preset="L")  # made by another sweep
    _child(client, home, "ela", ela, 1, math.nan, preset="L")
    _child(client, home, "ca", {"reduction": 32}, 0, 0.5, status="FAILED", reason="loss is nan")
    _child(client, home, "se", {"reduction": 16}, 0, 0.5, member="no")
    return uri


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow returns two runs at a time."""
    monkeypatch.setattr("sweep.tracking.store.PAGE", 2)


def _parent(client: MlflowClient, experiment: str, study: str, refused: list[list[str]]) -> None:
    tags = {
        names.KIND: "sweep",
        names.STUDY: study,
        names.QUESTION: "Does it help?",
        names.METRIC: "top1",
        names.REFUSED: json.dumps({"count": len(refused), "items": refused}),
        "sweep.version": "0.1.0",
    }
    client.create_run(experiment, tags=tags, run_name=study)


def _child(
    client: MlflowClient,
    experiment: str,
    attention: str,
    hyperparameters: dict[str, Any],
    seed: int,
    top1: float,
    status: str = "FINISHED",
    reason: str = "",
    preset: str = "",
    member: str = "yes",
) -> None:
    tags = {
        names.KIND: "trial",
        names.TRIAL_ID: f"{attention}{seed}",
        names.per_sweep(names.PLACEMENT, "small"): "stage3" if hyperparameters else "none",
        names.per_sweep(names.ORDER, "small"): str(len(client.search_runs([experiment]))),
        names.ADJUSTED: "",
        names.REASON: reason,
        names.DEVICE: "CPU x86_64, 1 threads",
        "sweep.env.torch": "2.9",
        names.per_sweep(names.MEMBER, "small"): member,
        names.per_sweep(names.PRESET, "small"): preset or "",
    }
    run = client.create_run(experiment, tags=tags)
    params = {
        "task": "classification",
        "dataset": "digits",
        "backbone": "resnet18",
        "stem": "cifar",
        "weights": "none",
        "sites": 12 if hyperparameters else 0,
        "attention": attention,
        **{names.HYPERPARAMETER + key: value for key, value in hyperparameters.items()},
        "recipe.epochs": 5,
        "metric": "top1",
        "seed": seed,
    }
    metrics = {"params_true": 11e6, "params_thop_like": 11e6, "params_no_norm": 11e6}
    metrics |= {"macs": 34e6, names.FVCORE_MACS: 35e6, "test_top1": top1, "test_top5": 0.99}
    client.log_batch(
        run.info.run_id,
        metrics=[Logged(key, value, 0, 0) for key, value in metrics.items()],
        params=[Param(key, str(value)) for key, value in params.items()],
    )
    client.set_terminated(run.info.run_id, status)
