"""What MLflow's pages show of a sweep: tags to group by, descriptions, views, a heartbeat."""

from __future__ import annotations

import json
import platform
import re
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment

from sweep.spec.recipes import Recipe
from sweep.tracking import delivery, names
from sweep.tracking.pages import VIEW, sweep_note, trial_note
from sweep.tracking.records import SweepRecord, TrialRecord
from tests.tracking.conftest import RESULT, SHARE, TRIALS, Folder, finish, runs

MODEL = TRIALS[0].backbone.name


@pytest.fixture
def folder(tmp_path: Path, uri: str) -> Folder:
    return Folder(tmp_path / "one", uri)


def experiment(uri: str) -> Experiment:
    found = MlflowClient(tracking_uri=uri).get_experiment_by_name("small")
    assert found is not None
    return found


def test_a_run_has_a_name_and_tags_that_people_group_by(folder: Folder, uri: str) -> None:
    folder.train(1)
    folder.deliver()
    (run,) = runs(uri)
    assert run.info.run_name == f"{MODEL} ELA-B seed 0"
    assert run.data.tags[names.MODULE] == "ELA-B"
    assert run.data.tags[names.MODEL].startswith(f"{MODEL} none #")
    assert run.data.tags[names.NOTE].endswith("**in training**")


def test_only_seeds_of_one_model_are_grouped_whatever_the_sweep_calls_it(
    folder: Folder, uri: str
) -> None:
    ela = TRIALS[0].model_copy(
        update={
            "attention": "ela",
            "sites": ("layer3.0", "layer3.1"),
            "hyperparameters": {"kernel_size": 5, "groups": 1},
            "nondefault": ("kernel_size",),
        }
    )
    model = TrialRecord(ela, "ELA", {}).model
    assert model.startswith(f"{MODEL} ela kernel_size=5 at layer3.0 +1 #")
    same: list[dict[str, object]] = [{"seed": 7}, {"placement": "mine"}, {"preset": "B"}]
    for changes in same:
        assert TrialRecord(ela.model_copy(update=changes), "ELA-k5", {}).model == model
    others: list[dict[str, object]] = [
        {"sites": ("layer3.0", "layer4.0")},
        {"hyperparameters": {"kernel_size": 7, "groups": 1}},
        {"recipe": Recipe(epochs=5)},
    ]
    for changes in others:
        assert TrialRecord(ela.model_copy(update=changes), "ELA", {}).model != model
    folder.train(1)
    folder.deliver()
    (run,) = runs(uri)
    MlflowClient(tracking_uri=uri).set_tag(run.info.run_id, names.MODEL, "of an earlier version")
    folder.anew()
    folder.deliver()
    assert runs(uri)[0].data.tags[names.MODEL] == run.data.tags[names.MODEL]


def test_a_view_has_the_trials_that_the_grid_has_now(folder: Folder, uri: str) -> None:
    for seed in range(2):
        folder.train(1, 2, seed=seed)
        folder.deliver(seed)
    smaller = SweepRecord("small", "Why?", "top1", {}, {}, (TrialRecord(TRIALS[1], "ELA-B", {}),))
    folder.delivery = delivery.Delivery(smaller, folder.ledger, uri)
    folder.deliver(1, closing=True)
    found = experiment(uri)
    views = [json.loads(value) for key, value in found.tags.items() if key.startswith(VIEW)]
    assert len(views) == 3
    for view in views:
        (run,) = MlflowClient(tracking_uri=uri).search_runs(
            [found.experiment_id], view["searchFilter"]
        )
        assert run.data.tags[names.TRIAL_ID] == TRIALS[1].trial_id


def test_a_description_follows_its_trial(folder: Folder, uri: str) -> None:
    def note() -> str:
        return str(runs(uri)[0].data.tags[names.NOTE])

    folder.train(1)
    folder.ledger.fail(TRIALS[0].trial_id, "transient", "the node was lost", "Traceback")
    folder.deliver()
    assert note().endswith("**failed**\n\n```\nthe node was lost\n```")
    folder.train(1)
    folder.deliver()
    assert note().endswith("**in training**")
    folder.train(2)
    folder.deliver()
    assert note().endswith("**done**")


def test_a_description_says_what_was_adjusted_and_no_novel() -> None:
    record = TrialRecord(TRIALS[0], "ELA-B", {}, "num_groups 16 -> 12")
    note = trial_note(record, "failed", "x" * 10_000)
    assert note.endswith("\n\nAdjusted: num_groups 16 -> 12")
    assert len(note) < 1000


def test_the_sweep_says_how_it_ended(folder: Folder, uri: str) -> None:
    folder.train(1, 2)
    folder.train(1, seed=1)
    folder.ledger.fail(TRIALS[1].trial_id, "final", "loss is nan", "Traceback")
    folder.deliver()
    (parent,) = runs(uri, "sweep")
    assert "is running, or was cut off" in parent.data.tags[names.NOTE]
    assert parent.data.tags[names.SOURCE] == "sweep run"
    folder.deliver(seed=1, closing=True)
    (parent,) = runs(uri, "sweep")
    assert "Trials: 1 done, 1 failed, 1 planned." in parent.data.tags[names.NOTE]
    assert parent.data.metrics == {"trials": 3, "trials_done": 1, "trials_failed": 1}


