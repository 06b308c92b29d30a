"""From a trial to a job: where its data are, what it gets of the machine, what it goes on from."""

from __future__ import annotations

from pathlib import Path

from sweep.ledger import Ledger, Share
from sweep.orchestration.attempt import Job
from sweep.orchestration.lengthen import beginnings
from sweep.plan import Plan, PlannedTrial
from sweep.spec.schema import Space
from sweep.spec.trial import Trial


class JobMaker:
    """Makes the jobs of one sweep.

    Args:
        space: of the sweep.
        folder: the working folder.
        root: where the data set lies.
        given: what a trial gets that asked for no more yet.
        plan: the trials that are known now.
    """

    def __init__(
        self, space: Space, folder: Path, root: str | None, given: Share, plan: Plan
    ) -> None:
        self.space, self.folder, self.root, self.given = space, folder, root, given
        self.beginnings = beginnings(plan.runnable, Ledger(folder))

    def __call__(self, planned: PlannedTrial, larger: Share | None) -> Job:
        """Return the job of a trial; ``larger`` is what it needs, where that is more."""
        trial = planned.trial
        settings = {**trial.dataset_settings, "root": self.root}
        return Job(
            trial=trial.model_copy(update={"dataset_settings": settings}),
            folder=str(self.folder.absolute()),
            share=larger or self.given,
            workers=self.space.resources.workers,
            keep=self.space.general.keep_checkpoints,
            continues=self._continued(trial),
            latency="latency" in self.space.objectives,
        )

    def _continued(self, trial: Trial) -> str | None:
        """Return the trial whose last state a trial goes on from."""
        if trial.segment is not None:
            return trial.segment.parent
        beginning = self.beginnings.get(trial.trial_id)
        return beginning.trial_id if beginning and not beginning.obstacle else None
