"""The commands on a sweep that was run: diff, status, logs, retry, rm; rightly and wrongly used."""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from spec.spaces import Result, call

from sweep.ledger import Ledger
from sweep.profiling.environment import processor
from sweep.study import Study
from sweep.tracking import names
from sweep.tracking.store import find_runs, open_client

SPACE = """
study: {study}
question: Does it run?
dataset: {{name: digits, subset: 32, val_size: 32}}
backbones: [mobilenet_v2]
attention: [none, {{name: ela, preset: L}}]
recipe: {{epochs: 1, batch_size: 16, lr: 0.01, schedule: constant}}
resources: {{cpus: 1, gpus: 0}}
keep_checkpoints: last
"""
INLINE = ("--runner", "inline")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two spaces, "small" and "other", and the sweep of the first."""
    place = tmp_path_factory.mktemp("commands")
    for study in ("small", "other"):
        (place / f"{study}.yaml").write_text(SPACE.format(study=study), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(place)
        result = call("run", "small.yaml", *INLINE)
    assert result.code == 0, result.err
    return place


@pytest.fixture
def ids(finished: Path) -> tuple[str, str]:
    """The trials of the sweep: baseline, ELA."""
    stored = Study(finished / "sweeps", "small").stored()
    assert stored is not None
    baseline, ela = (p.trial.trial_id for p in stored.plan.trials)
    return baseline, ela


@pytest.fixture(autouse=True)
def ledger(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of a copy of the folder, in which the commands are called."""
    for name in ("SWEEP_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(finished, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return Ledger(Path("sweeps"))


def rows(result: Result) -> dict[str, list[str]]:
    """Return the lines of a table by the trial's id, cut where there are two spaces."""
    assert (result.code, result.err) == (0, "")
    cut = [[c.strip() for c in line.split("  ") if c.strip()] for line in result.out.splitlines()]
    return {cells[0]: cells[1:] for cells in cut if len(cells) > 2 and len(cells[0]) == 12}


@contextmanager
def held(*locks: Path) -> Iterator[int]:
    """Let another process have locks; yield its id."""
    code = (
        "import sys, pathlib; from sweep.lock import Lock\n"
        "locks = [Lock(pathlib.Path(path)) for path in sys.argv[1:]]\n"
        "print(all([lock.take() for lock in locks]), flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, *map(str, locks)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        yield other.pid
        other.kill()


def begun(ledger: Ledger, trial_id: str) -> None:
    """Put a finished trial where it was after its epoch, before its end."""
    trial = ledger.trial(trial_id)
    entry = ledger.entry(trial_id)
    assert trial is not None
    assert entry.share is not None
    (ledger.trial_folder(trial_id) / "result.json").unlink()
    ledger.retry(trial_id)  # a trial that is done is begun again only after this
    ledger.begin(trial, entry.share)


def statuses() -> dict[str, dict[str, Any]]:
    result = call("status", "small", "--json")
    assert (result.code, result.err) == (0, "")
    return {row["trial_id"]: row for row in json.loads(result.out)}


def test_status_of_a_finished_sweep(ids: tuple[str, str]) -> None:
    result = call("status", "small")
    assert rows(result) == {
        ids[0]: ["mobilenet_v2 baseline seed 0", "done", "1", "1/1"],
        ids[1]: ["mobilenet_v2 ELA-L seed 0", "done", "1", "1/1"],
    }
    assert result.out.splitlines()[-2:] == ["2 trials: 2 done", "nobody runs it now"]
    fields = ("state", "attempts", "epoch", "epochs", "reason", "log")
    for row in statuses().values():
        assert [row[field] for field in fields] == ["done", 1, 1, 1, "", None]


def test_status_tells_what_runs_from_what_died(ids: tuple[str, str], ledger: Ledger) -> None:
    for trial_id in ids:
        begun(ledger, trial_id)
    lock, training = Path("sweeps/studies/small/lock"), ledger.trial_folder(ids[0]) / "lock"
    with held(lock, training) as pid:
        states = {trial_id: row["state"] for trial_id, row in statuses().items()}
        assert f"run by process {pid} on " in call("status", "small").out
    assert states == {ids[0]: "running", ids[1]: "interrupted"}
    assert {row["state"] for row in statuses().values()} == {"interrupted"}


def test_what_died_goes_on_and_no_run_is_left_running(ids: tuple[str, str], ledger: Ledger) -> None:
    begun(ledger, ids[0])
    assert "1 goes on" in call("diff", "small.yaml").out
    result = call("run", "small.yaml", *INLINE)
    assert "small: 2 trials, 1 settled, 1 to run" in result.out
    assert {row["state"] for row in statuses().values()} == {"done"}
    assert statuses()[ids[0]]["log"] == f"sweeps/trials/{ids[0]}/log.txt"
    assert "its process died" in call("logs", ids[0]).out
    runs = list(find_runs(open_client(f"sqlite:///{Path('sweeps/mlflow.db').absolute()}"), ""))
    assert [run.info.status for run in runs] == ["FINISHED"] * 3


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], {"done": 2}),
        (["seeds=[0,1]"], {"done": 2, "new": 2}),
        (["attention=[none]"], {"done": 1, "left out": 1}),
        (["attention=[none, se]"], {"done": 1, "new": 1, "left out": 1}),
        (["recipe.epochs=3"], {"goes on": 2, "left out": 2}),
        (["recipe.epochs=3", "recipe.schedule=cosine"], {"new": 2, "left out": 2}),
    ],
)
def test_diff_counts_what_the_next_run_does(overrides: list[str], steps: dict[str, int]) -> None:
    result = call("diff", "small.yaml", *overrides)
    assert (result.code, result.err) == (0, "")
    counts = ", ".join(f"{count} {step}" for step, count in steps.items())
    assert result.out.splitlines()[-1] == f"{sum(steps.values())} trials: {counts}"


