"""Deleting the runs of a sweep in MLflow, which keeps what was deleted until ``mlflow gc``."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.errors import UserError, first_line
from sweep.tracking import names
from sweep.tracking.handover import is_foreign
from sweep.tracking.store import find_runs, open_client


def remove_runs(uri: str, study: str, trial_ids: Sequence[str], folder_id: str) -> None:
    """Delete the parent run of a sweep, its measurements and the runs of trials.

    The other trials that it had are no members any more.

    Runs that another working folder made stay: they are its.

    Args:
        uri: of the MLflow store.
        study: name of the sweep.
        trial_ids: the trials that go with it.
        folder_id: of the working folder.

    Raises:
        UserError: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    member = names.per_sweep(names.MEMBER, study)
    try:
        client = open_client(uri)
        for run in find_runs(client, f"tags.`{names.KIND}` = 'trial'"):
            own = not is_foreign(run, folder_id)
            if own and run.data.tags[names.TRIAL_ID] in trial_ids:
                client.delete_run(run.info.run_id)
            elif run.data.tags.get(member) == "yes":
                client.set_tag(run.info.run_id, member, "no")
        for run in find_runs(client, f"tags.`{names.STUDY}` = '{study}'"):
            client.delete_run(run.info.run_id)
    except MlflowException as error:
        raise UserError(f"cannot delete runs in {uri}: {first_line(error)}") from None
