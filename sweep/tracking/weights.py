"""The best weights of finished trials, as their runs in MLflow keep them.

They are there where the search space says ``keep_checkpoints``; a run has them beside the record of
its trial, so that the model can be built again on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.spec.trial import Trial
from sweep.tracking import names
from sweep.tracking.handover import fetch_finished
from sweep.tracking.store import answering, fetching, open_client


@dataclass(frozen=True)
class BestWeights:
    """Where the best weights of a trial were fetched to."""

    trial: Trial
    epoch: int
    """That they are of: the best on the validation split."""
    folder: Path
    """That holds them under the name that the training gave them."""


class WeightStore:
    """The weights in one MLflow store.

    Args:
        uri: of the store.

    Raises:
        UserError: the store does not answer; its methods raise the same, also where artifacts
            cannot be fetched.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with answering(uri):
            self._client = open_client(uri)

    def kept(self, run_ids: Mapping[int, str]) -> dict[int, str]:
        """Return of the runs of some seeds those that keep weights."""
        return {seed: run_id for seed, run_id in run_ids.items() if self._keeps(run_id)}

    def fetch(self, run_id: str, folder: Path) -> BestWeights | None:
        """Copy the best weights of a run into a folder.

        None if the record of its trial is not there, or damaged, or of another version.
        """
        with answering(self.uri):
            finished = fetch_finished(self._client, self._client.get_run(run_id))
        if finished is None:
            return None
        with fetching(run_id):
            fetched = self._client.download_artifacts(run_id, names.CHECKPOINTS, str(folder))
        return BestWeights(finished.trial, int(finished.result["best_epoch"]), Path(fetched))

    def _keeps(self, run_id: str) -> bool:
        with fetching(run_id):
            return bool(self._client.list_artifacts(run_id, names.CHECKPOINTS))
