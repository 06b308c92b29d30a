"""From a trial to a job: where its data are, what it gets of the machine, what it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweep.ledger import Ledger, Share
from sweep.lengthen import beginnings
from sweep.orchestration.attempt import Job
from sweep.plan import Plan, PlannedTrial
from sweep.spec.schema import Space
from sweep.spec.trial import Trial
from sweep.training.memory import probe_key


class JobMaker:
    """Makes the jobs of one sweep.

    Args:
        space: of the sweep.
        folder: the working folder.
        root: where the data set lies.
        given: what a trial gets that asked for no more yet.
        plan: the trials that are known now.
        packed: the part of a GPU that a kind of trial needs, by ``probe_key``, where that was
            measured.
    """

    def __init__(
        self,
        space: Space,
        folder: Path,
        root: str | None,
        given: Share,
        plan: Plan,
        packed: Mapping[str, float],
    ) -> None:
        self.space, self.folder, self.root = space, folder, root
        self.given, self.packed = given, packed
        self.beginnings = beginnings(plan.runnable, Ledger(folder))

    def __call__(self, planned: PlannedTrial, larger: Share | None) -> Job:
        """Return the job of a trial; ``larger`` is what it needs, where that is more."""
        trial = placed(planned.trial, self.root)
        part = self.packed.get(probe_key(trial), self.given.gpus)
        return Job(
            trial=trial,
            folder=str(self.folder.absolute()),
            share=self._share(part, larger),
            workers=self.space.resources.workers,
            keep=self.space.general.keep_checkpoints,
            continues=self._continued(trial),
            latency="latency" in self.space.objectives,
        )

    def _share(self, part: float, larger: Share | None) -> Share:
        """Return what a trial gets: what it needed last, as far as this machine has a GPU."""
        if larger is None:
            return Share(self.given.cpus, part)
        gpus = max(part, larger.gpus) if self.given.gpus else 0.0
        return Share(self.given.cpus, gpus, larger.accumulate)

    def _continued(self, trial: Trial) -> str | None:
        """Return the trial whose last state a trial goes on from."""
        if trial.segment is not None:
            return trial.segment.parent
        beginning = self.beginnings.get(trial.trial_id)
        return beginning.trial_id if beginning and not beginning.obstacle else None


def placed(trial: Trial, root: str | None) -> Trial:
    """Return a trial that knows where its data lie."""
    settings = {**trial.dataset_settings, "root": root}
    return trial.model_copy(update={"dataset_settings": settings})
