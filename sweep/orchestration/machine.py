"""What a machine that is to run trials has: room, the data set, the working folder, this code."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sweep.errors import UserError, first_line
from sweep.lock import REMEDY, Lock, LockError
from sweep.orchestration.packed import code_digest
from sweep.registry import DATASETS
from sweep.spec.schema import Space


@dataclass(frozen=True)
class Machine:
    """A machine, as far as trials ask for it."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Needs:
    """What every machine of a cluster must have, so that trials of a sweep can run there."""

    mark: Path
    """A file that is in the working folder now, and that the command has locked."""
    code: str
    """Digest of this package; see ``code_digest``."""
    dataset: str
    settings: Mapping[str, Any]
    content: Mapping[str, Any] | None
    """What the trials say of the data set's files; None where there are no trials yet."""


@dataclass(frozen=True)
class Process:
    """A process, told from those of other machines and containers, and later ones of its number."""

    machine: str
    pid: int
    started: str
    """In clock ticks since its machine was booted."""

    @property
    def may_live(self) -> bool:
        """Whether it lives, or cannot be seen from here because it is of another machine."""
        return self.machine != _machine() or _started(self.pid) == self.started


def this_process() -> Process:
    """Return this process."""
    return Process(_machine(), os.getpid(), _started(os.getpid()))


def _machine() -> str:
    """Return what tells apart machines, and containers, of one name."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """Return when a process was started; empty if there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # its name, in brackets, may hold anything


def this_machine() -> Machine:
    """Return what the machine of this process has."""
    return Machine(os.cpu_count() or 1, torch.cuda.device_count())


def dataset_root(space: Space) -> str | None:
    """Return the folder of the data set, found once here, so that every worker reads the same.

    Raises:
        MissingDatasetError: it is not on this machine.
    """
    found = DATASETS[space.dataset].of(space.dataset_settings).find()
    return str(found.absolute()) if found is not None else None


def _unlocked(mark: Path) -> str:
    """Return what is wrong with the locks of the working folder; empty if nothing is."""
    lock = Lock(mark)
    try:
        if not lock.take():
            return ""
    except LockError as error:
        return str(error)
    except OSError as error:
        return f"cannot write to {mark.parent}: {error.strerror}"
    finally:
        lock.release()
    return f"locks in {mark.parent} do not hold between it and the command's node; {REMEDY}"


def obstacles(needs: Needs) -> list[str]:
    """Return why trials cannot run on the machine of this process; empty if they can."""
    found = []
    if not needs.mark.exists():
        found.append(
            f"{needs.mark.parent} is another folder there than here; the working folder "
            "(--dir, SWEEP_DIR) must be one that all nodes share"
        )
    elif trouble := _unlocked(needs.mark):
        found.append(trouble)
    if code_digest() != needs.code:
        found.append(
            "its code of sweep is another one; install the same, or use `sweep submit`, which "
            "brings its own"
        )
    try:
        dataset = DATASETS[needs.dataset].of(needs.settings)
        dataset.find()
        if needs.content is not None and dataset.content() != needs.content:
            found.append(f"its files of {needs.dataset} are not those that the plan was made from")
    except (UserError, OSError) as error:
        found.append(first_line(error))
    return found
