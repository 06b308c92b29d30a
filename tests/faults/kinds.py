"""The faults: what each one needs, what it does, and how it is undone.

A kind is a name, when it can strike (``ready``), what it does (``strike``), and what is done
``lasts`` seconds later (``heal``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.harness import Bench

ORPHANS_SECONDS = 60.0
"""How long the processes of a dead driver may take to notice."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of the plan; everything about it but its moment is drawn beforehand."""

    kind: str
    delay: float
    """Seconds from when it could strike first."""
    lasts: float
    """Seconds until it is undone."""
    draw: float
    """In [0, 1): which of several, how much."""


@dataclass(frozen=True)
class Kind:
    """What a fault does; delays and durations are ranges in seconds."""

    ready: Callable[[Bench], object]
    strike: Callable[[Bench, Fault], None]
    delay: tuple[float, float] = (0.0, 8.0)
    lasts: tuple[float, float] = (0.0, 0.0)
    heal: Callable[[Bench], None] = lambda bench: None


def _runs(bench: Bench) -> bool:
    return bench.sweep.code is None


def _tell_driver(number: signal.Signals) -> Callable[[Bench, Fault], None]:
    return lambda bench, fault: os.kill(bench.sweep.pid, number)


def _ctrl_c(bench: Bench, fault: Fault) -> None:
    """What a terminal does: the signal goes to the driver and everything that it started."""
    os.killpg(bench.sweep.pid, signal.SIGINT)


def _second_signal(bench: Bench) -> None:
    if _runs(bench):
        os.kill(bench.sweep.pid, signal.SIGTERM)


def _kill_worker(bench: Bench, fault: Fault) -> None:
    workers = bench.sweep.workers()
    if workers:
        workers[int(fault.draw * len(workers))].kill()


def _kill_part(name: str) -> Callable[[Bench, Fault], None]:
    def strike(bench: Bench, fault: Fault) -> None:
        for process in bench.sweep.parts(f"/{name}"):
            if process.name() == name:
                process.kill()

    return strike


def _part_runs(name: str) -> Callable[[Bench], bool]:
    return lambda bench: any(p.name() == name for p in bench.sweep.parts(f"/{name}"))


def _stop_server(bench: Bench, fault: Fault) -> None:
    bench.server.send(signal.SIGSTOP)


def _continue_server(bench: Bench) -> None:
    bench.server.send(signal.SIGCONT)


def _server_answers(bench: Bench) -> bool:
    return _runs(bench) and bench.server.answers


def _fill_disk(bench: Bench, fault: Fault) -> None:
    # From a disk without a single byte to one that takes small files, and no checkpoint.
    bench.disk.fill(leave=int(max(0.0, fault.draw - 0.5) * 16 * 2**20))


def _damage_checkpoint(damage: Callable[[Path, float], None]) -> Callable[[Bench, Fault], None]:
    """Kill the driver, wait until nobody writes any more, and damage the newest checkpoint."""

    def strike(bench: Bench, fault: Fault) -> None:
        os.kill(bench.sweep.pid, signal.SIGKILL)
        deadline = time.monotonic() + ORPHANS_SECONDS
        while _trainers(bench) and time.monotonic() < deadline:
            time.sleep(0.1)
        files = bench.newest_checkpoints()
        if files:
            path = files[int(fault.draw * len(files))]
            damage(path, fault.draw)
            bench.damaged.append((path.parents[1], path.name))

    return strike


def _trainers(bench: Bench) -> bool:
    words = ("TrialActor", "Trainable", "default_worker")
    commands = [" ".join(process.cmdline()) for process in bench.sweep.processes()]
    return any(word in command for word in words for command in commands)


def _truncate(path: Path, draw: float) -> None:
    os.truncate(path, int(draw * path.stat().st_size))


def _flip_bit(path: Path, draw: float) -> None:
    with path.open("r+b") as file:
        place = int(draw * path.stat().st_size)
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


_ANY_PHASE = (0.5, 25.0)
"""From Python's own start to the end of some trials."""

KINDS: dict[str, Kind] = {
    "driver-kill": Kind(_runs, _tell_driver(signal.SIGKILL), delay=_ANY_PHASE),
    "driver-term": Kind(_runs, _tell_driver(signal.SIGTERM), delay=_ANY_PHASE),
    "ctrl-c": Kind(_runs, _ctrl_c, delay=_ANY_PHASE),
    "ctrl-c-twice": Kind(_runs, _ctrl_c, delay=_ANY_PHASE, lasts=(0.1, 2.0), heal=_second_signal),
    "worker-kill": Kind(lambda bench: bench.sweep.workers(), _kill_worker),
    "raylet-kill": Kind(_part_runs("raylet"), _kill_part("raylet"), delay=(0.0, 15.0)),
    "gcs-kill": Kind(_part_runs("gcs_server"), _kill_part("gcs_server"), delay=(0.0, 15.0)),
    "mlflow-kill": Kind(
        _server_answers,
        lambda bench, fault: bench.server.kill(),
        lasts=(1.0, 15.0),
        heal=lambda bench: bench.server.start(),
    ),
    "mlflow-stop": Kind(_server_answers, _stop_server, lasts=(3.0, 25.0), heal=_continue_server),
    "disk-full": Kind(
        lambda bench: bench.sweep.trials() and not bench.disk.full,
        _fill_disk,
        lasts=(2.0, 10.0),
        heal=lambda bench: bench.disk.free(),
    ),
    "checkpoint-cut": Kind(lambda bench: bench.newest_checkpoints(), _damage_checkpoint(_truncate)),
    "checkpoint-bit": Kind(lambda bench: bench.newest_checkpoints(), _damage_checkpoint(_flip_bit)),
}
