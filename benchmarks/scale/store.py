"""What the delivery of trials to MLflow costs: the thread, the server, the database."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

import psutil
from werkzeug.security import check_password_hash, generate_password_hash

from benchmarks.scale.services import Services, services
from benchmarks.scale.trials import METRICS, SHARE, record_of, result, trials
from sweep.ledger import Ledger
from sweep.spec.trial import Trial
from sweep.tracking.delivery import Delivery
from sweep.tracking.records import SweepRecord
from sweep.tracking.store import open_client

WARM, MEASURED = 16, 10
"""Trials that are delivered whole before, and for, the measurement."""
KNOWN = 400
"""Runs that are copied into the database, to see what it costs to look at each."""
COPIES = {
    "runs": "run_uuid",
    "tags": "run_uuid",
    "params": "run_uuid",
    "metrics": "run_uuid",
    "latest_metrics": "run_uuid",
}
"""Tables of MLflow that a run has rows in, and the column that names it."""


@dataclass(frozen=True)
class Step:
    """What one kind of news of one trial costs on its way to MLflow."""

    milliseconds: float
    """That the thread of the delivery has it in hand: the median."""
    between: str
    """The least and the most of it."""
    own_cpu: float
    server_cpu: float
    postgres_cpu: float
    """CPU milliseconds of the command, the MLflow server and PostgreSQL."""
    requests: float
    statements: float
    transactions: float


@dataclass(frozen=True)
class Store:
    """A store, measured."""

    steps: dict[str, Step]
    known: dict[str, float]
    """What a check of a password costs and a look at all runs for each, and what the database keeps
    of a run."""


def measure_store(kind: str, *, full: bool) -> Store:
    """Deliver trials to a server of a kind; ``full``: also to one that has many already."""
    with services(kind) as running, TemporaryDirectory() as folder, ExitStack() as locks:
        bench = _Bench(running, Path(folder), locks)
        for happens in (bench.begin, bench.epochs(1), bench.end):
            bench.deliver(bench.trials[:WARM], happens)
        running.settle()
        own = bench.trials[WARM : WARM + MEASURED]
        steps = {
            "begin": bench.deliver(own, bench.begin),
            "epoch": bench.deliver(own, bench.epochs(1)),
            "10 epochs": bench.deliver(own, bench.epochs(10)),
            "heartbeat": bench.deliver(own, lambda _: bench.delivery._beats.clear()),
            "end": bench.deliver(own, bench.end),
        }
        known: dict[str, float] = {}
        if full:
            known = {"a check of a password, ms of CPU": password_check(), **bench.fill(own[0])}
        return Store(steps, known)


def password_check(times: int = 5) -> float:
    """Return the CPU milliseconds of a check of a password, as the server does it."""
    password = token_hex(24)
    kept = generate_password_hash(password)
    started = time.process_time()
    for _ in range(times):
        check_password_hash(kept, password)
    return 1000 * (time.process_time() - started) / times


class _Bench:
    """A working folder, and its delivery by hand."""

    def __init__(self, running: Services, folder: Path, locks: ExitStack) -> None:
        self.services, self.locks = running, locks
        self.ledger = Ledger(folder)
        self.trials = trials(WARM + MEASURED)
        records = tuple(map(record_of, self.trials))
        sweep = SweepRecord("scale", "How far?", "top1", {}, {"plan.json": "{}"}, records)
        self.delivery = Delivery(sweep, self.ledger, running.uri)

    def begin(self, trial: Trial) -> None:
        lock = self.ledger.training(trial.trial_id)
        lock.take()
        self.locks.callback(lock.release)
        self.ledger.begin(trial, SHARE)

    def epochs(self, count: int) -> Callable[[Trial], None]:
        def train(trial: Trial) -> None:
            done = len(self.ledger.journal(trial.trial_id))
            for epoch in range(done + 1, done + count + 1):
                self.ledger.record(trial.trial_id, epoch, METRICS)

        return train

    def end(self, trial: Trial) -> None:
        self.ledger.store_result(trial.trial_id, result())
        self.ledger.finish(trial.trial_id)

    def deliver(self, own: Sequence[Trial], happens: Callable[[Trial], object]) -> Step:
        """Return what it costs to deliver what happens to trials, for each."""
        for trial in own:
            happens(trial)
        started, each = time.process_time(), []
        with self.services.metered() as spent:
            for trial in own:
                began = time.perf_counter()
                self.delivery.notify(trial.trial_id)
                self.delivery._deliver_pending(closing=False)
                each.append(time.perf_counter() - began)
        own_cpu = time.process_time() - started
        each = [1000 * seconds for seconds in each]
        # Other programs here would spoil a mean; CPU clocks tick too slowly for a median.
        cpu = (own_cpu, spent.server_cpu, spent.postgres_cpu)
        counts = (spent.requests, spent.statements, spent.transactions)
        return Step(
            statistics.median(each),
            f"{min(each):,.0f} to {max(each):,.0f}",
            *(1000 * seconds / len(own) for seconds in cpu),
            *(n / len(own) for n in counts),
        )

    def fill(self, trial: Trial) -> dict[str, float]:
        """Copy the run of a trial in the database; return what the store is like then."""
        run = self.delivery._runs[trial.trial_id].info.run_id
        before = self._bytes()
        for table, column in COPIES.items():
            rows = self.services.database.run(
                "SELECT column_name FROM information_schema.columns WHERE table_name = :t"
                " AND table_schema = 'public' AND is_generated = 'NEVER'",
                t=table,
            )
            columns = [name for (name,) in rows]
            values = ", ".join(
                "md5(n::text)" if name == column
                # Each is a trial of its own: of another sweep, as far as this one can tell.
                else "CASE key WHEN 'sweep.trial_id' THEN md5(n::text) ELSE value END"
                if (table, name) == ("tags", "value")
                else name
                for name in columns
            )  # fmt: skip
            self.services.database.run(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table},"
                f" generate_series(1, {KNOWN}) n WHERE {column} = '{run}'"
            )
        self.services.database.run("ANALYZE")
        grown = (self._bytes() - before) / KNOWN
        epochs = len(self.ledger.journal(trial.trial_id))
        client, memory = open_client(self.services.uri), psutil.Process().memory_info().rss
        started = time.process_time()
        with self.services.metered() as spent:
            runs = self.delivery._known_runs(client)
        own_cpu = time.process_time() - started
        memory = psutil.Process().memory_info().rss - memory
        assert len(runs) > KNOWN
        return {
            "look, ms a run": 1000 * spent.seconds / len(runs),
            "look, ms of CPU a run": 1000 * own_cpu / len(runs),
            "look, ms of the server's CPU a run": 1000 * spent.server_cpu / len(runs),
            "memory, KiB a run": memory / len(runs) / 1024,
            f"database, KiB a run of {epochs} epochs": grown / 1024,
        }

    def _bytes(self) -> int:
        ((size,),) = self.services.database.run("SELECT pg_database_size('postgres')")
        return int(size)
