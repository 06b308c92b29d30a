"""A sweep of somebody in the lab ends complete, though a node dies and MLflow is away meanwhile."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from sweep.durable import read_lines
from sweep.ledger import Ledger
from tests.cluster.conftest import DASHBOARD, DASHBOARD_TLS, MLFLOW, MLFLOW_TLS, Lab
from tests.cluster.containers import tail

T = TypeVar("T")

EPOCHS = 3
MODULES = 3
SEEDS = 2
SPACE = f"""\
study: lab
question: Does a sweep on a cluster end complete?
dataset: {{name: digits, subset: 300, val_size: 64}}
backbones: [mobilenet_v2]
attention:
  - none
  - {{name: ela, preset: L}}
  - {{name: ca, reduction: 16}}
seeds: {list(range(SEEDS))}
recipe: {{epochs: {EPOCHS}, batch_size: 32, lr: 0.02, schedule: one_cycle}}
resources: {{cpus: 1, gpus: 0}}
"""
PATIENCE = 600.0
"""Seconds; a machine that has other things to do is slow."""
LOST = "worker-cpu-2"
JOB = "sweep-lab-1"
"""What `sweep submit` names the first job of a sweep."""


def test_a_sweep_survives_a_lost_node_and_a_restart_of_mlflow(lab: Lab, tmp_path: Path) -> None:
    sweeps = lab.cluster.volume("sweeps")
    job = submit(lab, tmp_path)

    lost = wait_for("an epoch on the node to lose", lambda: in_training_on(sweeps, LOST), lab, job)
    time.sleep(0.3)  # into the next epoch
    lab.cluster.kill(lab.cluster.containers[LOST])

    mlflow = lab.cluster.one("mlflow")
    lab.cluster.stop(mlflow)
    before = epochs(sweeps)
    wait_for("epochs without MLflow", lambda: sum((epochs(sweeps) - before).values()) > 1, lab, job)
    lab.cluster.move(mlflow)  # the proxy and the nodes find it by its name
    lab.cluster.start(mlflow)
    lab.cluster.wait(mlflow)

    status = wait_for("the end", lambda: over(lab, job), lab, job)
    assert status == "SUCCEEDED", told(lab, job)
    followed = sweep(lab, "logs", "lab", "--follow")  # by a web socket
    assert followed.returncode == 0, followed.stderr
    assert followed.stdout.strip() == asked(lab, f"/api/jobs/{job}/logs")["logs"].strip()
    check_ledger(sweeps, lost)
    runs = runs_of(lab)
    check_runs(lab, sweeps, runs)
    check_artifacts(lab, runs)


def submit(lab: Lab, folder: Path) -> str:
    space = folder / "lab.yaml"
    space.write_text(SPACE)
    done = sweep(lab, "submit", str(space))
    assert done.returncode == 0, done.stderr
    assert JOB in done.stdout
    return JOB


def sweep(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the laptop's `sweep`, through the proxy."""
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": lab.token,
        "REQUESTS_CA_BUNDLE": str(lab.certificate),
    }
    command = ["python", "-m", "sweep.cli", *words, "--address", DASHBOARD_TLS]
    return lab.cluster.run_outside(command, settings)


def check_ledger(sweeps: Path, lost: str) -> None:
    """Every trial is done once, with each of its epochs once; the lost one went on elsewhere."""
    ledger = Ledger(sweeps)
    assert len(ledger.trial_ids()) == MODULES * SEEDS
    for trial_id in ledger.trial_ids():
        events = [event["event"] for event in ledger.history(trial_id)]
        assert events.count("finish") == 1, (trial_id, events)
        lines = read_lines(sweeps / "trials" / trial_id / "journal.jsonl")
        assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    hosts = [event["host"] for event in ledger.history(lost) if event["event"] == "begin"]
    assert LOST in hosts
    assert hosts[-1] == "worker-cpu-1"


