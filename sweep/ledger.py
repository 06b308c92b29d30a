"""The ledger: what is known of every trial, by its identity, in plain files.

    folder.json                      the id of this working folder
    trials/<trial id>/trial.json     what the trial is
                      history.jsonl  what happened to it: every attempt, how it ended and why
                      journal.jsonl  the metrics of every epoch, each once
                      result.json    the measurements of a finished trial
                      failure.txt    the traceback of the last failure
                      log.txt        what happened to it that is no measurement
                      claim, lock    who schedules it, who trains it
                      checkpoints/

A trial belongs to no sweep: two sweeps that share it find each other's result. The history is all
that says where a trial stands, and it only grows: a crash after any write leaves a ledger that
the next run can go on from. See ``sweep.durable`` for what a write is.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sweep.devices import Stretch, stretches
from sweep.durable import (
    NewerVersionError,
    append_line,
    read_lines,
    read_record,
    remove_partials,
    write_lines,
    write_record,
    write_text,
)
from sweep.lock import Holder, Lock
from sweep.spec.trial import Trial

State = Literal["planned", "running", "interrupted", "stopped", "done", "failed"]
"""Of a trial: "stopped" is by a scheduler, before its last epoch; "interrupted" goes on."""

FailureKind = Literal["transient", "memory", "disk", "final"]
"""Why an attempt failed: a worker, node or connection was lost; the GPU's memory was too small; the
disk is full; or for a reason that will be the same the next time."""


@dataclass(frozen=True)
class Share:
    """What an attempt at a trial gets of the machine."""

    cpus: int
    gpus: float
    accumulate: int = 1
    """Pieces that every piece of a batch is cut into, to fit the GPU."""

    @property
    def text(self) -> str:
        """What it has of the machine, like "2 CPU cores and 1 GPU"."""
        cores = f"{self.cpus} CPU core{'s' * (self.cpus != 1)}"
        return cores + (f" and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else "")


@dataclass(frozen=True)
class Entry:
    """Where a trial stands."""

    state: State
    attempts: int = 0
    """Times that its training was begun, or gone on with."""
    fruitless: int = 0
    """Of the last ones, those that failed for a transient reason without one more epoch."""
    kind: FailureKind | None = None
    """Of the last failure, if the trial is failed."""
    reason: str = ""
    """Why it failed, or was stopped."""
    started: float = 0.0
    """Seconds since the epoch, of the last attempt."""
    ended: float = 0.0
    share: Share | None = None
    """Of the last attempt."""
    larger: Share | None = None
    """What the next attempt needs, after the GPU's memory was too small."""
    promoted: tuple[int, ...] = ()
    """Epochs after which a scheduler let it go on where others ended."""
    full: bool = False
    """Whether it is to be trained to its end, whatever a scheduler says."""
    attempt: str = ""
    """The id of the last attempt; empty before the first, and of versions that gave none."""

    @property
    def settled(self) -> bool:
        """Whether the trial is done, or has failed for good."""
        return self.state == "done" or (self.state, self.kind) == ("failed", "final")

    def settled_for(self, *, scheduled: bool) -> bool:
        """Tell whether no run of a sweep will work on the trial again by itself.

        One that a scheduler stopped is to be trained to its end where a sweep has none.
        """
        return self.settled or (scheduled and self.state == "stopped")


@dataclass(frozen=True)
class JournalLine:
    """One epoch's metrics, and when they were measured (milliseconds since the epoch)."""

    epoch: int
    timestamp: int
    metrics: dict[str, float]
    device: str = ""
    """What trained it; see ``sweep.devices``. Empty if it was not recorded."""