def test_the_views_of_an_experiment_are_linked_and_name_what_its_runs_have(
    folder: Folder, uri: str
) -> None:
    folder.train(1, 2)
    folder.deliver(closing=True)
    found = experiment(uri)
    (run,) = runs(uri)
    views = {
        key.removeprefix(VIEW): json.loads(value)
        for key, value in found.tags.items()
        if key.startswith(VIEW)
    }
    linked = re.findall(
        r"\(#/experiments/(\w+)/runs\?[\w=]+&viewStateShareKey=(\w+)\)", found.tags[names.NOTE]
    )
    assert linked == [(found.experiment_id, key) for key in ("trials", "models", "ends")]
    assert set(views) == {"trials", "models", "ends"}
    has = {
        *(f"metrics.`{key}`" for key in (*run.data.metrics, "best_val_top1", "params_true")),
        *(f"params.`{key}`" for key in run.data.params),
        *(f"tags.`{key}`" for key in run.data.tags),
    }
    for view in views.values():
        assert {view["orderByKey"], *view["selectedColumns"]} <= has
    assert views["trials"]["orderByKey"] == "metrics.`test_top1`"
    assert views["models"]["groupBy"]["groupByKeys"][0]["groupByData"] in run.data.tags


def test_of_a_loss_less_is_better() -> None:
    sweep = SweepRecord("small", "Why?", "loss", {}, {}, (), {"loss": "nats"}, ascending=True)
    assert "| `*_loss` | nats |" in sweep_note(sweep, "1")


def test_the_sweep_of_an_earlier_version_is_described_anew_and_finished_runs_stay(
    folder: Folder, uri: str
) -> None:
    folder.train(1, 2)
    folder.deliver(closing=True)
    client = MlflowClient(tracking_uri=uri)
    (run,) = runs(uri)
    for tag in (names.MODULE, names.MODEL, names.NOTE):
        client.delete_tag(run.info.run_id, tag)
    (parent,) = runs(uri, "sweep")
    client.set_tag(parent.info.run_id, names.NOTE, "Why?")
    folder.anew()
    folder.deliver(closing=True)
    (run,) = runs(uri)  # it was finished, and is as it was
    assert names.MODULE not in run.data.tags
    (parent,) = runs(uri, "sweep")
    assert "Trials: 1 done, 2 planned." in parent.data.tags[names.NOTE]


def test_whoever_sees_the_sweep_running_sees_its_heartbeat(
    folder: Folder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    update_run, log_text = MlflowClient.update_run, MlflowClient.log_text

    def look(self: MlflowClient) -> None:
        (parent,) = runs(uri, "sweep")
        if parent.info.status == "RUNNING":
            seen.append(float(parent.data.tags.get(names.HEARTBEAT, 0.0)))

    def updated(self: MlflowClient, *arguments: str, **named: str) -> None:
        update_run(self, *arguments, **named)
        look(self)

    def logged(self: MlflowClient, *arguments: str) -> None:
        look(self)
        log_text(self, *arguments)

    monkeypatch.setattr(MlflowClient, "update_run", updated)
    monkeypatch.setattr(MlflowClient, "log_text", logged)
    for _ in range(2):
        began = time.time()
        seen.clear()
        folder.anew()
        folder.deliver(closing=True)
        assert seen
        assert min(seen) >= began


def test_the_sweep_says_now_and_then_that_it_is_run(
    folder: Folder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beat() -> float:
        return float(runs(uri, "sweep")[0].data.tags[names.HEARTBEAT])

    before = time.time()
    folder.delivery._deliver_pending(False)
    first = beat()
    assert before <= first <= time.time()
    folder.delivery._deliver_pending(False)
    assert beat() == first  # it was said just now
    monkeypatch.setattr(delivery, "BEAT_SECONDS", 0.0)
    folder.delivery._deliver_pending(False)
    assert beat() > first


def test_a_run_says_what_trained_which_epochs(folder: Folder, uri: str) -> None:
    trial = TRIALS[0]
    for epoch, device in enumerate(("A100, 40 GiB", "V100, 16 GiB"), start=1):
        folder.ledger.begin(trial, SHARE, device, f"10.0.0.{epoch}")
        folder.ledger.record(trial.trial_id, epoch, {"val_top1": epoch / 10}, device)
    finish(folder.ledger, trial.trial_id, RESULT)
    folder.deliver()
    (run,) = runs(uri)
    tags = run.data.tags
    assert json.loads(tags[names.DEVICES]) == [["A100, 40 GiB", 1, 1], ["V100, 16 GiB", 2, 2]]
    host = platform.node()
    assert tags[names.NODES] == f"{host} (10.0.0.1), {host} (10.0.0.2)"
    assert tags[names.NOTE].endswith(
        "Trained on A100, 40 GiB: epoch 1; V100, 16 GiB: epoch 2; the times of its epochs do not "
        "compare."
    )


def test_one_device_is_no_news(folder: Folder, uri: str) -> None:
    folder.train(1, 2)
    folder.deliver()
    (run,) = runs(uri)
    assert names.DEVICES not in run.data.tags  # of an earlier version's ledger
    assert run.data.tags[names.NODES] == platform.node()
    assert "Trained on" not in run.data.tags[names.NOTE]
