"""Locks between processes: who has something, told to whoever wants it too.

The operating system lets go of a lock when its process ends, however it ends: a lock that nobody
has is free, whatever its file says. It holds between machines where they share the folder over a
network file system that passes on ``flock`` (NFS since Linux 2.6.12 does, unless it is mounted with
nolock or local_lock).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sweep.errors import UserError

POLL_SECONDS = 0.2
"""Between two looks at a lock that is waited for."""
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
REMEDY = (
    "mount it so that locks reach all machines (NFS without nolock and local_lock, Lustre with "
    "flock), or choose another folder"
)


class LockError(UserError, OSError):
    """A file system has no locks."""


@dataclass(frozen=True)
class Holder:
    """A process that has a lock."""

    pid: int
    host: str
    since: float
    """Seconds since the epoch."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class Lock:
    """A lock in a file; its folder is made when the lock is taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Take the lock if nobody has it, or looks at it now; return whether it was taken.

        Raises:
            LockError: the file system has no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = self.path.exists() and os.path.samestat(
                os.fstat(file.fileno()), self.path.stat()
            )
        except OSError as error:
            file.close()
            if isinstance(error, BlockingIOError | FileNotFoundError):
                return False
            if error.errno in UNSUPPORTED:
                why = f"the file system of {self.path.parent} has no locks ({error.strerror})"
                raise LockError(f"{why}; {REMEDY}") from None
            raise
        if not ours:  # the file was removed while this one was opened
            file.close()
            return False
        file.truncate(0)
        file.write(json.dumps(asdict(Holder(os.getpid(), platform.node(), time.time()))))
        file.flush()
        self._file = file
        return True

    def wait(self, seconds: float) -> bool:
        """Take the lock within so many seconds; return whether it was taken."""
        deadline = time.monotonic() + seconds
        while not (taken := self.take()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return taken

    def release(self) -> None:
        """Let go of the lock, if this object has it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def holder(self) -> Holder | None:
        """Return who has the lock; None if nobody has, or it was not said in time."""
        try:
            with self.path.open("r", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return Holder(**json.loads(file.read()))
        except (OSError, ValueError, TypeError):
            pass
        return None

    def is_free(self) -> bool:
        """Tell whether nobody has the lock; a look, and no promise."""
        try:
            with self.path.open("r", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True
