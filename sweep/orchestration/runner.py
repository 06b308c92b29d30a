"""What every runner does, whether it is Ray or this process: run jobs and say what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from sweep.ledger import Share
from sweep.orchestration.attempt import Outcome
from sweep.orchestration.resources import Room
from sweep.plan import Plan, PlannedTrial
from sweep.spec.schema import Space
from sweep.spec.trial import Trial
from sweep.training.loop import EpochReport

if TYPE_CHECKING:
    from sweep.orchestration.agenda import Agenda


class Listener(Protocol):
    """Is told what happens to trials, in the process that runs the command."""

    def planned(self, planned: PlannedTrial) -> None:
        """A search came to a trial that was not known before."""

    def started(self, trial_id: str) -> None:
        """A trial starts, or goes on."""

    def retrying(self, trial_id: str, reason: str, seconds: float) -> None:
        """An attempt failed; another one goes on from the last checkpoint, after a while."""

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        """A trial finished an epoch; it is in the ledger."""

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        """A trial ended, well or not; it is in the ledger."""

    def waiting(self, share: Share) -> None:
        """No node has what a trial needs; it waits until one comes."""

    def undelivered(self, problem: str) -> None:
        """MLflow has not taken what there is for a while, and why; "" once it has again.

        In a thread of its own: training goes on.
        """

    def notice(self, text: str) -> None:
        """Something that concerns the sweep as a whole is to be known."""

    def stopping(self) -> None:
        """The sweep was asked to stop; the epochs that run come to their end."""


class Runner(Protocol):
    """Runs the jobs of an agenda."""

    def rooms(self) -> Sequence[Room]:
        """Return the machines that trials can run on, at least one."""

    def locate(self, space: Space, plan: Plan) -> str | None:
        """Return the folder of the data set, for all jobs; None if each looks for it where it runs.

        Raises:
            MissingDatasetError: it is not where trials run.
            NodeError: a machine cannot run trials of this sweep.
        """

    def pack(
        self,
        trials: Sequence[Trial],
        stop: Callable[[], bool],
        tell: Callable[[str], object],
    ) -> Mapping[str, float]:
        """Return the part of a GPU that each kind of trial needs, by ``probe_key``.

        Empty where trials do not share a GPU, and where none gets free to measure that, or ``stop``
        is true before it is measured; ``tell`` is told what is waited for.
        """

    def run(self, agenda: Agenda, stop: Callable[[], bool]) -> None:
        """Run jobs until the agenda is over.

        Once ``stop`` is true, the epochs that run are finished, and nothing else is started.
        """
