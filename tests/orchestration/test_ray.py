"""The same sweeps on Ray: equal results, reused actors, no leaks, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from sweep.ledger import Ledger
from sweep.study import Study
from sweep.training.loop import EpochReport
from tests.orchestration.conftest import SPACE, Recorder, Run

Runner = Callable[..., Run]

MEASURED = ("test_loss", "test_top1", "test_top5", "best_val_top1")


def measured(folder: Path, trial_id: str) -> dict[str, float]:
    result = Ledger(folder).result(trial_id)
    assert result is not None
    return {name: result["metrics"][name] for name in MEASURED}


def workers() -> list[psutil.Process]:
    """The processes of Ray that train."""
    children = psutil.Process().children(recursive=True)
    return [p for p in children if "TrialActor" in _command(p) or "Trainable" in _command(p)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_one_actor_trains_all_trials_as_this_process_would(
    run: Runner, folder: Path, tmp_path: Path
) -> None:
    """Different models one after the other in one process: each equals its own, trained alone."""
    seen: set[int] = set()

    def look(trial_id: str, report: EpochReport) -> None:
        seen.update(process.pid for process in workers())

    two = "attention=[{name: ela, preset: L}, {name: ema, factor: 16}]"
    on_ray = run(two, runner="ray", recorder=Recorder(on_epoch=look))
    assert not on_ray.summary.failures
    assert len(seen) == 1
    inline = run(two, into=tmp_path / "inline")
    assert len(inline.plan.trials) == 2
    for planned in inline.plan.trials:
        trial_id = planned.trial.trial_id
        assert measured(folder, trial_id) == measured(tmp_path / "inline", trial_id)
        journals = [Ledger(f).journal(trial_id) for f in (folder, tmp_path / "inline")]
        losses = [[line.metrics["train_loss"] for line in journal] for journal in journals]
        assert losses[0] == losses[1]
    assert not list(folder.rglob("ray"))


def test_trial_goes_on_when_its_worker_is_killed(run: Runner, folder: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(trial_id: str, report: EpochReport) -> None:
        if not killed:
            (worker,) = workers()
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    overrides = ("attention=[{name: ela, preset: L}]", "recipe.epochs=3")
    disturbed = run(*overrides, runner="ray", recorder=Recorder(on_epoch=kill))
    assert killed
    assert not disturbed.summary.failures
    (trial_id,) = (p.trial.trial_id for p in disturbed.plan.trials)
    ((retried, reason),) = disturbed.recorder.retries
    assert retried == trial_id
    assert reason.startswith("the worker process died")
    assert Ledger(folder).entry(trial_id).attempts == 2
    assert [line.epoch for line in Ledger(folder).journal(trial_id)] == [1, 2, 3]
    run(*overrides, into=tmp_path / "undisturbed")
    assert measured(folder, trial_id) == measured(tmp_path / "undisturbed", trial_id)


def test_failed_trial_ends_neither_its_actor_nor_the_sweep(run: Runner, folder: Path) -> None:
    text = """
study: {study}
question: Does one failure stay alone?
dataset: {{name: digits, subset: 48, val_size: 32}}
backbones: [mobilenet_v2]
attention: [none, {{name: eca, kernel_size: 3}}]
recipe: {{epochs: 2, batch_size: 16, lr: 1.0e+30, schedule: constant}}
resources: {{cpus: 1, gpus: 0, max_concurrent: 1}}
"""
    hot = run(runner="ray", text=text)
    assert [f.reason.split(":")[0] for f in hot.summary.failures] == ["NonFiniteLossError"] * 2
    assert all(Ledger(folder).entry(p.trial.trial_id).attempts == 1 for p in hot.plan.trials)


def test_a_signal_stops_after_the_running_epoch(tmp_path: Path) -> None:
    first, errors, seen = stopped(tmp_path, [signal.SIGTERM])
    assert first == 130
    assert "nothing is lost" in errors
    assert "Traceback" not in errors
    (trial,) = (tmp_path / "s" / "trials").iterdir()
    ledger = Ledger(tmp_path / "s")
    assert ledger.entry(trial.name).state == "interrupted"
    lines = ledger.journal(trial.name)
    assert seen < len(lines) < 300  # the epoch that ran is in it
    state = torch.load(trial / "checkpoints" / f"epoch-{len(lines):04d}.pt", weights_only=True)
    assert len(state["history"]) == len(lines)


def test_a_signal_lets_an_epoch_end_that_takes_longer_than_ray_would_wait(tmp_path: Path) -> None:
    space = tmp_path / "long.yaml"
    space.write_text(
        "study: long\nquestion: Is the epoch kept?\ndataset: {name: digits}\n"
        "backbones: [resnet50]\nattention: [none]\nrecipe: {epochs: 9, schedule: constant}\n"
        "resources: {cpus: 1, gpus: 0}\n"
    )
    command = [sys.executable, "-m", "sweep.cli", "run", str(space), "--dir", str(tmp_path / "s")]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    trials, ledger = tmp_path / "s" / "trials", Ledger(tmp_path / "s")
    deadline = time.monotonic() + 120
    while not list(trials.glob("*/history.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (trial,) = trials.iterdir()
    assert ledger.journal(trial.name) == []
    sweep.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 130
    assert "nothing is lost" in errors
    lines = ledger.journal(trial.name)
    assert [line.epoch for line in lines] == [1]
    assert lines[0].metrics["epoch_seconds"] > 6  # Tune kills what has not ended after five
    assert time.monotonic() - asked > 5
    assert (trial / "checkpoints" / "epoch-0001.pt").exists()
    assert ledger.entry(trial.name).state == "interrupted"


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    code, errors, _ = stopped(tmp_path, [signal.SIGINT, signal.SIGTERM])
    assert code == 130
    assert "nothing is lost" in errors
    assert "Traceback" not in errors
    (trial,) = (tmp_path / "s" / "trials").iterdir()
    entry = Ledger(tmp_path / "s").entry(trial.name)
    assert (entry.state, entry.reason) == ("interrupted", "")
    assert (trial / "checkpoints" / "manifest.json").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's masks are there")
def test_the_handler_of_sigterm_outlives_ray(tmp_path: Path) -> None:
    """Ray takes it off below Python, which goes on to say that it is there."""
    from sweep.orchestration.ray_tune import RayRunner

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        RayRunner(Study(tmp_path, "s")).close()
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt"))
        assert int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_while_ray_starts_is_a_stop(tmp_path: Path) -> None:
    """Ray would have a handler of its own there meanwhile, which ends the process."""
    from sweep.orchestration.ray_tune import RayRunner

    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    strike = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        strike.start()
        RayRunner(Study(tmp_path, "s")).close()
        strike.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def stopped(folder: Path, signals: list[signal.Signals]) -> tuple[int, str, int]:
    """Run a sweep of one long trial, send it signals; return code, errors, epochs before them."""
    space = folder / "small.yaml"
    space.write_text(SPACE.format(study="small"))
    command = [sys.executable, "-m", "sweep.cli", "run", str(space), "--dir", str(folder / "s")]
    command += ["recipe.epochs=300", "attention=[none]"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    trials = folder / "s" / "trials"
    deadline = time.monotonic() + 120
    while not list(trials.glob("*/journal.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (trial,) = trials.iterdir()
    seen = len(Ledger(folder / "s").journal(trial.name))
    for number in signals:
        first.send_signal(number)
        time.sleep(0.3)
    _, errors = first.communicate(timeout=60)
    return first.returncode, errors, seen