class Ledger:
    """The trials of a working folder.

    Args:
        folder: the working folder; created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # Where things lie ----------------------------------------------------------------------

    def trial_folder(self, trial_id: str) -> Path:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial_id

    def checkpoint_folder(self, trial_id: str) -> Path:
        """Return the folder of a trial's checkpoints."""
        return self.trial_folder(trial_id) / "checkpoints"

    def failure_path(self, trial_id: str) -> Path:
        """Return where the traceback of a trial's last failure lies."""
        return self.trial_folder(trial_id) / "failure.txt"

    def log_path(self, trial_id: str) -> Path:
        """Return where the log of a trial lies."""
        return self.trial_folder(trial_id) / "log.txt"

    def trial_ids(self) -> list[str]:
        """Return the trials that the ledger knows."""
        trials = self.folder / "trials"
        return sorted(path.name for path in trials.iterdir()) if trials.is_dir() else []

    def claim(self, trial_id: str) -> Lock:
        """Return the lock of the command that schedules a trial."""
        return Lock(self.trial_folder(trial_id) / "claim")

    def training(self, trial_id: str) -> Lock:
        """Return the lock of the process that trains a trial."""
        return Lock(self.trial_folder(trial_id) / "lock")

    def folder_id(self) -> str:
        """Return what tells this working folder from others; a copy of it has the same."""
        path, lock = self.folder / "folder.json", Lock(self.folder / "folder.lock")
        lock.wait(math.inf)
        try:
            if read_record(path) is None:
                write_record(path, {"id": uuid.uuid4().hex})
            return str((read_record(path) or {})["id"])
        finally:
            lock.release()

    # What is known -------------------------------------------------------------------------

    def entry(self, trial_id: str) -> Entry:
        """Return where a trial stands; "planned" if nothing is known of it."""
        entry = Entry("planned")
        epochs = 0
        for event in self.history(trial_id):
            entry = _after(entry, event, fruitful=event.get("epochs", 0) > epochs)
            epochs = max(epochs, event.get("epochs", 0))
        return entry

    def history(self, trial_id: str) -> list[dict[str, Any]]:
        """Return the events of a trial, the oldest first; each has at least "event" and "time"."""
        return read_lines(self._history_path(trial_id))

    def is_done(self, trial_id: str) -> bool:
        """Tell whether a trial has its result."""
        return self.entry(trial_id).state == "done"

    def trial(self, trial_id: str) -> Trial | None:
        """Return what a trial is, as its last attempt wrote it; None if that is not known."""
        record = read_record(self.trial_folder(trial_id) / "trial.json")
        try:
            return Trial.model_validate(record) if record else None
        except ValueError:
            return None  # its fields were others then

    def result(self, trial_id: str) -> dict[str, Any] | None:
        """Return the result of a finished trial, else None."""
        return read_record(self.trial_folder(trial_id) / "result.json")

    def journal(self, trial_id: str) -> list[JournalLine]:
        """Return the epochs of a trial that were journalled, in the order they were."""
        return [JournalLine(**line) for line in read_lines(self._journal_path(trial_id))]

    def trained_on(self, trial_id: str) -> tuple[Stretch, ...]:
        """Return which devices trained which epochs of a trial; none if none was recorded."""
        epochs = [(line.epoch, line.device) for line in self.journal(trial_id)]
        return stretches(sorted(epochs)) if any(device for _, device in epochs) else ()

    def nodes(self, trial_id: str) -> tuple[str, ...]:
        """Return the nodes that a trial was begun on, each once, in the order of its attempts."""
        begun = (event for event in self.history(trial_id) if event["event"] == "begin")
        return tuple(dict.fromkeys(node for event in begun if (node := node_of(event))))

    def trained_by(self, trial_id: str) -> Holder | None:
        """Return the process that trains a trial now, if there is one."""
        return self.training(trial_id).holder()

    # What happens --------------------------------------------------------------------------

    def begin(self, trial: Trial, share: Share, device: str = "", address: str = "") -> str:
        """Note that an attempt at a trial starts now, in this process; return the attempt's id.

        From here on it is the one whose events count; see ``is_last``.

        Args:
            trial: what is trained.
            share: what it gets of the machine.
            device: that it gets; see ``sweep.devices``.
            address: of the node, where a cluster gives it one.
        """
        folder = self.trial_folder(trial.trial_id)
        for name in ("trial.json", "result.json", "failure.txt"):
            remove_partials(folder / name)
        write_record(folder / "trial.json", trial.model_dump(mode="json"))
        where = {"host": platform.node(), "address": address, "device": device}
        known = {key: value for key, value in where.items() if value}
        attempt, given = uuid.uuid4().hex, vars(share)
        self._note_event(trial.trial_id, "begin", attempt, share=given, pid=os.getpid(), **known)
        return attempt

    def is_last(self, trial_id: str, attempt: str) -> bool:
        """Tell whether no other attempt was begun since one was.

        The training lock says so too, but a network file system may have lost it.
        """
        return self.entry(trial_id).attempt == attempt

    def record(
        self, trial_id: str, epoch: int, metrics: dict[str, float], device: str = ""
    ) -> None:
        """Append an epoch, and what trained it, to the journal; one that is in it stays."""
        if any(line.epoch == epoch for line in self.journal(trial_id)):
            return
        line = JournalLine(epoch, time.time_ns() // 1_000_000, metrics, device)
        append_line(self._journal_path(trial_id), vars(line))

    def store_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store the result of a trial; from here on it is never trained again."""
        write_record(self.trial_folder(trial_id) / "result.json", result)

    def finish(self, trial_id: str, attempt: str = "") -> None:
        """Note that a trial whose result is stored is done, and has left no more than is kept."""
        self._note_event(trial_id, "finish", attempt, pid=os.getpid())

    def adopt(
        self,
        trial: Trial,
        journal: Iterable[JournalLine],
        result: dict[str, Any],
        *,
        ended: float,
        origin: str,
    ) -> None:
        """Take over a trial that was trained to its end elsewhere, by whoever may train it here.

        What this folder had of it gives way.

        Args:
            trial: what it is.
            journal: all its epochs, with the times of their measurement.
            result: as ``store_result`` has it.
            ended: when it was finished, in seconds since the epoch.
            origin: the MLflow run that this comes from.
        """
        folder = self.trial_folder(trial.trial_id)
        write_record(folder / "trial.json", trial.model_dump(mode="json"))
        write_lines(self._journal_path(trial.trial_id), map(vars, journal))
        write_record(folder / "result.json", result)
        self._note_event(trial.trial_id, "finish", time=ended, origin=origin)
        shutil.rmtree(self.checkpoint_folder(trial.trial_id), ignore_errors=True)

    def fail(
        self, trial_id: str, kind: FailureKind, reason: str, details: str, attempt: str = ""
    ) -> None:
        """Note that an attempt failed, why, and the traceback.

        Args:
            trial_id: whose attempt.
            kind: of the failure.
            reason: in one line.
            details: the traceback.
            attempt: its id, if it says so itself; without one, whichever was the last.
        """
        write_text(self.failure_path(trial_id), details)
        self._note_event(trial_id, "fail", attempt, kind=kind, reason=reason)

    def enlarge(self, trial_id: str, share: Share) -> None:
        """Note what the next attempt gets, because the last one did not fit the GPU's memory."""
        self._note_event(trial_id, "enlarge", share=vars(share))

    def stop(self, trial_id: str, reason: str, attempt: str = "") -> None:
        """Note that a scheduler ended a trial before its last epoch."""
        self._note_event(trial_id, "stop", attempt, reason=reason)

    def promote(self, trial_id: str, epoch: int) -> None:
        """Note that a scheduler let a trial go on after an epoch where others ended."""
        self._note_event(trial_id, "promote", epoch=epoch)

    def retry(self, trial_id: str) -> None:
        """Put a trial that failed, or was stopped, back among those that are to run."""
        self._note_event(trial_id, "retry")

    def interrupt(self, trial_id: str) -> bool:
        """Note that a running attempt was stopped; return whether there was one."""
        if self.entry(trial_id).state != "running":
            return False
        self._note_event(trial_id, "interrupt")
        return True

    def settle(self, trial_ids: Iterable[str]) -> Iterator[str]:
        """Note of trials whose process died that they were interrupted; yield these."""
        for trial_id in trial_ids:
            if self.entry(trial_id).state == "running":
                lock = self.training(trial_id)
                if lock.take():
                    self.interrupt(trial_id)
                    lock.release()
                    yield trial_id

    def note(self, trial_id: str, text: str) -> None:
        """Append a line to a trial's log."""
        then = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.log_path(trial_id).open("a", encoding="utf-8") as file:
            file.write(f"{then} {' '.join(text.split())}\n")

    def refresh(self, trial_id: str) -> None:
        """Have a network file system ask its server what a trial's folder holds now.

        Opening files asks only for those that are known; what is new may show up to a minute late,
        but for who changes the folder itself, whose server's answer says that others did too.
        """
        path = self.trial_folder(trial_id) / f".{uuid.uuid4().hex}.partial"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.unlink()

    def remove(self, trial_id: str) -> None:
        """Remove all there is of a trial."""
        shutil.rmtree(self.trial_folder(trial_id), ignore_errors=True)

    def _note_event(self, trial_id: str, event: str, attempt: str = "", **more: Any) -> None:
        path = self._history_path(trial_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        epochs = len(self.journal(trial_id))
        whose = {"attempt": attempt} if attempt else {}
        append_line(path, {"event": event, "time": time.time(), "epochs": epochs, **whose, **more})

    def _history_path(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "history.jsonl"

    def _journal_path(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "journal.jsonl"


def node_of(event: Mapping[str, Any]) -> str:
    """Return the node of an attempt's begin: its host, and its address in a cluster."""
    host, address = event.get("host", ""), event.get("address", "")
    return f"{host} ({address})" if address else str(host)


def _after(entry: Entry, event: dict[str, Any], *, fruitful: bool) -> Entry:
    """Return where a trial stands after one more event.

    Args:
        entry: where it stood.
        event: what happened.
        fruitful: whether it has more epochs than at any event before.
    """
    time_, reason = event["time"], event.get("reason", "")
    if fruitful:
        entry = replace(entry, fruitless=0)
    if _is_late(entry, event):
        return entry
    match event["event"]:
        case "begin":
            return replace(
                entry,
                state="running",
                attempts=entry.attempts + 1,
                kind=None,
                reason="",
                started=time_,
                share=Share(**event["share"]),
                attempt=event.get("attempt", ""),
            )
        case "finish":
            return replace(entry, state="done", kind=None, reason="", ended=time_)
        case "fail":
            fruitless = entry.fruitless + (event["kind"] == "transient")
            return replace(
                entry,
                state="failed",
                kind=event["kind"],
                reason=reason,
                ended=time_,
                fruitless=fruitless,
            )
        case "enlarge":
            return replace(entry, larger=Share(**event["share"]))
        case "promote":
            return replace(entry, promoted=(*entry.promoted, event["epoch"]))
        case "stop":
            return replace(entry, state="stopped", reason=reason, ended=time_)
        case "interrupt":
            return replace(entry, state="interrupted", ended=time_)
        case "retry":
            full = entry.full or entry.state == "stopped"
            return replace(entry, state="planned", kind=None, reason="", fruitless=0, full=full)
        case unknown:
            raise NewerVersionError(f"a newer version of sweep noted an event {unknown!r}")


def _is_late(entry: Entry, event: dict[str, Any]) -> bool:
    """Tell whether an event changes nothing: the trial is done, or the attempt was overtaken.

    Two attempts write where a network file system lost the lock of one whose node was slow.
    """
    if entry.state == "done":
        return event["event"] in ("begin", "finish", "fail", "stop", "interrupt")
    overtaken = event.get("attempt", entry.attempt) != entry.attempt
    return overtaken and event["event"] in ("fail", "stop", "interrupt")
