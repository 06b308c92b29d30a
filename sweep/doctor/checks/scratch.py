"""Room that is not the working folder's: shared memory and temporary files, on every node."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.site import Site, check

GIB = 2**30
SHM = Path("/dev/shm")
LEAST_SHM = GIB
"""Docker gives a container 64 MiB; worker processes hand over batches there, Ray keeps objects."""
LEAST_TEMP, FEW_TEMP = GIB // 4, 5 * GIB
SHM_REMEDY = "give the container more: `--shm-size=8g` of docker run, `shm_size: 8gb` of compose"


@dataclass(frozen=True)
class Scratch:
    """What a machine has; in bytes."""

    shm: int | None
    """Size of shared memory; None if there is none."""
    shm_free: int
    temp: str
    """Folder of temporary files."""
    temp_free: int
    trouble: str
    """Why nothing can be written there; empty if it can."""


def scratch() -> Scratch:
    """Return what this machine has."""
    shm = shutil.disk_usage(SHM) if SHM.is_dir() else None
    trouble, free, folder = "", 0, ""
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile() as file:
            file.write(b"0")
    except OSError as error:
        trouble = error.strerror or str(error)
    return Scratch(shm.total if shm else None, shm.free if shm else 0, folder, free, trouble)


@check("memory and temp", seconds=0.15)
def look(site: Site) -> Iterator[Finding]:
    """Look at shared memory and at the temporary folder of every node."""
    workers = site.space.resources.workers if site.space is not None else 0
    told = site.ask(scratch)
    for one in told:
        yield from judge(one.value, workers, one.node)
    least = min((one.value.shm_free for one in told if one.value.shm is not None), default=0)
    temp = min((one.value.temp_free for one in told), default=0)
    yield ok(f"{_size(least)} of shared memory and {_size(temp)} for temporary files are free")


def judge(found: Scratch, workers: int, node: str) -> Iterator[Finding]:
    """Yield what is to be said of one machine.

    Args:
        found: what it has.
        workers: processes of a trial that read data.
        node: its name, for the findings.
    """
    if found.shm is None or found.shm < LEAST_SHM:
        what = f"{SHM} has {_size(found.shm or 0)}"
        if workers:
            yield problem(
                f"{what}: data loading (resources.workers: {workers}) ends with a bus error",
                SHM_REMEDY,
                node,
            )
        else:
            yield warning(f"{what}: Ray keeps objects on the disk instead", SHM_REMEDY, node)
    elif found.shm_free < LEAST_SHM // 4:
        yield warning(
            f"{SHM} is full but for {_size(found.shm_free)}",
            f"look by `ls -l {SHM}` for what programs that ended left there, and remove it",
            node,
        )
    if found.trouble:
        yield problem(
            f"temporary files cannot be written in {found.temp or '/tmp'}: {found.trouble}",
            "name a folder that can be written by TMPDIR (and RAY_TMPDIR)",
            node,
        )
    elif found.temp_free < FEW_TEMP:
        text = f"{_size(found.temp_free)} are free in {found.temp}, where Ray keeps its files"
        remedy = "make room there, or name another folder by TMPDIR"
        say = problem if found.temp_free < LEAST_TEMP else warning
        yield say(text, remedy, node)


def _size(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.0f} MiB"