def check_runs(lab: Lab, sweeps: Path, runs: list[dict[str, Any]]) -> None:
    """Each trial has one run, finished, with what the ledger has of it: each step once."""
    ledger = Ledger(sweeps)
    trials = [run for run in runs if run["tags"].get("sweep.kind") == "trial"]
    found = Counter(run["tags"]["sweep.trial_id"] for run in trials)
    assert found == Counter(ledger.trial_ids())
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}
    for run in trials:
        for name in ("val_loss", "train_loss"):
            measured = rest(
                lab, "metrics/get-history", {"run_id": run["info"]["run_id"], "metric_key": name}
            )["metrics"]
            journal = ledger.journal(run["tags"]["sweep.trial_id"])
            assert [(one["step"], one["value"]) for one in measured] == [
                (line.epoch, pytest.approx(line.metrics[name])) for line in journal
            ]


def check_artifacts(lab: Lab, runs: list[dict[str, Any]]) -> None:
    """What the sweep's own run keeps comes back from the object store, by MLflow alone."""
    [parent] = [run for run in runs if run["tags"].get("sweep.kind") == "sweep"]
    listed = rest(lab, "artifacts/list", {"run_id": parent["info"]["run_id"]})
    names = [file["path"] for file in listed["files"]]
    assert "search_space.yaml" in names, names
    folder = parent["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    answer = requests.get(
        f"{MLFLOW_TLS}/api/2.0/mlflow-artifacts/artifacts/{folder}/search_space.yaml",
        auth=lab.login,
        verify=str(lab.certificate),
        timeout=20,
    )
    assert answer.text == SPACE


def runs_of(lab: Lab) -> list[dict[str, Any]]:
    experiment = rest(lab, "experiments/get-by-name", {"experiment_name": "lab"})["experiment"]
    answer = requests.post(
        f"{MLFLOW}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": [experiment["experiment_id"]], "max_results": 100},
        auth=lab.login,
        timeout=20,
    ).json()
    return [
        {**run, "tags": {tag["key"]: tag["value"] for tag in run["data"]["tags"]}}
        for run in answer["runs"]
    ]


def rest(lab: Lab, path: str, query: dict[str, str]) -> dict[str, Any]:
    answer = requests.get(
        f"{MLFLOW}/api/2.0/mlflow/{path}", params=query, auth=lab.login, timeout=20
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def in_training_on(sweeps: Path, host: str) -> str | None:
    """Return a trial that trains on a node and has an epoch behind it, and one before it."""
    ledger = Ledger(sweeps)
    for trial_id in ledger.trial_ids():
        holder = ledger.trained_by(trial_id)
        if holder and holder.host == host and 0 < len(ledger.journal(trial_id)) < EPOCHS - 1:
            return trial_id
    return None


def epochs(sweeps: Path) -> Counter[str]:
    ledger = Ledger(sweeps)
    return Counter({trial_id: len(ledger.journal(trial_id)) for trial_id in ledger.trial_ids()})


def over(lab: Lab, job: str) -> str | None:
    status = asked(lab, f"/api/jobs/{job}")["status"]
    return status if status in ("SUCCEEDED", "FAILED", "STOPPED") else None


def told(lab: Lab, job: str) -> str:
    logs = {name: tail(one.log, 15) for name, one in lab.cluster.containers.items()}
    return json.dumps(logs, indent=1) + asked(lab, f"/api/jobs/{job}/logs")["logs"]


def asked(lab: Lab, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {lab.token}"}
    answer: dict[str, Any] = requests.get(DASHBOARD + path, headers=headers, timeout=20).json()
    return answer


def wait_for(what: str, sign: Callable[[], T | None], lab: Lab, job: str) -> T:
    """Wait until something is so, and return it; not longer than the job, nor for ever."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := sign()):
        if time.monotonic() > deadline or (what != "the end" and over(lab, job)):
            pytest.fail(f"{what}: did not come\n{told(lab, job)}")
        time.sleep(0.2)
    return seen