def test_diff_and_run_say_what_more_epochs_start_from(ids: tuple[str, str], ledger: Ledger) -> None:
    more = ("small.yaml", "recipe.epochs=2")
    shutil.rmtree(ledger.checkpoint_folder(ids[1]))
    lost = "its last state was not kept (keep_checkpoints: last keeps it)"
    found = rows(call("diff", *more))
    assert sorted(cells[1:] for trial_id, cells in found.items() if trial_id not in ids) == [
        ["goes on after epoch 1", f"from epoch 1 of trial {ids[0]}"],
        ["new", f"not from epoch 1 of trial {ids[1]}: {lost}"],
    ]
    assert all(found[i][1:] == ["left out", "done; what there is of it stays"] for i in ids)
    result = call("run", *more, *INLINE)
    lines = result.out.splitlines()
    assert lines[:3] == [
        "small: 2 trials, 0 settled, 2 to run",
        "to run: 1 after the last epoch of a shorter trial",
        f"to run: 1 from the start, although there is a shorter trial: {lost}",
    ]


def test_logs_tell_what_happened(ids: tuple[str, str], ledger: Ledger) -> None:
    ledger.fail(ids[0], "final", "ValueError: no", "Traceback: no\n")
    ledger.note(ids[0], "something odd")
    result = call("logs", ids[0][:6])
    assert (result.code, result.err) == (0, "")
    events, log, failure = result.out.split("\n\n")
    *lines, trained = events.splitlines()
    begin, finish, fail = (line.split(" ", 2)[2] for line in lines)
    assert begin.startswith("begin after epoch 0: 1 CPU, 0 GPU, on ")
    assert f" of {platform.node()}, pid " in begin
    assert trained == f"trained on {processor()}: epoch 1"
    assert finish.startswith("finish after epoch 1: pid ")
    assert fail == "fail after epoch 1: kind final, reason ValueError: no"
    assert log.splitlines()[0] == f"sweeps/trials/{ids[0]}/log.txt"
    assert log.endswith(" something odd")
    assert failure == f"sweeps/trials/{ids[0]}/failure.txt\nTraceback: no\n"


def test_retry_runs_what_failed(ids: tuple[str, str], ledger: Ledger) -> None:
    for arguments, said in (
        (["--failed"], "small: no trial failed\n"),
        ([], "small: no trial failed or was stopped early\n"),
    ):
        assert call("retry", "small", *arguments, *INLINE) == Result(0, said, "")
    begun(ledger, ids[0])
    ledger.fail(ids[0], "final", "ValueError: no", "Traceback\n")
    assert call("run", "small.yaml", *INLINE).code == 1  # it is not tried again by itself
    result = call("retry", "small", "--failed", *INLINE)
    assert "small: 2 of 2 trials done" in result.out
    assert (result.code, statuses()[ids[0]]["state"]) == (0, "done")


