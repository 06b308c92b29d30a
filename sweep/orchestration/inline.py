"""Trials one after the other in this process: for debugging, and for tests without Ray."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.orchestration.attempt import Job, attempt
from sweep.orchestration.runner import Listener


class InlineRunner:
    """Runs jobs in their order; see ``Runner``."""

    def run(self, jobs: Sequence[Job], listener: Listener) -> None:
        for job in jobs:
            trial_id = job.trial.trial_id
            listener.started(trial_id)
            epochs = attempt(job)
            while True:
                try:
                    listener.epoch(trial_id, next(epochs))
                except StopIteration as end:
                    listener.ended(trial_id, end.value)
                    break
