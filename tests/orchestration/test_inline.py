"""Sweeps in this process: the ledger, MLflow, failures, and running again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from reports.rows import study_rows
from sweep.ledger import Ledger
from sweep.orchestration.machine import Machine
from sweep.orchestration.resources import NoRoomError, share
from sweep.orchestration.run import running
from sweep.spec.schema import Resources
from sweep.standing import put_back
from sweep.study import FolderError, Study
from sweep.tracking import names
from sweep.tracking.reading import read_study
from tests.orchestration.conftest import Recorder, Run

Runner = Callable[..., Run]


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def runs_of(folder: Path, kind: str) -> list:
    client = client_of(folder)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`{names.KIND}` = '{kind}'"))


def test_sweep_is_complete_in_ledger_and_mlflow(run: Runner, folder: Path) -> None:
    done = run("seeds=[0,1]", "attention=[none, {name: ela, preset: L}]")
    trials = {p.trial.trial_id: p for p in done.plan.trials}
    assert done.summary.done == done.summary.ran == len(trials) == 4
    assert not done.summary.failures
    assert not done.summary.undelivered
    assert [t for t, e in done.recorder.epochs if e == 2] == list(trials)

    (parent,) = runs_of(folder, "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[names.STUDY] == "small"
    assert parent.data.metrics == {"trials": 4.0, "trials_done": 4.0, "trials_failed": 0.0}
    artifacts = {f.path for f in client_of(folder).list_artifacts(parent.info.run_id)}
    assert artifacts == {"search_space.yaml", "resolved.json", "plan.json", "environment.json"}

    children = runs_of(folder, "trial")
    assert {c.data.tags[names.TRIAL_ID] for c in children} == set(trials)
    for child in children:
        trial_id = child.data.tags[names.TRIAL_ID]
        planned = trials[trial_id]
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.params["attention"] == planned.trial.attention
        assert child.data.params["seed"] == str(planned.trial.seed)
        assert child.data.metrics["params_true"] == planned.cost.params_true
        assert child.inputs.dataset_inputs[0].dataset.name == "digits"
        journal = Ledger(folder).journal(trial_id)
        history = client_of(folder).get_metric_history(child.info.run_id, "val_top1")
        assert [(m.step, m.value, m.timestamp) for m in history] == [
            (line.epoch, line.metrics["val_top1"], line.timestamp) for line in journal
        ]
        result = json.loads((Ledger(folder).trial_folder(trial_id) / "result.json").read_text())
        assert child.data.metrics["test_top1"] == result["metrics"]["test_top1"]
        assert not Ledger(folder).checkpoint_folder(trial_id).exists()


def test_labels_of_a_module_taken_apart_are_those_of_the_plan(run: Runner, folder: Path) -> None:
    apart = "attention=[none, {name: eca, parts: [no neighbours]}, se]"
    where = "constraints={where: [reduction > 1]}"
    done = run("kind=leave_one_out", apart, where, "recipe.epochs=1")
    labels = ["baseline", "ECA", "ECA no neighbours", "SE"]
    assert [p.label for p in done.plan.trials] == [*labels, "SE no reduction"]
    assert done.summary.done == len(labels)
    rows = study_rows(read_study(f"sqlite:///{folder / 'mlflow.db'}", "small"))
    assert [(t.label, t.part) for t in rows.trials] == [
        (p.label, p.trial.part) for p in done.plan.runnable
    ]
    (pruned,) = done.plan.pruned
    assert not (folder / "trials" / pruned.trial.trial_id).exists()


def test_again_runs_only_what_is_missing(run: Runner, folder: Path) -> None:
    first = run("attention=[none]")
    second = run("attention=[none, {name: ca, reduction: 16}]")
    assert first.summary.ran == 1
    assert second.summary.ran == 1
    assert second.recorder.starts == [second.plan.trials[1].trial.trial_id]
    third = run("attention=[none, {name: ca, reduction: 16}]")
    assert third.summary.ran == 0
    assert third.summary.done == 2
    assert len(runs_of(folder, "trial")) == 2
    assert len(runs_of(folder, "sweep")) == 1


def test_trial_that_two_studies_share_runs_once_and_belongs_to_both(
    run: Runner, folder: Path
) -> None:
    run("attention=[none]", study="one")
    other = run("attention=[none]", study="two")
    assert other.summary.ran == 0
    (child,) = runs_of(folder, "trial")
    assert child.data.tags[names.per_sweep(names.MEMBER, "one")] == "yes"
    assert child.data.tags[names.per_sweep(names.MEMBER, "two")] == "yes"


def test_trial_that_the_grid_left_keeps_its_run_but_is_no_member(run: Runner, folder: Path) -> None:
    run("attention=[none, {name: ca, reduction: 16}]")
    run("attention=[none]")
    members = {
        r.data.params["attention"]: r.data.tags[names.per_sweep(names.MEMBER, "small")]
        for r in runs_of(folder, "trial")
    }
    assert members == {"none": "yes", "ca": "no"}


def test_diverging_trial_fails_alone_and_for_good(run: Runner, folder: Path) -> None:
    healthy = run("attention=[none]", "recipe.lr=1e-3")
    diverging = run("attention=[none]", "recipe.lr=1e30", "recipe.epochs=3", study="hot")
    assert not healthy.summary.failures
    (failure,) = diverging.summary.failures
    assert failure.reason.startswith("NonFiniteLossError: loss is nan in epoch 1, step ")
    assert "Traceback" in failure.log.read_text()
    status = {r.data.params["recipe.lr"]: r for r in runs_of(folder, "trial")}
    assert status["0.001"].info.status == "FINISHED"
    assert status["1e+30"].info.status == "FAILED"
    assert status["1e+30"].data.tags[names.REASON] == failure.reason
    again = run("attention=[none]", "recipe.lr=1e30", "recipe.epochs=3", study="hot")
    assert again.summary.ran == 0  # the same would happen again
    assert again.summary.failures == diverging.summary.failures
    assert Ledger(folder).entry(failure.trial_id).attempts == 1
    put_back(again.plan, Ledger(folder), failed_only=True)
    run("attention=[none]", "recipe.lr=1e30", "recipe.epochs=3", study="hot")
    assert Ledger(folder).entry(failure.trial_id).attempts == 2
    assert len(runs_of(folder, "trial")) == 2


def test_mlflow_that_is_down_costs_nothing_and_gets_all_later(
    run: Runner, folder: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.orchestration.run.DELIVERY_SECONDS", 3.0)
    (folder / "mlflow.db").unlink()
    (folder / "mlflow.db").mkdir()  # no database can be opened here
    offline = run("attention=[none]")
    assert offline.summary.done == 1
    assert offline.summary.undelivered
    (folder / "mlflow.db").rmdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.undo()
    online = run("attention=[none]")
    assert online.summary.ran == 0
    assert not online.summary.undelivered
    (child,) = runs_of(folder, "trial")
    history = client_of(folder).get_metric_history(child.info.run_id, "val_loss")
    assert [m.step for m in history] == [1, 2]


def test_delivering_twice_changes_nothing(run: Runner, folder: Path) -> None:
    first = run("attention=[none]")
    (trial_id,) = (p.trial.trial_id for p in first.plan.trials)
    before = runs_of(folder, "trial")[0]
    (Ledger(folder).trial_folder(trial_id) / "mlflow.json").unlink()
    run("attention=[none]")
    (after,) = runs_of(folder, "trial")
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics == before.data.metrics
    history = client_of(folder).get_metric_history(after.info.run_id, "train_loss")
    assert [m.step for m in history] == [1, 2]


def test_best_checkpoint_is_kept_and_logged_on_request(run: Runner, folder: Path) -> None:
    done = run("attention=[none]", "keep_checkpoints=best")
    (trial_id,) = (p.trial.trial_id for p in done.plan.trials)
    (kept,) = Ledger(folder).checkpoint_folder(trial_id).iterdir()
    assert kept.name.startswith("best-")
    (child,) = runs_of(folder, "trial")
    logged = client_of(folder).list_artifacts(child.info.run_id, "checkpoints")
    assert [f.path for f in logged] == [f"checkpoints/{kept.name}"]


def test_space_that_asks_for_more_than_there_is(run: Runner) -> None:
    with pytest.raises(NoRoomError, match=r"resources\.cpus = 1000: there are \d+ CPU cores"):
        run("resources.cpus=1000")
    with pytest.raises(NoRoomError, match=r"run with resources\.gpus=auto"):
        share(Resources(gpus=0.5), [Machine(4, 0)])
    assert share(Resources(), [Machine(4, 0)]).gpus == 0
    assert share(Resources(), [Machine(4, 8)]).gpus == 1
    assert share(Resources(gpus=0.5), [Machine(4, 8)]).gpus == 0.5


def test_interrupted_trial_goes_on_from_its_checkpoint(run: Runner, folder: Path, tmp_path) -> None:
    class StopError(Exception):
        pass

    def stop(trial_id: str, report: object) -> None:
        raise StopError

    whole = run("attention=[none]", into=tmp_path / "undisturbed")
    with pytest.raises(StopError):
        run("attention=[none]", recorder=Recorder(on_epoch=stop))
    (trial_id,) = (p.trial.trial_id for p in whole.plan.trials)
    assert Ledger(folder).entry(trial_id).state == "running"
    resumed = run("attention=[none]")
    assert resumed.recorder.epochs == [(trial_id, 1), (trial_id, 2)]
    results = [
        {k: v for k, v in Ledger(f).result(trial_id)["metrics"].items() if k != "train_seconds"}
        for f in (folder, tmp_path / "undisturbed")
    ]
    assert results[0] == results[1]


def hold(path: Path) -> subprocess.Popen[str]:
    """Let another process take a lock, and return it once it has it."""
    code = (
        "import sys, pathlib; from sweep.lock import Lock\n"
        "lock = Lock(pathlib.Path(sys.argv[1])); print(lock.take(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "True\n"
    return other


def test_one_command_at_a_time_runs_a_sweep(run: Runner, folder: Path) -> None:
    with hold(folder / "studies" / "small" / "lock") as other:
        with pytest.raises(FolderError, match=rf"sweep small is run by .*process {other.pid} on"):
            run("attention=[none]")
        assert run("attention=[none]", study="another").summary.done == 1
        other.kill()  # the lock of a dead process is no lock
    assert run("attention=[none]").summary.done == 1


def test_a_submitted_sweep_waits_for_the_job_before_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, said = Study(tmp_path, "small"), []
    monkeypatch.setenv("SWEEP_CONFINED", "1")
    monkeypatch.setattr("sweep.orchestration.run.LOCK_SECONDS", 0.0)
    with hold(tmp_path / "studies" / "small" / "lock") as other:
        threading.Timer(0.5, other.kill).start()
        with running(study, wait=False, tell=said.append):
            assert other.wait(10) != 0  # it was killed
    assert "; waiting until it ends" in said[0]
    monkeypatch.setattr("sweep.orchestration.run.JOB_LOCK_SECONDS", 0.0)
    with (
        hold(tmp_path / "studies" / "small" / "lock"),
        pytest.raises(FolderError, match=r"small is run by another command .*, after 0 s still"),
        running(study, wait=False, tell=print),
    ):
        pass


def test_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    study = Study(tmp_path / "file" / "sweeps", "small")
    with (
        pytest.raises(FolderError, match="cannot write to"),
        running(study, wait=False, tell=print),
    ):
        pass


def test_run_that_was_created_but_never_described_is_completed(run: Runner, folder: Path) -> None:
    """As after a kill between two requests: the run exists, and nothing is in it."""
    first = run("attention=[none]")
    (trial_id,) = (p.trial.trial_id for p in first.plan.trials)
    client = client_of(folder)
    (whole,) = runs_of(folder, "trial")
    client.delete_run(whole.info.run_id)
    tags = {names.KIND: "trial", names.TRIAL_ID: trial_id}
    orphan = client.create_run(whole.info.experiment_id, tags=tags)
    assert run("attention=[none]").summary.ran == 0
    (completed,) = runs_of(folder, "trial")
    assert completed.info.run_id == orphan.info.run_id
    assert completed.info.status == "FINISHED"
    assert completed.data.params == whole.data.params
    assert completed.data.metrics == whole.data.metrics


def test_trial_that_comes_back_to_the_grid_is_a_member_again(run: Runner, folder: Path) -> None:
    both = "attention=[none, {name: ca, reduction: 16}]"
    run(both)
    run("attention=[none]")
    run(both)
    tags = [r.data.tags[names.per_sweep(names.MEMBER, "small")] for r in runs_of(folder, "trial")]
    assert tags == ["yes", "yes"]


def test_interrupted_sweep_says_so_in_ledger_and_mlflow(run: Runner, folder: Path) -> None:
    def stop(trial_id: str, report: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("attention=[none]", recorder=Recorder(on_epoch=stop))
    (child,) = runs_of(folder, "trial")
    assert child.info.status == "KILLED"
    assert Ledger(folder).entry(child.data.tags[names.TRIAL_ID]).state == "interrupted"
    run("attention=[none]")
    (child,) = runs_of(folder, "trial")
    assert child.info.status == "FINISHED"


class Stopping:
    """A file in whose second piece the process is told to stop."""

    pieces = 0

    def write(self, piece: bytes) -> int:
        self.pieces += 1
        if self.pieces == 2:
            raise KeyboardInterrupt
        return len(piece)


def test_a_stop_while_a_checkpoint_is_saved_is_no_failure_of_the_trial(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    with pytest.raises(RuntimeError, match="unexpected pos"):  # by torch, over the stop
        save({"weight": torch.zeros(9)}, Stopping())
    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Stopping()))
    with pytest.raises(KeyboardInterrupt):
        run("attention=[none]")
    (child,) = runs_of(folder, "trial")
    assert child.info.status == "KILLED"
    assert Ledger(folder).entry(child.data.tags[names.TRIAL_ID]).state == "interrupted"


def test_side_figure_that_cannot_be_counted_costs_no_training(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise TypeError("this module cannot be traced")

    monkeypatch.setattr("sweep.orchestration.attempt.count_macs_fvcore", fail)
    done = run("attention=[none]")
    assert not done.summary.failures
    (child,) = runs_of(folder, "trial")
    assert names.FVCORE_MACS not in child.data.metrics
    assert "cannot be traced" in child.data.tags["sweep.fvcore_unsupported"]


def test_trial_that_nothing_came_of_is_a_failure(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sweep.orchestration.inline.InlineRunner.run", lambda runner, agenda, stop: None
    )
    done = run("attention=[none]")
    (failure,) = done.summary.failures
    assert failure.trial_id == done.plan.trials[0].trial.trial_id
    assert "nothing of it is in " in failure.reason
