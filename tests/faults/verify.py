"""What must hold after all faults, against an undisturbed run of the same sweep.

Each check returns what is wrong, one line each, and nothing where all is well.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweep.durable import read_lines
from sweep.ledger import Ledger
from tests.faults.harness import Bench, Sweep, Watcher

GONE_SECONDS = 60.0
"""How long the last processes may take to end after the last driver."""


def verify(bench: Bench, undisturbed: Sweep) -> list[str]:
    """Return every invariant that does not hold."""
    return [
        *ledgers_agree(bench.sweep.folder, undisturbed.folder),
        *(line for trial in bench.sweep.trials() for line in finishes(trial, bench.watcher)),
        *stores_agree(bench.server.database, undisturbed.folder / "mlflow.db"),
        *damage_was_noticed(bench),
        *nothing_is_left(bench.sweep),
        *no_traceback_was_shown(bench.sweep),
    ]


def is_time(metric: str) -> bool:
    """Tell whether a metric is of the machine's speed, and differs from run to run."""
    return "seconds" in metric or "per_second" in metric


def ledgers_agree(disturbed: Path, undisturbed: Path) -> Iterator[str]:
    """Every trial is done, its epochs and its result equal bit for bit."""
    ledger, reference = Ledger(disturbed), Ledger(undisturbed)
    ids = sorted(path.name for path in (undisturbed / "trials").iterdir())
    others = {path.name for path in (disturbed / "trials").iterdir()} - set(ids)
    if others:
        yield f"ledger: unknown trials {sorted(others)}"
    for trial_id in ids:
        if not ledger.is_done(trial_id):
            yield f"ledger: {trial_id} is {ledger.entry(trial_id)}, not done"
            continue
        if _epochs(ledger, trial_id) != _epochs(reference, trial_id):
            yield (
                f"ledger: epochs of {trial_id} differ: {_epochs(ledger, trial_id)} "
                f"instead of {_epochs(reference, trial_id)}"
            )
        if _result(ledger, trial_id) != _result(reference, trial_id):
            yield (
                f"ledger: result of {trial_id} differs: {_result(ledger, trial_id)} "
                f"instead of {_result(reference, trial_id)}"
            )


def finishes(trial: Path, watcher: Watcher) -> Iterator[str]:
    """A result was written once, as the file system saw it and as the history says."""
    written = len(watcher.results[trial.name])
    if written > 1:
        yield f"finished twice: the result of {trial.name} was written {written} times"
    ends = [line["event"] for line in read_lines(trial / "history.jsonl")].count("finish")
    if ends != 1:
        yield f"finished twice: {trial.name} has {ends} ends in its history"


def stores_agree(database: Path, reference: Path) -> Iterator[str]:
    """Every run ended, one per trial and one parent; each metric has each of its steps once."""
    runs, expected = _Store(database), _Store(reference)
    running = [run for run, status in runs.status.items() if status != "FINISHED"]
    if running:
        yield f"MLflow: not FINISHED: { ({run: runs.status[run] for run in running}) }"
    if len(runs.parents) != 1:
        yield f"MLflow: {len(runs.parents)} parent runs"
    for trial_id, own in sorted(expected.trials.items()):
        found = runs.trials.get(trial_id, [])
        if len(found) != 1:
            yield f"MLflow: {len(found)} runs of {trial_id}"
            continue
        if runs.params[found[0]] != expected.params[own[0]]:
            yield f"MLflow: parameters of {trial_id} differ"
        counts, wanted = (
            Counter((m, s) for m, s, _ in rows)
            for rows in (runs.metrics[found[0]], expected.metrics[own[0]])
        )
        if counts != wanted:
            yield (
                f"MLflow: metrics of {trial_id}: missing {dict(wanted - counts)}, "
                f"too many {dict(counts - wanted)}"
            )
        values, right = (
            {row for row in rows if not is_time(row[0])}
            for rows in (runs.metrics[found[0]], expected.metrics[own[0]])
        )
        if values != right:
            yield f"MLflow: values of {trial_id} differ: {sorted(values ^ right)}"


def damage_was_noticed(bench: Bench) -> Iterator[str]:
    """The log of a trial names each of its checkpoints that was damaged."""
    for trial, name in bench.damaged:
        log = trial / "log.txt"
        if not log.exists() or name not in log.read_text():
            yield f"checkpoint: {trial.name} went on without a word from the damaged {name}"


def stray_files(folder: Path) -> list[str]:
    """Return parts of files, checkpoints and scratch of Ray that were left in a working folder."""
    strays = [path for path in folder.rglob("*") if path.name.endswith((".partial", ".tmp"))]
    strays += [*folder.glob("trials/*/checkpoints/*.pt"), *folder.glob("studies/*/ray/*")]
    return [str(path.relative_to(folder)) for path in strays]


def nothing_is_left(sweep: Sweep) -> Iterator[str]:
    """No file that has served its purpose, and no process."""
    strays = stray_files(sweep.folder)
    if strays:
        yield f"left over: {strays}"
    deadline = time.monotonic() + GONE_SECONDS
    while (left := sweep.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        yield f"left over after {GONE_SECONDS:g} s: {sorted(process.name() for process in left)}"


def no_traceback_was_shown(sweep: Sweep) -> Iterator[str]:
    """What a user saw were messages."""
    for log in sorted(sweep.logs.glob("run-*.txt")):
        lines = log.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if "Traceback (most recent call last)" in line:
                last = next((x for x in lines[number + 1 :] if x[:1].strip()), "")
                yield f"traceback shown: {log}:{number + 1}: {last}"
                break


def _epochs(ledger: Ledger, trial_id: str) -> list[tuple[int, dict[str, float]]]:
    return [(line.epoch, _measured(line.metrics)) for line in ledger.journal(trial_id)]


def _result(ledger: Ledger, trial_id: str) -> dict[str, Any]:
    result = ledger.result(trial_id) or {}
    kept = {key: result.get(key) for key in ("epochs", "best_epoch", "fvcore")}
    return {**kept, **_measured(result.get("metrics", {}))}


def _measured(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not is_time(name)}


class _Store:
    """The runs of an MLflow database that were not deleted, read without MLflow."""

    def __init__(self, database: Path) -> None:
        self._database = database
        rows = self._rows("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'")
        self.status: dict[str, str] = dict(rows)
        self.params: dict[str, dict[str, str]] = {run: {} for run in self.status}
        self.metrics: dict[str, list[tuple[str, int, float]]] = {run: [] for run in self.status}
        self.trials: dict[str, list[str]] = {}
        self.parents: list[str] = []
        for run, key, value in self._rows("SELECT run_uuid, key, value FROM params"):
            self.params[run][key] = value
        for run, *metric in self._rows("SELECT run_uuid, key, step, value FROM metrics"):
            self.metrics[run].append(tuple(metric))
        for run, key, value in self._rows("SELECT run_uuid, key, value FROM tags"):
            if key == "sweep.trial_id":
                self.trials.setdefault(value, []).append(run)
            elif (key, value) == ("sweep.kind", "sweep"):
                self.parents.append(run)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self._database)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