def test_rm_asks_and_leaves_what_another_sweep_has(
    ids: tuple[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("run", "other.yaml", "attention=[none, se]", *INLINE).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = call("rm", "small")
    assert (asked.code, asked.out.splitlines()[0]) == (
        1,
        "Remove small? Trials that go with it: 1 [y/N]: ",
    )
    assert set(ids) <= set(ledger.trial_ids())
    assert call("rm", "small", "--yes") == Result(0, "small is removed\n", "")
    assert ids[0] in ledger.trial_ids()
    assert ids[1] not in ledger.trial_ids()
    assert call("status", "small").code == 2
    assert call("status", "other").code == 0
    runs = list(find_runs(open_client(f"sqlite:///{Path('sweeps/mlflow.db').absolute()}"), ""))
    tags = {run.data.tags.get(names.TRIAL_ID, run.data.tags.get(names.STUDY)): run for run in runs}
    assert len(runs) == len(tags) == 3
    assert ids[1] not in tags
    assert "small" not in tags
    assert tags[ids[0]].data.tags[names.per_sweep(names.MEMBER, "small")] == "no"
    assert tags[ids[0]].data.tags[names.per_sweep(names.MEMBER, "other")] == "yes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "smal"], "no sweep 'smal' in sweeps; did you mean 'small'? Known: small"),
        (["rm", "xyz", "--yes"], "no sweep 'xyz' in sweeps. Known: small"),
        (["retry", "xyz"], "no sweep 'xyz' in sweeps. Known: small"),
        (["status", "small", "--dir", "none"], "no sweep was run in none yet; `sweep run SPEC`"),
        (["logs", "zz"], "no trial 'zz' in sweeps; `sweep status` lists those of a sweep"),
        (["logs", ""], "2 trials start with '': "),
        (["diff", "small.yml"], "small.yml: cannot be read: No such file"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"error: {message}")


def test_a_sweep_that_runs_is_left_alone(ids: tuple[str, str], ledger: Ledger) -> None:
    with held(Path("sweeps/studies/small/lock")) as pid:
        for arguments in (["rm", "small", "--yes"], ["retry", "small"], ["run", "small.yaml"]):
            more = ["seeds=[0,1]"] if arguments[0] == "run" else []
            result = call(*arguments, *more)
            assert result.code == 2
            assert f"process {pid} on " in result.err
            assert len(result.err.splitlines()) == 1
    with held(ledger.trial_folder(ids[1]) / "claim") as pid:
        result = call("rm", "small", "--yes")
    assert (result.code, result.err.splitlines()[1:]) == (2, [])
    assert f"cannot be removed now: process {pid} on " in result.err
    assert set(ledger.trial_ids()) == set(ids)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring takes one short round; what it finds is not looked at."""
    monkeypatch.setattr("sweep.measuring.ROUNDS", 1)
    monkeypatch.setattr("sweep.measuring.SECONDS", 0.001)


def cost_runs() -> list[Any]:
    client = open_client(f"sqlite:///{Path('sweeps/mlflow.db').absolute()}")
    return list(find_runs(client, f"tags.`{names.KIND}` = 'cost'"))


@pytest.mark.usefixtures("quick")
def test_profile_measures_every_model_once() -> None:
    first = call("profile", "small", "--batch-size", "2")
    assert (first.code, first.err) == (0, "")
    assert "small: 2 models, 2 to measure on " in first.out
    assert "mobilenet_v2 ELA-L" in first.out
    assert len(cost_runs()) == 2
    assert all(run.data.metrics["forward_latency_ms"] > 0 for run in cost_runs())
    assert "2 models, 0 to measure" in call("profile", "small", "--batch-size", "2").out
    assert len(cost_runs()) == 2
    assert "2 models, 2 to measure" in call("profile", "small", "--batch-size", "2", "--again").out
    assert "2 models, 2 to measure" in call("profile", "small", "--batch-size", "3").out
    reported = call("report", "small")
    assert (reported.code, "artifacts" in reported.err) == (1, True)  # the folder is a copy
    assert Path("sweeps/reports/small/cost.csv").exists()
    assert call("rm", "small", "--yes").code == 0
    assert cost_runs() == []


@pytest.mark.usefixtures("quick")
def test_profile_of_a_sweep_that_runs_warns() -> None:
    with held(Path("sweeps/studies/small/lock")) as pid:
        result = call("profile", "small", "--batch-size", "1")
    assert result.code == 0
    assert f"warning: it is run by process {pid} on " in result.err
    assert "which disturbs what is measured" in result.err


@pytest.mark.usefixtures("quick")
def test_model_that_cannot_be_measured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise RuntimeError("no room\nat all")

    monkeypatch.setattr("sweep.measuring.measure_memory", full)
    result = call("profile", "small", "--batch-size", "1")
    assert result.code == 1
    assert "not measured: mobilenet_v2 baseline: RuntimeError: no room" in result.out
    assert cost_runs() == []


def test_profile_that_cannot_be() -> None:
    unknown = call("profile", "smal")
    assert unknown.code == 2
    assert "did you mean 'small'?" in unknown.err
    assert call("profile", "small", "--batch-size", "0").code == 2
    Path("sweeps/mlflow.db").unlink()
    down = call("profile", "small")
    assert down.code == 2
    assert "there is no MLflow store at " in down.err
