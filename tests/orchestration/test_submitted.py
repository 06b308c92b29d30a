"""Sweeps submitted to a real Ray cluster, from outside: run, asked about, killed, stopped."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from spec.spaces import Result, call

from sweep.ledger import Ledger
from sweep.study import Study
from sweep.tracking.store import find_runs, open_client

SPACE = """
study: far
question: Does it run elsewhere?
dataset: {name: digits, subset: 48, val_size: 32}
backbones: [mobilenet_v2]
attention: [none, {name: ela, preset: L}]
recipe: {epochs: 1, batch_size: 16, lr: 0.01, schedule: constant}
resources: {cpus: 1, gpus: 0}
"""
START_SECONDS = 300.0
SETTINGS = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_STOP_WAIT_TIME_S")


def ports(count: int) -> list[str]:
    """Return ports that nobody has now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [str(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return numbers


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node that wants a token; its dashboard's address."""
    place = tmp_path_factory.mktemp("far")
    (place / "token").write_text(secrets.token_hex(16), encoding="utf-8")
    (place / "space.yaml").write_text(SPACE, encoding="utf-8")
    (place / "data").mkdir()
    head, dashboard, agent, client = ports(4)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += ["--port", head, "--dashboard-port", dashboard, "--dashboard-host", "127.0.0.1"]
    command += ["--dashboard-agent-listen-port", agent, "--ray-client-server-port", client]
    command += ["--node-ip-address", "127.0.0.1", "--num-cpus", "2", "--num-gpus", "0"]
    command += ["--temp-dir", f"/tmp/{place.parent.name}-far", "--disable-usage-stats"]
    command += ["--object-store-memory", str(100 * 2**20)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"PATH": path, "SWEEP_DIR": str(place / "sweeps"), "SWEEP_DATA": str(place / "data")}
    settings["RAY_JOB_STOP_WAIT_TIME_S"] = "300"  # as an operator does, else it is 3 s
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(place / "token")}
    inherited = {k: v for k, v in os.environ.items() if k not in (*SETTINGS, "PYTHONPATH")}
    with pytest.MonkeyPatch.context() as patch, (place / "ray.txt").open("w") as log:
        for name in (*SETTINGS, "SWEEP_DIR", "SWEEP_CONFINED"):
            patch.delenv(name, raising=False)
        patch.setenv("RAY_API_SERVER_ADDRESS", "")  # is set by what is tested
        patch.setenv("RAY_AUTH_TOKEN_PATH", token["RAY_AUTH_TOKEN_PATH"])
        patch.chdir(place)
        ray = subprocess.Popen(
            command, env={**inherited, **settings, **token}, cwd=place / "data",
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{dashboard}"
            deadline = time.monotonic() + START_SECONDS
            while call("list", "--address", url).code and time.monotonic() < deadline:
                assert ray.poll() is None, (place / "ray.txt").read_text()
                time.sleep(0.5)
            yield url
        finally:
            ray.terminate()
            try:
                ray.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(ray.pid, signal.SIGKILL)
                ray.wait()


def ask(*arguments: str) -> Result:
    """Call a command that must end well."""
    result = call(*arguments)
    assert (result.code, result.err.count("error")) == (0, 0), result
    return result


def states(address: str, study: str) -> list[str]:
    """Return the states of a sweep's trials on the cluster."""
    output = ask("status", study, "--address", address, "--json").out
    return [trial["state"] for trial in json.loads(output)]


def epochs(study: str) -> int:
    """Return how many epochs of a sweep's trials are kept in the cluster's working folder."""
    stored, ledger = Study(Path("sweeps"), study).stored(), Ledger(Path("sweeps"))
    trials = stored.plan.trials if stored else ()
    return sum(len(ledger.journal(planned.trial.trial_id)) for planned in trials)


def wait_for_epochs(study: str, more_than: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while epochs(study) <= more_than:
        assert time.monotonic() < deadline, call("logs", study)
        time.sleep(0.2)


def test_a_sweep_runs_without_the_one_who_submitted_it(address: str) -> None:
    said = ask("submit", "space.yaml", "--address", address).out.splitlines()
    assert said[0] == "sweep-far-1: submitted; it needs this machine no more"
    again = call("submit", "space.yaml", "--address", address)
    assert again.code == 2
    assert f"at {address} already: job sweep-far-1 of " in again.err
    followed = call("logs", "far", "--address", address, "--follow")
    assert followed.code == 0, followed
    assert "[2/2] mobilenet_v2 " in followed.out
    assert "far: 2 of 2 trials done" in followed.out
    assert "job sweep-far-1 of " in followed.err
    assert states(address, "far") == ["done", "done"]
    (job,) = json.loads(ask("list", "--address", address, "--json").out)
    assert (job["study"], job["state"], job["exit_code"]) == ("far", "succeeded", 0)
    trial = json.loads(ask("status", "far", "--address", address, "--json").out)[0]
    assert "finish after epoch 1" in ask("logs", trial["trial_id"], "--address", address).out


def test_what_the_cluster_does_not_know_is_an_error_here(address: str) -> None:
    result = call("status", "fat", "--address", address)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: no sweep 'fat' in ")
    assert "did you mean 'far'?" in result.err


def test_the_doctor_looks_at_the_cluster_from_here_and_there(address: str) -> None:
    asked = ("doctor", "space.yaml", "resources.cpus=64", "--address", address, "--json")
    result = call(*asked)
    assert (result.code, result.err) == (1, ""), result
    found = json.loads(result.out)
    texts = [f"{one['state']} {one['check']}: {one['text']}" for one in found]
    assert texts[0] == f"ok Ray: the Ray {metadata.version('ray')} at {address} lets us in"
    assert [text for text in texts if text.startswith("problem")] == [
        "problem resources: resources.cpus = 64: there are 2 CPU cores"
    ]
    folder = Path("sweeps").absolute()
    assert [text for text in texts if text.startswith(f"ok working folder: {folder}")]
    assert "ok data sets: digits is here on 1 of 1 nodes" in texts
    assert not [text for text in texts if "authentication is off" in text]

    head = re.search(r"Ray \S+ at (\S+): 1 node", found[1]["text"])
    assert head is not None
    command = [sys.executable, "-m", "sweep.cli", "doctor", "--address", head[1]]
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}
    refused = subprocess.run(
        command, env={**os.environ, **wrong}, capture_output=True, text=True, timeout=START_SECONDS
    )
    assert (refused.returncode, refused.stderr) == (1, "")
    assert f"the Ray at {head[1]} does not accept the token" in " ".join(refused.stdout.split())


def test_a_sweep_goes_on_after_its_driver_was_killed_and_is_stopped_in_order(address: str) -> None:
    long = ("space.yaml", "study=long", "recipe.epochs=300", "keep_checkpoints=last")
    ask("submit", *long, "--address", address)
    wait_for_epochs("long", 0)
    lock = Path("sweeps/studies/long/lock")
    os.kill(json.loads(lock.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    assert call("logs", "long", "--address", address, "--follow").code == 137
    before = epochs("long")
    said = ask("submit", *long, "--address", address).out
    assert said.startswith("sweep-long-2: submitted")
    wait_for_epochs("long", before)
    stopped = ask("cancel", "long", "--address", address).out.splitlines()
    assert stopped[-1].startswith("job sweep-long-2 of ")
    assert ": stopped, began " in stopped[-1]
    assert "interrupted: nothing is lost" in ask("logs", "long", "--address", address).out
    assert set(states(address, "long")) <= {"interrupted", "planned"}
    runs = find_runs(open_client(f"sqlite:///{Path('sweeps/mlflow.db').absolute()}"), "")
    assert "RUNNING" not in {run.info.status for run in runs}
