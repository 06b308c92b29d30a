"""The ledger: what is known of every trial, by its identity, in plain files.

    trials/<trial id>/trial.json     what the trial is
                      state.json     running, interrupted, done or failed; attempts; why
                      journal.jsonl  one line per epoch, appended once
                      result.json    the measurements of a finished trial
                      failure.txt    the traceback of the last failure
                      log.txt        what happened to it that is no measurement
                      checkpoints/

A trial belongs to no sweep: two sweeps that share it find each other's result. One command at a
time runs trials in a working folder (``Ledger.held``), one process at a time trains a trial, and
every file but the journal appears whole, by a rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sweep.errors import UserError
from sweep.spec.trial import Trial

State = Literal["planned", "running", "interrupted", "done", "failed"]


class FolderError(UserError, OSError):
    """The working folder cannot be used: it cannot be written to, or another sweep runs in it."""


@dataclass(frozen=True)
class Entry:
    """Where a trial stands."""

    state: State
    attempts: int = 0
    reason: str = ""
    """Why it failed."""
    started: float = 0.0
    """Seconds since the epoch, of the last attempt."""
    ended: float = 0.0


@dataclass(frozen=True)
class JournalLine:
    """One epoch's metrics, and when they were measured (milliseconds since the epoch)."""

    epoch: int
    timestamp: int
    metrics: dict[str, float]


class Ledger:
    """The trials of a working folder.

    Args:
        folder: the working folder; created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from running trials in this working folder.

        The operating system lets go of it when this process ends, however it ends.

        Raises:
            FolderError: another process has it, or the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise FolderError(f"cannot write to {self.folder}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise FolderError(
                    f"another sweep runs in {self.folder} (process {holder}); "
                    "wait for it, or use another --dir"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def trial_folder(self, trial_id: str) -> Path:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial_id

    def checkpoint_folder(self, trial_id: str) -> Path:
        """Return the folder of a trial's checkpoints."""
        return self.trial_folder(trial_id) / "checkpoints"

    def entry(self, trial_id: str) -> Entry:
        """Return where a trial stands; "planned" if nothing is known of it."""
        record = _read(self.trial_folder(trial_id) / "state.json")
        return Entry(**record) if record else Entry("planned")

    def is_done(self, trial_id: str) -> bool:
        """Tell whether a trial has its result."""
        return self.entry(trial_id).state == "done"

    def begin(self, trial: Trial) -> None:
        """Note that an attempt at a trial starts now."""
        folder = self.trial_folder(trial.trial_id)
        _write(folder / "trial.json", trial.model_dump(mode="json"))
        before = self.entry(trial.trial_id)
        self._set(trial.trial_id, Entry("running", before.attempts + 1, started=time.time()))

    def record(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """Append an epoch to the journal; an epoch that is in it is left as it is."""
        if any(line.epoch == epoch for line in self.journal(trial_id)):
            return
        line = JournalLine(epoch, time.time_ns() // 1_000_000, metrics)
        path = self.trial_folder(trial_id) / "journal.jsonl"
        with path.open("ab+") as file:
            _cut_torn_line(file)
            file.write((json.dumps(vars(line)) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def journal(self, trial_id: str) -> list[JournalLine]:
        """Return the whole lines of a trial's journal."""
        path = self.trial_folder(trial_id) / "journal.jsonl"
        if not path.exists():
            return []
        texts = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # A line without its end was cut off by a crash.
        return [JournalLine(**json.loads(text)) for text in texts if text.endswith("\n")]

    def finish(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store the result of a trial; from here on it never runs again."""
        _write(self.trial_folder(trial_id) / "result.json", result)
        before = self.entry(trial_id)
        self._set(
            trial_id, Entry("done", before.attempts, started=before.started, ended=time.time())
        )

    def fail(self, trial_id: str, reason: str, details: str) -> None:
        """Note that an attempt failed, why, and the traceback."""
        write_text(self.failure_path(trial_id), details)
        before = self.entry(trial_id)
        self._set(
            trial_id,
            Entry("failed", before.attempts, reason, before.started, time.time()),
        )

    def note(self, trial_id: str, text: str) -> None:
        """Append a line to a trial's log."""
        then = time.strftime("%Y-%m-%d %H:%M:%S")
        with (self.trial_folder(trial_id) / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{then} {' '.join(text.split())}\n")

    def interrupt(self, trial_id: str) -> bool:
        """Note that a running attempt was stopped; return whether there was one."""
        before = self.entry(trial_id)
        if before.state != "running":
            return False
        entry = Entry("interrupted", before.attempts, "", before.started, time.time())
        self._set(trial_id, entry)
        return True

    def failure_path(self, trial_id: str) -> Path:
        """Return where the traceback of a trial's last failure lies."""
        return self.trial_folder(trial_id) / "failure.txt"

    def result(self, trial_id: str) -> dict[str, Any] | None:
        """Return the result of a finished trial, else None."""
        return _read(self.trial_folder(trial_id) / "result.json")

    def drop_checkpoints(self, trial_id: str, *, keep_best: bool) -> None:
        """Remove a finished trial's checkpoints, all or all but the best."""
        folder = self.checkpoint_folder(trial_id)
        if not keep_best:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.iterdir():
            if not path.name.startswith("best-"):
                path.unlink()

    def _set(self, trial_id: str, entry: Entry) -> None:
        _write(self.trial_folder(trial_id) / "state.json", vars(entry))


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _cut_torn_line(journal: BinaryIO) -> None:
    """Cut off a last line that a crash left without its end."""
    journal.seek(0)
    journal.truncate(journal.read().rfind(b"\n") + 1)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _write(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1) + "\n")
