"""What the models of sweeps cost, as MLflow keeps it: one run for each model that was measured.

Such a run is a child of the parent run of the sweep that it was measured for, beside its trials. It
has those parameters of their runs that say what the model is: by these, and by how many parameters
the model has, a trial finds the measurements of its model, whatever its seed and its recipe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.registry import ATTENTION
from sweep.spec.trial import Trial
from sweep.tracking import names
from sweep.tracking.delivery import run_params
from sweep.tracking.reading import RunRecord
from sweep.tracking.store import answering, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_PARAMS = ("task", "backbone", "stem", "sites", "attention", "dataset.image_size")
"""Parameters of a trial's run that say what its model is, beside the hyperparameters."""
PARAMETERS = "params_true"
"""Metric of a run: how many parameters the model has, by which models differ whose sites have no
room in a parameter of the run, and those of different numbers of classes."""
METRICS = {
    "latency_ms": "forward_latency_ms",
    "latency_iqr_ms": "forward_latency_iqr_ms",
    "images_per_second": "forward_images_per_second",
    "images_per_second_iqr": "forward_images_per_second_iqr",
    "peak_memory_gib": "forward_peak_gib",
}
"""Fields of a cost to metrics of its run, which trials have none of: theirs are of training."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How models were measured: numbers compare that have it in common."""

    device: str
    """Of a GPU with its memory, of a CPU with the number of threads; see ``sweep.devices``."""
    versions: Mapping[str, str]
    """Of what computed."""
    precision: str
    throughput_batch_size: int
    """Images of a pass, for throughput and memory; latency is of one image."""
    channels_last: bool = False
    """Memory format of weights and images."""

    @property
    def key(self) -> tuple[object, ...]:
        """The same, to be looked up by."""
        versions = tuple(sorted(self.versions.items()))
        passes = self.precision, self.throughput_batch_size, self.channels_last
        return self.device, versions, *passes


@dataclass(frozen=True, kw_only=True)
class Cost(Setting):
    """What forward passes of a model take in eval mode, postprocessing not included."""

    latency_ms: float
    """Of one image; the median."""
    latency_iqr_ms: float
    images_per_second: float
    """The median."""
    images_per_second_iqr: float
    peak_memory_gib: float
    """Of weights, images and what a pass makes of them; see ``sweep.profiling.memory``."""
    host: str
    cores: int
    load: float
    """Processes that wanted one of these cores meanwhile, the one that measured included: the
    highest average of a minute."""
    measured: str
    """When; the same for models that were measured side by side."""
    run_id: str = ""
    """Of MLflow; empty until it is there, as is the next."""
    experiment_id: str = ""
    """Of that run, which may be another sweep's."""


@dataclass(frozen=True)
class MeasuredModel:
    """A model, and what it costs."""

    trial: Trial
    """One of those that have the model."""
    name: str
    parameters: int
    macs: int
    cost: Cost


def model_key(params: Mapping[str, str], parameters: float | None, plugins: str) -> str:
    """Return what runs of one model have in common.

    Args:
        params: of the run of a trial, or of a measurement.
        parameters: number of the model's.
        plugins: distributions that the model comes from.
    """
    attention = params.get("attention", "")
    fields = ATTENTION[attention].Config.model_fields if attention in ATTENTION else {}
    defaults = {  # of hyperparameters that the module gained after the run
        names.HYPERPARAMETER + name: str(field.default)
        for name, field in fields.items()
        if not field.is_required()
    }
    return json.dumps([defaults | model_params(params), parameters, plugins], sort_keys=True)


def key_of_run(run: RunRecord) -> str:
    """Return the key of the model of a trial's or a measurement's run."""
    return model_key(run.params, run.metrics.get(PARAMETERS), run.tags.get(names.PLUGINS, ""))


def key_of_trial(trial: Trial, parameters: int) -> str:
    """Return the key of a trial's model, as its run will have it."""
    return model_key(_params(trial), float(parameters), _plugins(trial))


def model_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a run that say what its model is."""
    return {
        key: value
        for key, value in params.items()
        if key in MODEL_PARAMS or key.startswith(names.HYPERPARAMETER)
    }


def costs_by_model(runs: Iterable[RunRecord]) -> dict[str, tuple[Cost, ...]]:
    """Return the measurements of each model, the latest last; of each setting the latest alone.

    Args:
        runs: of measurements, in the order they were made.
    """
    found: dict[str, dict[object, Cost]] = {}
    for run in runs:
        try:
            cost = _cost(run)
        except KeyError:  # of another version: its model counts as not measured
            continue
        settings = found.setdefault(key_of_run(run), {})
        settings.pop(cost.key, None)
        settings[cost.key] = cost
    return {model: tuple(settings.values()) for model, settings in found.items()}


def write_measurements(
    uri: str, study: str, parent_id: str, measured: Iterable[MeasuredModel]
) -> None:
    """Write a run for each model.

    Args:
        uri: of the MLflow store.
        study: name of the sweep.
        parent_id: of its parent run.
        measured: the models.

    Raises:
        UserError: the store does not answer.
    """
    with answering(uri):
        client = open_client(uri)
        experiment = client.get_run(parent_id).info.experiment_id
        for model in measured:
            tags = _tags(model, study, parent_id)
            run = client.create_run(experiment, run_name=f"cost of {model.name}", tags=tags)
            _log(client, run.info.run_id, model)
            client.set_terminated(run.info.run_id, "FINISHED")


def _tags(model: MeasuredModel, study: str, parent_id: str) -> dict[str, str]:
    cost = model.cost
    return {
        names.KIND: "cost",
        names.STUDY: study,
        names.PLUGINS: _plugins(model.trial),
        names.DEVICE: cost.device,
        names.HOST: cost.host,
        names.CORES: str(cost.cores),
        names.LOAD: str(cost.load),
        names.MEASURED: cost.measured,
        **{names.ENVIRONMENT + key: value for key, value in cost.versions.items()},
        "mlflow.parentRunId": parent_id,
    }


def _log(client: MlflowClient, run_id: str, model: MeasuredModel) -> None:
    from mlflow.entities import Metric, Param

    numbers = {key: getattr(model.cost, field) for field, key in METRICS.items()}
    numbers |= {PARAMETERS: model.parameters, "macs": model.macs}
    params = {
        **model_params(_params(model.trial)),
        names.PRECISION: model.cost.precision,
        names.BATCH_SIZE: str(model.cost.throughput_batch_size),
        names.CHANNELS_LAST: str(model.cost.channels_last),
    }
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(k, value, now, 0) for k, value in numbers.items()],
        params=[Param(key, value) for key, value in params.items()],
    )


def _cost(run: RunRecord) -> Cost:
    numbers: dict[str, Any] = {field: run.metrics[metric] for field, metric in METRICS.items()}
    return Cost(
        device=run.tags[names.DEVICE],
        versions={
            key.removeprefix(names.ENVIRONMENT): value
            for key, value in run.tags.items()
            if key.startswith(names.ENVIRONMENT)
        },
        precision=run.params[names.PRECISION],
        throughput_batch_size=int(run.params[names.BATCH_SIZE]),
        channels_last=run.params[names.CHANNELS_LAST] == "True",
        host=run.tags[names.HOST],
        cores=int(run.tags[names.CORES]),
        load=float(run.tags[names.LOAD]),
        measured=run.tags[names.MEASURED],
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        **numbers,
    )


def _params(trial: Trial) -> dict[str, str]:
    return {key: str(value) for key, value in run_params(trial).items()}


def _plugins(trial: Trial) -> str:
    return ", ".join(trial.plugins)
