"""What the command's process costs: Ray Tune's loop with the agenda under it, and the ledger.

    python -m benchmarks.scale.driver

measures Ray Tune in a process of its own and prints a JSON object. The trials do nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil

from benchmarks.scale.trials import METRICS, SHARE, planned, record_of, result, trials
from sweep.ledger import Ledger, Share
from sweep.orchestration.agenda import Agenda, Listed
from sweep.orchestration.attempt import Job, Outcome
from sweep.orchestration.run import missing
from sweep.plan import Plan, PlannedTrial
from sweep.tracking.delivery import Delivery
from sweep.tracking.records import SweepRecord
from sweep.training.loop import EpochReport

KNOWN = 2_000
"""Trials that a run of a sweep starts over; what it takes grows in proportion."""
ACTORS = 2
SHORT, LONG = (60, 1), (6, 20)
"""Trials, and epochs of each, of the two runs that tell a trial's cost from a result's."""
CHECK = (12, 5, 0.05)
"""Of a third run: trials, epochs of each, seconds that an epoch sleeps."""
FUTURES = (8, 64, 512, 4096)
SLEEP = "sleep"
FEW = Share(0.01, 0.0)  # type: ignore[arg-type]  # more workers than this machine has cores


class Gauge:
    """A listener that reads clocks; of nothing else it takes note."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []
        """Wall and CPU seconds, and MiB of memory, at the end of each trial."""
        self.begun = 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None

    def started(self, trial_id: str) -> None:
        self.begun = self.begun or time.perf_counter()

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        assert not outcome.reason, outcome.reason
        memory = psutil.Process().memory_info().rss / 2**20
        self.rows.append((time.perf_counter(), time.process_time(), memory))


def nothing(job: Job) -> Generator[EpochReport, None, Outcome]:
    """Leave the traces of a trial that learns nothing."""
    ledger, trial_id = Ledger(Path(job.folder)), job.trial.trial_id
    lock = ledger.training(trial_id)
    lock.take()
    ledger.begin(job.trial, SHARE)
    for epoch in range(1, job.trial.recipe.epochs + 1):
        time.sleep(float(job.trial.dataset_settings[SLEEP]))
        ledger.record(trial_id, epoch, METRICS)
        yield EpochReport(epoch, METRICS)
    ledger.store_result(trial_id, result())
    ledger.finish(trial_id)
    lock.release()
    return Outcome(METRICS)


def measure_tune() -> dict[str, float]:
    """Return the figures of Ray Tune, in milliseconds unless their names say otherwise."""
    from sweep.orchestration import ray_tune

    class NoOpActor(ray_tune.TrialActor):  # type: ignore[misc]
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            super().reset_config(new_config)
            self._epochs = nothing(ray_tune._job(new_config["job"]))
            return True

    ray_tune.TrialActor = NoOpActor  # type: ignore[misc]
    with TemporaryDirectory() as folder:
        runner = ray_tune.RayRunner(Path(folder), Path(folder) / "ray")
        asked = time.perf_counter()
        short = _fit(runner, Path(folder) / "short", *SHORT)
        start = short.begun - asked
        long = _fit(runner, Path(folder) / "long", *LONG)
        check = _fit(runner, Path(folder) / "check", *CHECK)
        waits = _waits()
        runner.close()
    figures = {"start_seconds": start, "check_trials_per_second": 1 / _per_trial(check, 0)}
    for name, column in (("wall", 0), ("cpu", 1)):
        one, many = _per_trial(short, column), _per_trial(long, column)
        result_ = max(0.0, (many - one) / (LONG[1] - SHORT[1]))
        figures[f"{name}_result"] = 1000 * result_
        figures[f"{name}_trial"] = 1000 * (one - SHORT[1] * result_)
    counts = np.arange(len(short.rows))
    memory = np.polyfit(counts, [row[2] for row in short.rows], 1)[0]
    return {**figures, "kib_a_trial": 1024 * float(memory), **waits}


