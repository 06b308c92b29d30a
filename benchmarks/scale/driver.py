"""What the command's process costs: Ray Tune's loop with the agenda under it, and the ledger.

    python -m benchmarks.scale.driver

measures Ray Tune in a process of its own and prints a JSON object. The trials do nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
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
from sweep.study import Study
from sweep.tracking.delivery import Delivery
from sweep.tracking.records import SweepRecord
from sweep.training.loop import EpochReport

KNOWN = 2_000
"""Trials that a run of a sweep starts over; what it takes grows in proportion."""
DIGESTED = 2**25
"""Bytes of which the checksum is taken."""
ACTORS = 2
RUNS = {"short": (60, 1, 0.0), "long": (8, 20, 0.0), "check": (12, 5, 0.05)}
"""Trials, epochs of each, seconds that an epoch sleeps: of two runs that tell a trial's cost from a
result's, and of one that the simulation is compared with."""
ROUNDS, ROUNDS_SECONDS = 3, 100.0
"""Of turns, at most; on a busy machine no further one begins after so many seconds."""
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


def measure_tune(
    runs: Mapping[str, tuple[float, ...]] = RUNS, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Return the figures of Ray Tune, in milliseconds unless their names say otherwise.

    Args:
        runs: see ``RUNS``; they take turns.
        rounds: of turns, at most; a figure has a value of each.
    """
    from sweep.orchestration import ray_tune

    class NoOpActor(ray_tune.TrialActor):  # type: ignore[misc]
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            super().reset_config(new_config)
            self._epochs = nothing(ray_tune._job(new_config["job"]))
            return True

    ray_tune.TrialActor = NoOpActor  # type: ignore[misc]
    figures: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        runner = ray_tune.RayRunner(Study(Path(folder), "scale"))
        deadline = time.monotonic() + ROUNDS_SECONDS
        for number in range(rounds):
            if number and time.monotonic() > deadline:
                break
            gauges = {}
            for name, (count, epochs, sleep) in runs.items():
                asked = time.perf_counter()
                own = gauges[name] = _fit(
                    runner, Path(folder) / f"{name}{number}", int(count), int(epochs), sleep
                )
                nth = "start_seconds" if figures else "first_start_seconds"
                figures[nth].append(own.begun - asked)
            for name, value in _figures(gauges, runs).items():
                figures[name].append(value)
        figures |= _waits()
        runner.close()
    return dict(figures)


def _figures(
    gauges: Mapping[str, Gauge], runs: Mapping[str, tuple[float, ...]]
) -> dict[str, float]:
    """Return what one round says; differences of noise may be negative, and stay so."""
    figures = {"check_trials_per_second": 1 / _per_trial(gauges["check"], 0)}
    once, often = runs["short"][1], runs["long"][1]
    for name, column in (("wall", 0), ("cpu", 1)):
        one, many = (_per_trial(gauges[run], column) for run in ("short", "long"))
        a_result = (many - one) / (often - once)
        figures[f"{name}_result"] = 1000 * a_result
        figures[f"{name}_trial"] = 1000 * (one - once * a_result)
    mib = [row[2] for row in gauges["short"].rows]
    growth = np.polyfit(np.arange(len(mib)), mib, 1)[0]
    return {**figures, "kib_a_trial": 1024 * float(growth), "mib_driver": mib[-1]}


def _fit(runner: Any, folder: Path, count: int, epochs: int, sleep: float) -> Gauge:
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


def _waits() -> dict[str, list[float]]:
    """Return the milliseconds of CPU that Tune's wait for one of many results takes its thread."""
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
            started = time.thread_time()
            ray.wait([*pending[:count], ready], num_returns=1, timeout=0.1)
            taken.append(1000 * (time.thread_time() - started))
        waits[f"wait_{count}"] = taken
    return waits


def tune_apart() -> dict[str, list[float]]:
    """Return ``measure_tune`` of a process of its own, which ends with this one's interest."""
    command = [sys.executable, "-m", "benchmarks.scale.driver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            output, _ = child.communicate()
        except BaseException:
            child.terminate()  # it takes Ray with it
            raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return dict(json.loads(output.splitlines()[-1]))


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
    content = bytes(DIGESTED)
    files = [path for path in ledger.trial_folder(trial_id).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    blocks = sum(512 * path.stat().st_blocks for path in files)
    return {
        "an epoch into the journal (fsync)": (1000 * statistics.median(taken), "ms"),
        "an event into the history (fsync)": (1000 * begun, "ms"),
        **{name: (1000 * _seconds(call, 50), "ms") for name, call in calls.items()},
        "SHA-256 of a checkpoint, 1 MB": (
            1e9 / DIGESTED * _seconds(lambda: hashlib.sha256(content).digest(), 5),
            "ms",
        ),
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(measure_tune()))
