"""Locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.lock import Lock, LockError

TAKE = (
    "import sys, pathlib; from sweep.lock import Lock\n"
    "lock = Lock(pathlib.Path(sys.argv[1])); print(lock.take(), flush=True); sys.stdin.read()\n"
)


def other(path: Path) -> subprocess.Popen[str]:
    """Start a process that takes a lock, says so, and ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_lock_is_had_once_and_told_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with other(path) as process:
        lock = Lock(path)
        assert not lock.take()
        assert not lock.is_free()
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == process.pid
        assert str(holder).startswith(f"process {process.pid} on ")
        process.kill()
        process.wait()
        assert path.read_text()  # what the dead process wrote is no lock
        assert lock.holder() is None
        assert lock.is_free()
        assert lock.take()
        lock.release()


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other(path) as process:
        assert not Lock(path).wait(0.01)
        process.stdin.close()
        lock = Lock(path)
        assert lock.wait(60)
        assert lock.holder().pid == os.getpid()  # to another look of this process too
        lock.release()
        assert lock.holder() is None


def test_a_lock_that_never_was_is_free(tmp_path: Path) -> None:
    assert Lock(tmp_path / "none").is_free()
    assert Lock(tmp_path / "none").holder() is None
    Lock(tmp_path / "none").release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LockError) as raised:
        Lock(tmp_path / "lock").take()
    assert str(raised.value).startswith(f"the file system of {tmp_path} has no locks (")
    assert "mount it so that locks reach all machines" in str(raised.value)
