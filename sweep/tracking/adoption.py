"""What other working folders that use the same store have of the trials that one is about to train.

A thread asks the store, so that one that is slow or down holds nothing up: without an answer a
folder trains what it misses. What it then knows is up to ``LOOK_SECONDS`` old, and a trial's run is
in the store only some seconds after the trial was begun. Two folders that begin the same trial in
that time both train it, until the one that began later sees the other's run and leaves it to that
one; the store has one run of it throughout (see ``sweep.tracking.delivery``).

What another account of MLflow has, which lets this one only read, counts as not there: whoever may
not change this folder's runs has no say in its results either.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.ledger import Ledger
from sweep.spec.trial import Trial
from sweep.tracking import names
from sweep.tracking.delivery import note_adopted
from sweep.tracking.handover import (
    STALE_SECONDS,
    Finished,
    by_age,
    fetch_finished,
    heartbeat,
    is_foreign,
    may_write,
)
from sweep.tracking.store import find_runs, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOOK_SECONDS = 30.0
"""Between two questions to the store."""
FIRST_SECONDS = 10.0
"""How long a sweep waits for the answer to the first."""
FETCH_SECONDS = 60.0
"""How long a store that no longer answers holds up a trial that it has finished."""

TRIALS = f"tags.`{names.KIND}` = 'trial'"


@dataclass(frozen=True)
class _Beat:
    """A heartbeat of a trial's run."""

    told: float
    """By the clock of the machine that trains it; 0 if none does."""
    seen: float
    """By our own clock that only goes forward: when it became this one."""


class Elsewhere:
    """Knows of trials that other folders train, or have finished, and takes these over.

    Args:
        uri: of the store.
        ledger: of this folder.
    """

    def __init__(self, uri: str, ledger: Ledger) -> None:
        self.uri, self.ledger = uri, ledger
        self.adopted = 0
        """Trials that were taken over."""
        self._client: MlflowClient | None = None
        self._folder_id = ""
        self._answered = 0.0
        """When the store last did (monotonic seconds); 0 before the first time."""
        self._beats: dict[str, _Beat] = {}
        """Of the trials that other folders train, when that was last seen."""
        self._finished: dict[str, Run] = {}
        self._writable: dict[str, bool] = {}
        """By the ids of runs: whether this account may write them."""
        self._wanted: set[str] = set()
        """Trials that this folder would train."""
        self._fetched: dict[str, Finished] = {}
        self._looked, self._wake = threading.Event(), threading.Event()
        self._closed = False

    def start(self, trial_ids: Iterable[str]) -> None:
        """Ask of trials, and go on asking; return with the first answer, or soon without one."""
        self._wanted.update(trial_ids)
        threading.Thread(target=self._run, name="mlflow-adoption", daemon=True).start()
        self._looked.wait(FIRST_SECONDS)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._wake.set()

    def has(self, trial_id: str) -> bool:
        """Tell whether another folder trains a trial, or has finished it and it is on its way."""
        if trial_id in self._fetched:
            return False
        if trial_id in self._finished:
            if trial_id not in self._wanted:
                self._wanted.add(trial_id)
                self._wake.set()
            return time.monotonic() - self._answered < FETCH_SECONDS
        beat = self._beats.get(trial_id)
        return beat is not None and time.monotonic() - beat.seen < STALE_SECONDS

    def adopt(self, trial: Trial) -> bool:
        """Take a trial over into the ledger if it was finished elsewhere; return whether it was."""
        found = self._fetched.get(trial.trial_id)
        lock = self.ledger.training(trial.trial_id)
        if found is None or not lock.take():
            return False
        try:
            self.ledger.adopt(
                trial, found.journal, found.result, ended=found.ended, origin=found.run_id
            )
            note_adopted(self.ledger, trial.trial_id, self.uri, found.run_id)
        finally:
            lock.release()
        self._wanted.discard(trial.trial_id)
        del self._fetched[trial.trial_id]
        self.adopted += 1
        return True

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            with suppress(Exception):  # a server may fail in any way; the next answer may come
                self._look()
            self._looked.set()
            self._wake.wait(LOOK_SECONDS)

    def _look(self) -> None:
        if self._client is None:
            self._folder_id = self.ledger.folder_id()
            self._client = open_client(self.uri)
        client = self._client
        running = f"{TRIALS} AND attributes.status = 'RUNNING'"
        runs = _standing(find_runs(client, running if self._answered else TRIALS))
        for trial_id in self._beats.keys() - runs.keys():  # what became of it?
            runs |= _standing(find_runs(client, f"tags.`{names.TRIAL_ID}` = '{trial_id}'"))
        self._answered = time.monotonic()
        self._finished |= {i: run for i, run in runs.items() if run.info.status == "FINISHED"}
        self._beats = {
            trial_id: _seen(heartbeat(run), self._beats.get(trial_id))
            for trial_id, run in runs.items()
            if is_foreign(run, self._folder_id)
            and trial_id not in self._finished
            and self._is_shared(client, run)
        }
        self._fetch(client)

    def _fetch(self, client: MlflowClient) -> None:
        for trial_id in sorted(self._wanted):
            if self._closed:
                return
            if trial_id not in self._finished or trial_id in self._fetched:
                continue
            run = self._finished[trial_id]
            found = fetch_finished(client, run) if self._is_shared(client, run) else None
            self._answered = time.monotonic()
            if found is not None:
                self._fetched[trial_id] = found
            else:
                del self._finished[trial_id]

    def _is_shared(self, client: MlflowClient, run: Run) -> bool:
        """Tell whether this account may write a run; each is asked of once."""
        run_id = run.info.run_id
        if run_id not in self._writable:
            self._writable[run_id] = may_write(client, run)
        return self._writable[run_id]


def _seen(told: float, before: _Beat | None) -> _Beat:
    """Return a heartbeat, with the time from which it counts.

    Clocks of two machines may differ by more than a heartbeat is good for: once there are two, it
    counts that the later one came. Of the first one its own time is all there is.

    Args:
        told: by the run.
        before: what the look before found.
    """
    now = time.monotonic()
    if not told:
        return _Beat(0.0, -math.inf)
    if before is None:
        return _Beat(told, now - max(0.0, time.time() - told))
    return before if told == before.told else _Beat(told, now)


def _standing(runs: Iterable[Run]) -> dict[str, Run]:
    """Return of every trial the run that stands."""
    return {run.data.tags[names.TRIAL_ID]: run for run in reversed(by_age(runs))}
