"""The faults: when each can strike, what it does, and how it is undone.

A fault acts in a generator: it strikes before its ``yield``; what comes after undoes it, or makes
it worse, ``Fault.lasts`` seconds later.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.harness import Bench

ORPHANS_SECONDS = 60.0
"""How long the workers of a dead driver may go on."""


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


Act = Callable[[Bench, Fault], Iterator[None]]
EARLY = 0.25
"""Share of the faults of the driver and of Ray that strike while the sweep is still starting."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault; delays and durations are ranges in seconds."""

    act: Act
    ready: Callable[[Bench, Fault], object]
    """Whether what it strikes is there, while the command runs."""
    delay: tuple[float, float] = (0.0, 10.0)
    lasts: tuple[float, float] = (0.0, 0.0)
    ends_driver: bool = False
    loses: int = 0
    """Saved epochs that may be trained again because of it: those whose manifest was not yet
    written, one of every trial that runs, and what was damaged."""
    """Whether the command has to be run again in any case."""


def _early_or_training(bench: Bench, fault: Fault) -> bool:
    return fault.draw < EARLY or bool(bench.sweep.workers())


def _server_answers(bench: Bench, fault: Fault) -> bool:
    return bench.server.answers


def _has_checkpoints(bench: Bench, fault: Fault) -> bool:
    return bool(bench.newest_checkpoints())


def _tell_driver(number: signal.Signals) -> Act:
    def act(bench: Bench, fault: Fault) -> Iterator[None]:
        os.kill(bench.sweep.pid, number)
        yield

    return act


def _ctrl_c(bench: Bench, fault: Fault) -> Iterator[None]:
    # As a terminal does: to the driver and to all of its group.
    os.killpg(bench.sweep.pid, signal.SIGINT)
    yield


def _ctrl_c_twice(bench: Bench, fault: Fault) -> Iterator[None]:
    driver = bench.sweep.driver
    yield from _ctrl_c(bench, fault)
    if driver is not None:
        driver.terminate()  # nothing, if it has ended


def _kill_worker(bench: Bench, fault: Fault) -> Iterator[None]:
    workers = bench.sweep.workers()
    if workers:
        workers[int(fault.draw * len(workers))].kill()
    yield


def _kill_part(name: str) -> Act:
    def act(bench: Bench, fault: Fault) -> Iterator[None]:
        for process in bench.sweep.parts(f"/{name} "):
            process.kill()
        yield

    return act


def _part_runs(name: str) -> Callable[[Bench, Fault], bool]:
    return lambda bench, fault: (
        _early_or_training(bench, fault) and bool(bench.sweep.parts(f"/{name} "))
    )


def _kill_server(bench: Bench, fault: Fault) -> Iterator[None]:
    bench.server.kill()
    yield
    bench.server.start()


def _stop_server(bench: Bench, fault: Fault) -> Iterator[None]:
    bench.server.send(signal.SIGSTOP)
    yield
    bench.server.send(signal.SIGCONT)


def _fill_disk(bench: Bench, fault: Fault) -> Iterator[None]:
    # From a disk without a single byte to one that takes small files, and no checkpoint.
    bench.disk.fill(leave=int(max(0.0, fault.draw - 0.5) * 16 * 2**20))
    yield
    bench.disk.free()


def _damage_checkpoint(damage: Callable[[Path, float], None]) -> Act:
    """Kill the driver, wait until nobody writes any more, and damage the newest checkpoint."""

    def act(bench: Bench, fault: Fault) -> Iterator[None]:
        os.kill(bench.sweep.pid, signal.SIGKILL)
        if bench.sweep.driver is not None:
            bench.sweep.driver.wait()  # until then its workers are no orphans
        deadline = time.monotonic() + ORPHANS_SECONDS
        while bench.sweep.orphans() and time.monotonic() < deadline:
            time.sleep(0.1)
        files = bench.newest_checkpoints()
        if files:
            path = files[int(fault.draw * len(files))]
            damage(path, fault.draw)
            bench.damaged.append((path.parents[1], path.name))
        yield

    return act


def _truncate(path: Path, draw: float) -> None:
    os.truncate(path, int(draw * path.stat().st_size))


def _flip_bit(path: Path, draw: float) -> None:
    with path.open("r+b") as file:
        place = int(draw * path.stat().st_size)
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


AT_ONCE = 2
"""Trials that run at once."""

KINDS: dict[str, Kind] = {
    "driver-kill": Kind(
        _tell_driver(signal.SIGKILL), _early_or_training, ends_driver=True, loses=AT_ONCE
    ),
    "driver-kill-late": Kind(
        _tell_driver(signal.SIGKILL),
        lambda bench, fault: bench.trained,
        delay=(0.0, 0.5),
        ends_driver=True,
        loses=AT_ONCE,
    ),
    "driver-term": Kind(_tell_driver(signal.SIGTERM), _early_or_training, ends_driver=True),
    "ctrl-c": Kind(_ctrl_c, _early_or_training, ends_driver=True),
    "ctrl-c-twice": Kind(
        _ctrl_c_twice, _early_or_training, lasts=(0.1, 2.0), ends_driver=True, loses=AT_ONCE
    ),
    "worker-kill": Kind(_kill_worker, lambda bench, fault: bench.sweep.workers(), loses=1),
    "raylet-kill": Kind(_kill_part("raylet"), _part_runs("raylet"), loses=AT_ONCE),
    "gcs-kill": Kind(_kill_part("gcs_server"), _part_runs("gcs_server"), loses=AT_ONCE),
    "mlflow-kill": Kind(_kill_server, _server_answers, lasts=(1.0, 15.0)),
    "mlflow-stop": Kind(_stop_server, _server_answers, lasts=(3.0, 25.0)),
    "disk-full": Kind(
        _fill_disk,
        lambda bench, fault: bench.sweep.trials() and not bench.disk.full,
        lasts=(2.0, 10.0),
        loses=AT_ONCE,
    ),
    "checkpoint-cut": Kind(
        _damage_checkpoint(_truncate), _has_checkpoints, ends_driver=True, loses=AT_ONCE + 1
    ),
    "checkpoint-bit": Kind(
        _damage_checkpoint(_flip_bit), _has_checkpoints, ends_driver=True, loses=AT_ONCE + 1
    ),
}
