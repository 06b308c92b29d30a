"""What runs next, and what becomes of what ran: the part that Ray and this process share.

A source says which trials a study wants, in which order. The agenda hands them out as jobs, one by
one, and sees to it that each is trained by one command only, and in one of the working folders that
share a store, that what failed for a passing reason is tried again after a while, and that what did
not fit a GPU gets more of it.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from optuna.exceptions import StorageInternalError

from sweep.ledger import Entry, Ledger, Share
from sweep.lock import Lock
from sweep.orchestration.attempt import Job, Outcome
from sweep.orchestration.early_stop import EarlyStop
from sweep.orchestration.failures import backoff, enlarged
from sweep.orchestration.runner import Listener
from sweep.plan import PlannedTrial
from sweep.tracking.adoption import Elsewhere
from sweep.tracking.handover import STALE_SECONDS
from sweep.training.checkpoint import Checkpoints
from sweep.training.loop import EpochReport

LOOK_SECONDS = 2.0
"""Between two looks at the trials that another command has."""
LOOK_AT = 100
"""Of these trials, how many each look is at."""
LATE_SECONDS = (0.1, 0.4, 1.5, 3.0)
"""Between looks for the good end of an attempt, which a network file system may show late."""


class Source(Protocol):
    """Which trials a study wants."""

    def next(self) -> PlannedTrial | None:
        """Return a trial that was not returned before; None if there is none now."""

    def settled(self, trial_id: str) -> None:
        """Take note that a trial that was returned is settled, whoever ran it."""

    @property
    def exhausted(self) -> bool:
        """Whether no trial will come any more, whatever becomes of those that run."""


class Listed:
    """A source of trials that are known beforehand."""

    def __init__(self, trials: Iterable[PlannedTrial]) -> None:
        self._left = deque(trials)

    def next(self) -> PlannedTrial | None:
        return self._left.popleft() if self._left else None

    def settled(self, trial_id: str) -> None:
        """Change nothing: every trial is wanted whatever becomes of the others."""

    @property
    def exhausted(self) -> bool:
        return not self._left


class Agenda:
    """Hands out jobs and takes their outcomes.

    Args:
        source: which trials are wanted.
        ledger: where they stand.
        make_job: from a trial and what it gets (None: by the space) to a job.
        listener: is told what happens to trials.
        limit: returns how many jobs may be out at once now; None for any number.
        early_stop: ends trials early; None lets all go on.
        scheduled: whether a trial that was stopped early is settled.
        elsewhere: what other working folders have of the trials; None if there is no other.
        clock: in seconds.
    """

    def __init__(
        self,
        source: Source,
        ledger: Ledger,
        make_job: Callable[[PlannedTrial, Share | None], Job],
        listener: Listener,
        *,
        limit: Callable[[], int | None] = lambda: None,
        early_stop: EarlyStop | None = None,
        scheduled: bool = False,
        elsewhere: Elsewhere | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.ledger, self.listener = source, ledger, listener
        self.make_job, self.early_stop, self.clock = make_job, early_stop, clock
        self.limit, self.scheduled, self.elsewhere = limit, scheduled, elsewhere
        self.unwritable = ""
        """Why the working folder cannot be written to any more; empty if it can."""
        self._planned: dict[str, PlannedTrial] = {}
        self._claims: dict[str, Lock] = {}
        self._out: set[str] = set()
        self._begun: dict[str, int] = {}
        """Trials that were handed out, and how many attempts they had had before the last time."""
        self._shares: dict[str, Share] = {}
        """What they were handed out with."""
        self._reached: dict[str, int] = {}
        """The last epoch of each that was told."""
        self._vain: Counter[str] = Counter()
        """Attempts of each in a row that were lost without one more epoch, as far as was told."""
        self._training: set[str] = set()
        """Of those that are out, the ones whose process has them."""
        self._later: list[tuple[float, str]] = []
        """A heap of (when, trial) of the trials that wait for another attempt."""
        self._deferred: deque[str] = deque()
        """Trials that another command has."""
        self._told: set[str] = set()
        """Those of which that was told."""
        self._looked = -LOOK_SECONDS

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing will."""
        waiting = self._out or self._later or self._deferred
        return bool(self.unwritable) or (not waiting and self.source.exhausted)

    @property
    def running(self) -> list[str]:
        """The trials whose jobs were handed out and have not ended."""
        return sorted(self._out)

    @property
    def training(self) -> bool:
        """Whether a trial is in the middle of an epoch, or may be."""
        return bool(self._training)

    @property
    def handed_out(self) -> int:
        """How many trials were worked on."""
        return len(self._begun)

    def next(self) -> Job | None:
        """Return a job to run now; None if there is none at the moment, or nothing is left."""
        limit = self.limit()
        if self.unwritable or (limit is not None and len(self._out) >= limit):
            return None
        try:
            return self._due() or self._freed() or self._fresh()
        except (OSError, StorageInternalError) as error:
            self.unwritable = str(error)
            return None

    def started(self, trial_id: str) -> None:
        """Take note that a job has been begun."""
        self._training.add(trial_id)
        self.listener.started(trial_id)

    def cut_off(self, trial_id: str) -> None:
        """Take note that a trial ends with the last epoch, because the sweep was asked to stop."""
        self._training.discard(trial_id)

    def epoch(self, trial_id: str, report: EpochReport) -> bool:
        """Take note of an epoch; return whether the trial is to end with it."""
        self.listener.epoch(trial_id, report)
        if report.epoch > self._reached.get(trial_id, 0):
            self._reached[trial_id] = report.epoch
            del self._vain[trial_id]
        if self._is_elsewhere(trial_id, report.epoch):
            with self._writing():
                self._give_up(trial_id)
            return True
        if self.early_stop is None:
            return False
        reason = ""
        with self._writing():
            reason = self._judged(self._planned[trial_id], report, self.early_stop)
            if reason:
                self.ledger.stop(trial_id, reason)
                job = self.make_job(self._planned[trial_id], None)
                Checkpoints(self.ledger.checkpoint_folder(trial_id)).reduce(job.keep)
                self._settle(trial_id, Outcome(report.metrics, reason))
        return bool(reason)

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        """Take the outcome of a job, which the ledger has already, if its node shares the folder.

        What the ledger does not have is lost: nobody here could go on from it or read it.
        """
        if trial_id not in self._out:
            return  # it was ended early, and its process says so now
        with self._writing():
            match outcome.kind:
                case "disk":
                    self._training.discard(trial_id)
                    self.unwritable = outcome.reason
                case "memory" | "transient":
                    self._try_again(trial_id, outcome)
                case None if not self._has_good_end(trial_id):
                    self.lost(trial_id, _nothing_here(self.ledger, outcome.node), "")
                case "final" if self.ledger.entry(trial_id).state != "failed":
                    self.ledger.fail(trial_id, "final", outcome.reason, "")
                    self._settle(trial_id, outcome)
                case _:
                    self._settle(trial_id, outcome)

    def lost(self, trial_id: str, reason: str, details: str) -> None:
        """Take note that the process of a job died, or could not go on."""
        if trial_id not in self._out:
            return  # it was ended early, and its process died after that
        with self._writing():
            entry = self.ledger.entry(trial_id)
            told = entry.state == "failed" and self._has_begun(trial_id, entry)
            if not told and not self._ended_well(trial_id, entry):
                self.ledger.fail(trial_id, "transient", reason, details)
                entry = self.ledger.entry(trial_id)
            metrics = (self.ledger.result(trial_id) or {}).get("metrics", {})
            self.ended(trial_id, Outcome(metrics, entry.reason, entry.kind))

    def release(self) -> None:
        """Let go of all trials."""
        for claim in self._claims.values():
            claim.release()
        self._claims.clear()

    # Where jobs come from ------------------------------------------------------------------

    def _due(self) -> Job | None:
        """Return a job whose time for another attempt has come."""
        if not self._later or self._later[0][0] > self.clock():
            return None
        _, trial_id = heapq.heappop(self._later)
        return self._job(trial_id)

    def _freed(self) -> Job | None:
        """Return a job that another command had and did not bring to its end."""
        if not self._deferred or self.clock() - self._looked < LOOK_SECONDS:
            return None
        self._looked = self.clock()
        for _ in range(min(len(self._deferred), LOOK_AT)):
            if job := self._take(self._deferred.popleft()):
                return job
        return None

    def _fresh(self) -> Job | None:
        while planned := self.source.next():
            self._planned[planned.trial.trial_id] = planned
            if job := self._take(planned.trial.trial_id):
                return job
        return None

    def _take(self, trial_id: str) -> Job | None:
        """Return the job of a trial, unless it is settled, or another command has it."""
        claim = self.ledger.claim(trial_id)
        if self._is_elsewhere(trial_id):
            self._deferred.append(trial_id)
            return None
        if not claim.take():
            self._deferred.append(trial_id)
            self._tell_claimed(trial_id, claim)
            return None
        self._claims[trial_id] = claim
        if self.elsewhere is not None:
            self.elsewhere.adopt(self._planned[trial_id].trial)
        entry = self.ledger.entry(trial_id)  # only now: another command may just have ended it
        if entry.settled_for(scheduled=self.scheduled):
            result = self.ledger.result(trial_id) if entry.state == "done" else None
            metrics = result["metrics"] if result else {}
            self._settle(trial_id, Outcome(metrics, entry.reason, entry.kind))
            return None
        return self._job(trial_id)

    def _tell_claimed(self, trial_id: str, claim: Lock) -> None:
        """Say, once, that another command has a trial."""
        if trial_id not in self._told:
            self._told.add(trial_id)
            holder = claim.holder() or "a process that did not say which"
            reason = f"another command has it ({holder}); while that one trains it, it waits"
            self.listener.retrying(trial_id, reason, LOOK_SECONDS)

    def _job(self, trial_id: str) -> Job:
        entry = self.ledger.entry(trial_id)
        job = self.make_job(self._planned[trial_id], entry.larger)
        self._out.add(trial_id)
        self._begun[trial_id] = entry.attempts
        self._shares[trial_id] = job.share
        return job

    def _back(self, trial_id: str) -> None:
        """Take a job back that was out."""
        self._out.discard(trial_id)
        self._training.discard(trial_id)

    def _is_elsewhere(self, trial_id: str, epoch: int = 0) -> bool:
        """Tell whether to leave a trial, after an epoch, to another working folder."""
        last = self._planned[trial_id].trial.recipe.epochs
        return self.elsewhere is not None and epoch < last and self.elsewhere.has(trial_id)

    def _give_up(self, trial_id: str) -> None:
        """Leave a trial to the folder that began it first; it goes on if that one does not."""
        reason = "another working folder began it first; while that one trains it, it waits"
        self.ledger.interrupt(trial_id)
        self.ledger.note(trial_id, reason)
        self._back(trial_id)
        self._claims.pop(trial_id).release()
        self._deferred.append(trial_id)
        self.listener.retrying(trial_id, reason, STALE_SECONDS)

    def _judged(self, planned: PlannedTrial, report: EpochReport, stopper: EarlyStop) -> str:
        """Return why a trial is to end after an epoch; empty if it goes on, or is put back."""
        trial = planned.trial
        reason = stopper.reached(trial, report.epoch, report.metrics[f"val_{trial.metric}"])
        entry = self.ledger.entry(trial.trial_id)
        promoted = report.epoch in stopper.rungs(trial) and report.epoch not in entry.promoted
        if not reason and promoted:
            self.ledger.promote(trial.trial_id, report.epoch)
        return "" if entry.full else reason

    # What becomes of them ------------------------------------------------------------------

    def _has_good_end(self, trial_id: str) -> bool:
        """Tell whether the ledger has that a trial ended well, or has it soon."""
        for seconds in (*LATE_SECONDS, 0.0):
            if self._ended_well(trial_id, self.ledger.entry(trial_id)):
                return True
            time.sleep(seconds)
            self.ledger.refresh(trial_id)
        return False

    def _ended_well(self, trial_id: str, entry: Entry) -> bool:
        """Tell whether a trial that is out ended well; a stop of before it was, does not count."""
        stopped = entry.state == "stopped" and self._has_begun(trial_id, entry)
        return entry.state == "done" or stopped

    def _has_begun(self, trial_id: str, entry: Entry) -> bool:
        """Tell whether a trial was begun since it was handed out."""
        return entry.attempts > self._begun[trial_id]

    def _try_again(self, trial_id: str, outcome: Outcome) -> None:
        """Give a trial another attempt, if one may end better."""
        if outcome.kind == "memory":
            wait = 0.0 if self._enlarge(trial_id, outcome.reason) else None
        else:
            # The ledger has not all: an attempt that found the trial taken leaves nothing there.
            self._vain[trial_id] += 1
            wait = backoff(max(self._vain[trial_id], self.ledger.entry(trial_id).fruitless))
            if wait is None and self.ledger.entry(trial_id).state != "failed":
                self.ledger.fail(trial_id, "transient", outcome.reason, "")
        if wait is None:
            self._settle(trial_id, outcome)  # the next run of the sweep tries again
            return
        self._back(trial_id)
        heapq.heappush(self._later, (self.clock() + wait, trial_id))
        self.listener.retrying(trial_id, outcome.reason, wait)

    def _enlarge(self, trial_id: str, reason: str) -> bool:
        """Give a trial more of the GPU, or smaller pieces; return whether there was more."""
        recipe = self._planned[trial_id].trial.recipe
        larger = enlarged(self._shares[trial_id], recipe.batch_size, recipe.accumulate)
        if larger is None:
            reason = f"{reason} (on a whole GPU, in the smallest pieces)"
            path = self.ledger.failure_path(trial_id)
            details = path.read_text(encoding="utf-8") if path.exists() else ""
            self.ledger.fail(trial_id, "final", reason, details)
            return False
        self.ledger.enlarge(trial_id, larger)
        return True

    def _settle(self, trial_id: str, outcome: Outcome) -> None:
        self._back(trial_id)
        self._claims.pop(trial_id).release()
        self.listener.ended(trial_id, outcome)
        self.source.settled(trial_id)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Take an error of writing to the working folder as the end of the sweep."""
        try:
            yield
        except (OSError, StorageInternalError) as error:
            self.unwritable = str(error)


def _nothing_here(ledger: Ledger, node: str) -> str:
    """Return why an attempt that its node says ended well is lost."""
    return (
        f"it ended well on {node or 'its node'}, and nothing of that is in {ledger.folder}: that "
        "folder must be the same on every node"
    )
