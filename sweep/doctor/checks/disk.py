"""The working folder: whether it can be written, how much room it has, what it lies on."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.mounts import Mount, mount_of
from sweep.doctor.site import Site, check
from sweep.durable import write_text
from sweep.errors import UserError
from sweep.lock import Lock

GIB = 2**30
LEAST_BYTES, FEW_BYTES = GIB, 10 * GIB
"""Free bytes below which a sweep will not come far, and that are worth a word."""
FILES_PER_TRIAL = 20
FEW_FILES = 10_000
OTHER_PROCESS = (
    "import fcntl, sys\n"
    "try: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError: print('held')\n"
    "else: print('free')\n"
)
LOCK_SECONDS = 20.0
LOCKS_REMEDY = (
    "put the working folder (--dir, SWEEP_DIR) on a file system that passes on flock: a local "
    "disk, NFS without `nolock` and `local_lock`, CephFS, or Lustre with `flock`"
)


@dataclass(frozen=True)
class Room:
    """What a file system has left, and what a sweep needs of it."""

    free: int
    files: int | None
    """That can still be made; None where the file system has no limit."""
    needed: int | None = None
    """Bytes of checkpoints; None if it is not known."""
    trials: int = 0


@check("working folder", seconds=0.2)
def look(site: Site) -> Iterator[Finding]:
    """Write, rename and lock in the working folder, and look what it lies on."""
    folder = site.folder.absolute()
    if said := _unwritable(folder):
        yield said
        return
    if said := _unlockable(folder):
        yield said
    mount = mount_of(folder)
    if mount is not None:
        yield from judge_mount(mount, shared=site.cluster is not None)
    on = f" on {mount.kind}" if mount else ""
    yield ok(f"{folder}{on}: can be written, renames, locks" if not said else f"{folder}{on}")


@check("disk", seconds=3.0)
def look_at_room(site: Site) -> Iterator[Finding]:
    """Compare what is free with what the trials of the search space keep."""
    there = existing(site.folder.absolute())
    stats = os.statvfs(there)
    files = stats.f_favail if stats.f_files else None
    needed, trials = _needed(site)
    yield from judge_room(Room(shutil.disk_usage(there).free, files, needed, trials), there)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def judge_mount(mount: Mount, *, shared: bool) -> Iterator[Finding]:
    """Yield what is to be said of the file system that a working folder lies on.

    Args:
        mount: where it is mounted, and how.
        shared: whether machines work in it together.
    """
    if mount.is_lossy:
        yield warning(
            f"it lies on {mount.kind}, which passes on locks and renames badly, or not at all",
            LOCKS_REMEDY,
        )
    if mount.is_gone_soon:
        what = "memory" if mount.kind in ("tmpfs", "ramfs") else "the container's own layer"
        yield warning(
            f"it lies in {what}: with that, all of it is gone",
            "mount a disk or a volume, and name it by --dir or SWEEP_DIR",
        )
    if shared and mount.locks_locally:
        yield problem(
            f"{mount.place} is mounted with `{mount.locks_locally}`: each node has its own locks",
            f"mount it without `{mount.locks_locally}` on every node",
        )


def judge_room(room: Room, where: Path) -> Iterator[Finding]:
    """Yield what is to be said of what a file system has left."""
    free = f"{_gib(room.free)} are free in {where}"
    remedy = "make room, choose another folder by --dir, or keep less by keep_checkpoints: none"
    if room.needed is not None and room.needed > room.free:
        yield problem(f"checkpoints take up to {_gib(room.needed)}; {free}", remedy)
    elif room.free < LEAST_BYTES:
        yield problem(free, remedy)
    elif room.free < FEW_BYTES:
        yield warning(free, remedy)
    else:
        need = f"; checkpoints take up to {_gib(room.needed)}" if room.needed is not None else ""
        yield ok(free + need)
    if room.files is None:
        return
    wanted = room.trials * FILES_PER_TRIAL
    few = f"{room.files:,} more files (inodes) can be made in {where}"
    if room.files < max(wanted, FILES_PER_TRIAL):
        yield problem(
            f"{few}; {room.trials or 1} trials make about {max(wanted, FILES_PER_TRIAL):,}",
            "remove files, or choose a folder on another file system by --dir",
        )
    elif room.files < FEW_FILES:
        yield warning(few, "remove files: `df -i` shows where they are")


def _needed(site: Site) -> tuple[int | None, int]:
    """Return the bytes of the checkpoints of a space's trials, and how many trials there are.

    None of a search, which is not planned before it runs, and where the plan needs a data set that
    is not here.
    """
    from sweep.orchestration.machine import this_machine
    from sweep.orchestration.resources import checkpoint_room
    from sweep.plan import make_plan

    space = site.space
    if space is None or space.search.method != "grid":
        return None, 0
    try:
        plan = make_plan(space)
    except UserError:
        return None, 0  # another check says what is wrong
    needed, _ = checkpoint_room(space, plan, (), site.nodes or [this_machine()])
    return needed, len(plan.runnable)


def _unwritable(folder: Path) -> Finding | None:
    """Write a file twice, as the ledger does: the second takes the place of the first."""
    there = existing(folder)
    probe = there / f".sweep-doctor-{secrets.token_hex(4)}"
    try:
        for text in ("first", "second"):
            write_text(probe, text)
        if probe.read_text(encoding="utf-8") != "second":
            return problem(f"a file in {there} is not what was written last", LOCKS_REMEDY)
    except OSError as error:
        return problem(
            f"{folder} cannot be written: {error.strerror or error}",
            f"mount {there} for writing, let the user who runs this write there "
            f"(`id -u` says {os.getuid()}), or choose another folder by --dir",
        )
    finally:
        _remove(probe)
    return None


def _unlockable(folder: Path) -> Finding | None:
    """Take a lock, and look whether another process sees it."""
    lock = Lock(existing(folder) / f".sweep-doctor-{secrets.token_hex(4)}.lock")
    try:
        taken = lock.take()
        seen = taken and seen_by_another(lock.path)
    except (OSError, subprocess.SubprocessError) as error:
        return problem(f"locks do not work in {folder}: {error}", LOCKS_REMEDY)
    finally:
        lock.release()
        _remove(lock.path)
    if not seen:
        return problem(f"a lock in {folder} is not seen by another process", LOCKS_REMEDY)
    return None


def seen_by_another(path: Path) -> bool:
    """Tell whether another process of this machine sees that a file is locked."""
    command = [sys.executable, "-I", "-c", OTHER_PROCESS, str(path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=LOCK_SECONDS, check=True
    )
    return ended.stdout.strip() == "held"


def _remove(path: Path) -> None:
    with suppress(OSError):  # where nothing can be written, nothing was
        path.unlink(missing_ok=True)


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB"
