"""Measurements to MLflow and back, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from sweep.errors import UserError
from sweep.lock import Lock
from sweep.tracking import names, store
from sweep.tracking.delivery import run_params
from sweep.tracking.measurements import (
    Cost,
    MeasuredModel,
    costs_by_model,
    key_of_run,
    key_of_trial,
    write_measurements,
)
from sweep.tracking.pages import MEANINGS
from sweep.tracking.reading import RunRecord, read_curves, read_finished, read_study
from sweep.tracking.removal import remove_runs
from sweep.tracking.store import open_client
from tests.test_ledger import TRIAL

COST = Cost(
    device="A Processor, 2 threads",
    versions={"python": "3.11.7", "torch": "2.9.0"},
    precision="fp32",
    throughput_batch_size=32,
    latency_ms=1.25,
    latency_iqr_ms=0.5,
    images_per_second=2000.0,
    images_per_second_iqr=125.0,
    peak_memory_gib=0.375,
    host="here",
    cores=2,
    load=0.5,
    measured="2026-01-02T03:04:05+00:00",
)
PARAMETERS = 11_173_962


def model(cost: Cost = COST, parameters: int = PARAMETERS, **changes: Any) -> MeasuredModel:
    return MeasuredModel(TRIAL.model_copy(update=changes), "a model", parameters, 5, cost)


@pytest.fixture
def parent(uri: str) -> str:
    """Parent run of sweep "small", which has one trial, seed 1."""
    client = open_client(uri)
    experiment = client.create_experiment("small")
    refused = json.dumps({"count": 0, "items": []})
    tags = {names.KIND: "sweep", names.STUDY: "small", names.REFUSED: refused}
    run_id = str(client.create_run(experiment, tags=tags).info.run_id)
    member = names.per_sweep(names.MEMBER, "small")
    own = {names.KIND: "trial", names.TRIAL_ID: "t", member: "yes", names.PLUGINS: ""}
    trial = client.create_run(experiment, tags=own).info.run_id
    params = run_params(TRIAL.model_copy(update={"seed": 1}))
    client.log_batch(
        trial,
        metrics=[Metric("params_true", PARAMETERS, 0, 0)],
        params=[Param(key, str(value)) for key, value in params.items()],
    )
    client.set_terminated(trial)
    return run_id


def test_what_is_written_is_read(uri: str, parent: str) -> None:
    write_measurements(uri, "small", parent, [model()])
    record = read_study(uri, "small")
    (run,) = record.measurements
    (trial,) = record.trials
    found = costs_by_model(record.measurements)
    assert found == {
        key_of_run(trial): (replace(COST, run_id=run.run_id, experiment_id=run.experiment_id),)
    }
    assert key_of_trial(TRIAL, PARAMETERS) == key_of_run(run)
    assert run.status == "FINISHED"
    assert run.tags["mlflow.parentRunId"] == parent
    assert run.metrics == {
        "params_true": PARAMETERS,
        "macs": 5,
        "forward_latency_ms": 1.25,
        "forward_latency_iqr_ms": 0.5,
        "forward_images_per_second": 2000,
        "forward_images_per_second_iqr": 125,
        "forward_peak_gib": 0.375,
    }
    documented = {name for names_ in MEANINGS for name in names_.split(", ")}
    assert run.metrics.keys() <= documented
    assert "seed" not in run.params


def test_other_readers_do_not_take_it_for_a_trial(uri: str, parent: str) -> None:
    before = [run.run_id for run in read_finished(uri)]
    write_measurements(uri, "small", parent, [model()])
    assert [run.run_id for run in read_finished(uri)] == before
    assert len(read_study(uri, "small").trials) == 1


def test_latest_of_each_setting_counts(uri: str, parent: str) -> None:
    half = replace(COST, precision="bf16", channels_last=True)
    anew = replace(COST, latency_ms=2.0, measured="2026-01-03T00:00:00+00:00")
    for cost in (COST, half, anew):
        write_measurements(uri, "small", parent, [model(cost)])
    (costs,) = costs_by_model(read_study(uri, "small").measurements).values()
    assert [(cost.precision, cost.latency_ms) for cost in costs] == [("bf16", 1.25), ("fp32", 2.0)]
    assert [cost.channels_last for cost in costs] == [True, False]


@pytest.mark.parametrize(
    "other",
    [
        model(dataset_settings={**TRIAL.dataset_settings, "image_size": 64}),
        model(hyperparameters={**TRIAL.hyperparameters, "kernel_size": 99}),
        model(parameters=PARAMETERS + 1),  # of another number of classes
        model(plugins=("own 1.0",)),
    ],
    ids=["image size", "hyperparameter", "classes", "plug-in"],
)
def test_another_model_is_not_the_trials(uri: str, parent: str, other: MeasuredModel) -> None:
    write_measurements(uri, "small", parent, [other])
    record = read_study(uri, "small")
    assert key_of_run(record.trials[0]) not in costs_by_model(record.measurements)


def test_hyperparameter_that_a_module_gained_had_its_default() -> None:
    params = {"attention": "ela", "attention.kernel_size": "7"}
    old = RunRecord("r", "1", "r", "FINISHED", params, {"params_true": 1.0}, {})
    gained = {"attention.groups": "in_channels"}  # ELA's default
    assert key_of_run(old) == key_of_run(replace(old, params=params | gained))
    assert key_of_run(old) != key_of_run(replace(old, params=params | {"attention.groups": "1"}))


def test_unfinished_measurement_is_none(uri: str, parent: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_run(parent).info.experiment_id
    client.create_run(experiment, tags={names.KIND: "cost", names.STUDY: "small"})
    assert read_study(uri, "small").measurements == ()


def test_measurement_of_another_version_counts_as_none(uri: str, parent: str) -> None:
    write_measurements(uri, "small", parent, [model()])
    (run,) = read_study(uri, "small").measurements
    other = replace(run, tags={k: v for k, v in run.tags.items() if k != names.CORES})
    assert costs_by_model([other]) == {}
    assert len(costs_by_model([other, run])) == 1


def test_measurements_go_with_their_sweep(uri: str, parent: str) -> None:
    write_measurements(uri, "small", parent, [model()])
    remove_runs(uri, "small", [], "folder")
    with pytest.raises(UserError, match="has no study yet"):
        read_study(uri, "small")
    client = MlflowClient(tracking_uri=uri)
    everywhere = [e.experiment_id for e in client.search_experiments()]
    assert client.search_runs(everywhere, f"tags.`{names.KIND}` = 'cost'") == []


def test_all_go_where_they_are_many_pages(
    uri: str, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE", 1)
    write_measurements(uri, "small", parent, [model(), model(), model()])
    remove_runs(uri, "small", ["t"], "folder")
    client = MlflowClient(tracking_uri=uri)
    assert not client.search_runs([e.experiment_id for e in client.search_experiments()])


def test_measurements_that_another_sweep_uses_go_over_to_it(uri: str, parent: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    (trial,) = read_study(uri, "small").trials
    other = {names.KIND: "sweep", names.STUDY: "other", names.REFUSED: '{"count": 0, "items": []}'}
    client.create_run(client.create_experiment("other"), tags=other)
    client.set_tag(trial.run_id, names.per_sweep(names.MEMBER, "other"), "yes")
    write_measurements(uri, "small", parent, [model(), model(parameters=PARAMETERS + 1)])
    remove_runs(uri, "small", [], "folder")
    record = read_study(uri, "other")
    (run,) = record.measurements
    assert key_of_run(run) == key_of_run(record.trials[0])
    remove_runs(uri, "other", [], "folder")
    everywhere = [e.experiment_id for e in client.search_experiments()]
    assert client.search_runs(everywhere, f"tags.`{names.KIND}` = 'cost'") == []


def test_store_that_fails_is_told(uri: str) -> None:
    with pytest.raises(UserError, match=r"does not answer: .*missing"):
        write_measurements(uri, "small", "missing", [model()])


def test_store_that_is_opened_by_others_for_too_long_is_told(
    uri: str, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: Lock, seconds: float) -> bool:
        return False

    monkeypatch.setattr(Lock, "wait", busy)
    uses: list[Callable[[], object]] = [
        lambda: write_measurements(uri, "small", parent, [model()]),
        lambda: read_study(uri, "small"),
        lambda: read_finished(uri),
        lambda: read_curves(uri, [parent], "val_top1"),
    ]
    for use in uses:
        with pytest.raises(UserError, match=r"does not answer: .* is opened by another command"):
            use()
