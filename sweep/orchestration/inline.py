"""Trials one after the other in this process: for debugging, and for tests without Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch

from sweep.orchestration.attempt import Job, attempt
from sweep.orchestration.runner import Listener


class InlineRunner:
    """Runs jobs in their order; see ``Runner``."""

    def capacity(self) -> tuple[float, float]:
        return os.cpu_count() or 1, torch.cuda.device_count()

    def run(self, jobs: Sequence[Job], listener: Listener, stop: Callable[[], bool]) -> None:
        for job in jobs:
            if stop():
                return
            trial_id = job.trial.trial_id
            listener.started(trial_id)
            epochs = attempt(job)
            while not stop():
                try:
                    listener.epoch(trial_id, next(epochs))
                except StopIteration as end:
                    listener.ended(trial_id, end.value)
                    break
            epochs.close()
