"""Deleting the runs of a sweep in MLflow, which keeps what was deleted until ``mlflow gc``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.errors import UserError, first_line
from sweep.tracking import names
from sweep.tracking.handover import is_foreign
from sweep.tracking.measurements import PARAMETERS, model_key
from sweep.tracking.store import find_runs, open_client, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def remove_runs(uri: str, study: str, trial_ids: Sequence[str], folder_id: str) -> None:
    """Delete the parent run of a sweep, the runs of trials, and its measurements.

    The other trials that it had are no members any more. A measurement of a model that a trial of
    another sweep has goes over to that sweep: its report has no other one. Runs of trials that
    another working folder made stay: they are its.

    Args:
        uri: of the MLflow store.
        study: name of the sweep.
        trial_ids: the trials that go with it.
        folder_id: of the working folder.

    Raises:
        UserError: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = open_client(uri)
        heirs = _remove_trials(client, study, trial_ids, folder_id)
        for run in list(find_runs(client, f"tags.`{names.STUDY}` = '{study}'")):
            heir = heirs.get(_model(run)) if run.data.tags.get(names.KIND) == "cost" else None
            if heir is None:
                client.delete_run(run.info.run_id)
            else:
                client.set_tag(run.info.run_id, names.STUDY, heir)
    except MlflowException as error:
        reason = without_password(first_line(error))
        raise UserError(f"cannot delete runs in {without_password(uri)}: {reason}") from None


def _remove_trials(
    client: MlflowClient, study: str, trial_ids: Sequence[str], folder_id: str
) -> dict[str, str]:
    """Delete the runs of trials; return what is left: models, each with a sweep that has it."""
    member, heirs = names.per_sweep(names.MEMBER, study), {}
    for run in list(find_runs(client, f"tags.`{names.KIND}` = 'trial'")):  # pages shift as runs go
        tags = run.data.tags
        if not is_foreign(run, folder_id) and tags[names.TRIAL_ID] in trial_ids:
            client.delete_run(run.info.run_id)
            continue
        if tags.get(member) == "yes":
            client.set_tag(run.info.run_id, member, "no")
        for tag, value in tags.items():
            if tag.startswith(f"{names.MEMBER}.") and tag != member and value == "yes":
                heirs[_model(run)] = tag.removeprefix(f"{names.MEMBER}.")
    return heirs


def _model(run: Run) -> str:
    """Return the key of the model of a trial's or a measurement's run."""
    data = run.data
    return model_key(data.params, data.metrics.get(PARAMETERS), data.tags.get(names.PLUGINS, ""))
