"""What every runner does, whether it is Ray or this process: run jobs and say what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sweep.orchestration.attempt import Job, Outcome
from sweep.training.loop import EpochReport


class Listener(Protocol):
    """Is told what happens to trials, in the process that runs the command."""

    def started(self, trial_id: str) -> None:
        """A trial starts, or goes on."""

    def restarted(self, trial_id: str) -> None:
        """The process that trained a trial died; the trial goes on from its last checkpoint."""

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        """A trial finished an epoch; it is in the ledger."""

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        """A trial ended, well or not; it is in the ledger."""

    def stopping(self) -> None:
        """The sweep was asked to stop; the epochs that run come to their end."""


class Runner(Protocol):
    """Runs jobs until each is done or failed in the ledger."""

    def capacity(self) -> tuple[float, float]:
        """Return the CPU cores and GPUs that there are."""

    def run(self, jobs: Sequence[Job], listener: Listener, stop: Callable[[], bool]) -> None:
        """Run all jobs; failures are told to the listener and are in the ledger.

        Once ``stop`` is true, the epochs that run are finished, and nothing else is started.
        """