def _fit(runner: Any, folder: Path, count: int, epochs: int, sleep: float = 0.0) -> Gauge:
    gauge = Gauge()

    def job(planned: PlannedTrial, _: Share | None) -> Job:
        return Job(planned.trial, str(folder), FEW, workers=0, keep="none")

    first = trials(1)[0]
    given = {**first.dataset_settings, SLEEP: sleep}
    recipe = first.recipe.model_copy(update={"epochs": epochs})
    own = [
        planned(trial.model_copy(update={"recipe": recipe, "dataset_settings": given}))
        for trial in trials(count)
    ]
    agenda = Agenda(Listed(own), Ledger(folder), job, gauge, limit=lambda: ACTORS)
    runner.run(agenda, lambda: False)
    agenda.release()
    return gauge


def _per_trial(gauge: Gauge, column: int) -> float:
    """Return seconds per trial between the first ends, when all workers are up, and the last."""
    rows = gauge.rows[ACTORS:]
    return (rows[-1][column] - rows[0][column]) / (len(rows) - 1)


def _waits() -> dict[str, float]:
    """Return the milliseconds of CPU that Tune's wait for one of many results takes."""
    import ray

    @ray.remote(num_cpus=0, max_concurrency=max(FUTURES))
    class Busy:
        async def work(self) -> None:
            await asyncio.sleep(3600)

    busy = Busy.remote()
    pending = [busy.work.remote() for _ in range(max(FUTURES))]
    ready = ray.put(0)
    waits = {}
    for count in FUTURES:
        taken = []
        for _ in range(15):
            started = time.perf_counter()
            ray.wait([*pending[:count], ready], num_returns=1, timeout=0.1)
            taken.append(time.perf_counter() - started)
        waits[f"wait_{count}"] = 1000 * min(taken)
    return waits


def tune_apart() -> dict[str, float]:
    """Return ``measure_tune`` of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale.driver"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure_ledger() -> dict[str, tuple[float, str]]:
    """Return figures of the ledger on this disk, each with its unit."""
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        trial, *_ = own = trials(KNOWN)
        ids = [one.trial_id for one in own]
        figures = _of_one_trial(ledger, own[-1].trial_id)
        with patch("os.fsync"):  # only to get there sooner
            for one in own:
                ledger.begin(one, SHARE)
                ledger.finish(one.trial_id)
        plan = Plan(
            study="scale", question="How far?", metric="top1", duplicates=0, train_images=50_000,
            trials=tuple(map(planned, own)),
        )  # fmt: skip
        records = tuple(map(record_of, own))
        delivery = Delivery(SweepRecord("scale", "?", "top1", {}, {}, records), ledger, "sqlite://")
        with patch.object(delivery, "_thread"):
            starts: dict[str, Callable[[], object]] = {
                "missing": lambda: missing(plan, ledger, scheduled=False),
                "settle": lambda: list(ledger.settle(ids)),
                "start of the delivery": delivery.start,
                "plan as JSON": lambda: plan.model_dump_json(indent=1),
            }
            for name, start in starts.items():
                figures[f"{name}, {KNOWN:,} trials"] = (_seconds(start, 1), "s")
        assert ledger.entry(trial.trial_id).settled
    return figures


def _of_one_trial(ledger: Ledger, trial_id: str) -> dict[str, tuple[float, str]]:
    ledger.begin(trials(1)[0].model_copy(update={"seed": KNOWN - 1}), SHARE)
    count = 60
    taken = [_seconds(lambda e=e: ledger.record(trial_id, e, METRICS), 1) for e in range(count)]
    begun = _seconds(lambda: ledger.promote(trial_id, 1), 20)

    def claim() -> None:
        lock = ledger.claim(trial_id)
        lock.take()
        lock.release()

    calls = {
        f"journal of {count} epochs": lambda: ledger.journal(trial_id),
        "entry, 21 events": lambda: ledger.entry(trial_id),
        "claim and release": claim,
    }
    files = [path for path in ledger.trial_folder(trial_id).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    blocks = sum(512 * path.stat().st_blocks for path in files)
    return {
        "an epoch into the journal (fsync)": (1000 * statistics.median(taken), "ms"),
        "an event into the history (fsync)": (1000 * begun, "ms"),
        **{name: (1000 * _seconds(call, 50), "ms") for name, call in calls.items()},
        f"a trial of {count} epochs, text": (size / 1024, "KiB"),
        f"a trial of {count} epochs, blocks": (blocks / 1024, "KiB"),
    }


def _seconds(call: Callable[[], object], times: int) -> float:
    """Return the median seconds of a call."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(measure_tune()))
