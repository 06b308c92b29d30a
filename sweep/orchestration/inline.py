"""Trials one after the other in this process: for debugging, and for tests without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from sweep.orchestration.agenda import Agenda
from sweep.orchestration.attempt import Job, attempt
from sweep.orchestration.machine import dataset_root, this_machine
from sweep.orchestration.resources import Room
from sweep.plan import Plan
from sweep.spec.schema import Space
from sweep.spec.trial import Trial

IDLE_SECONDS = 0.2
"""Between two questions for a job, while there is none."""


class InlineRunner:
    """Runs the jobs of an agenda in its order; see ``Runner``."""

    def rooms(self) -> Sequence[Room]:
        return [this_machine()]

    def locate(self, space: Space, plan: Plan) -> str | None:
        return dataset_root(space)

    def pack(
        self,
        trials: Sequence[Trial],
        stop: Callable[[], bool],
        tell: Callable[[str], object],
    ) -> Mapping[str, float]:
        return {}

    def run(self, agenda: Agenda, stop: Callable[[], bool]) -> None:
        while not stop() and not agenda.over:
            job = agenda.next()
            if job is not None:
                _run(job, agenda, stop)
            elif not agenda.over:
                time.sleep(IDLE_SECONDS)


def _run(job: Job, agenda: Agenda, stop: Callable[[], bool]) -> None:
    trial_id = job.trial.trial_id
    agenda.started(trial_id)
    with closing(attempt(job)) as epochs:
        while not stop():
            try:
                if agenda.epoch(trial_id, next(epochs)):
                    return
            except StopIteration as end:
                agenda.ended(trial_id, end.value)
                return
