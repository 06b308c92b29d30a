"""Which failures are tried again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from sweep.attention.base import IndivisibleError
from sweep.ledger import Share
from sweep.orchestration.failures import (
    BACKOFF_SECONDS,
    backoff,
    ending_of,
    enlarged,
    failure_kind,
)
from sweep.orchestration.run import _unwritable
from sweep.training.loop import NonFiniteLossError


def raised(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (FULL, "disk"),
        (raised(RuntimeError("PytorchStreamWriter failed writing file"), FULL), "disk"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "transient"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "transient"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "transient"),
        (ConnectionResetError("gone"), "transient"),
        (OSError(errno.ESTALE, "Stale file handle", "/sweeps/trials"), "transient"),
        (OSError(errno.EIO, "Input/output error"), "transient"),
        (raised(RuntimeError("cannot save"), OSError(errno.ENOLCK, "No locks")), "transient"),
        (OSError(errno.EMFILE, "Too many open files"), "transient"),
        (
            RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
            "transient",
        ),
        (MemoryError(), "transient"),
        (NonFiniteLossError(float("nan"), 1, 2), "final"),
        (IndivisibleError("num_groups (=5) must divide C=64"), "final"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "final"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "final"),
    ],
)
def test_kind(error: BaseException, kind: str) -> None:
    assert failure_kind(error) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sweeps/trials/one/journal.jsonl", "disk"), ("tmp/pymp-1", "transient"), (None, "disk")],
)
def test_only_the_disk_of_the_working_folder_ends_a_sweep(
    tmp_path: Path, name: str | None, kind: str
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "sweeps").symlink_to(tmp_path / "real")
    named = [str(tmp_path / name)] if name else []
    for number in (errno.ENOSPC, errno.EDQUOT):
        error = OSError(number, "full", *named)
        assert failure_kind(error, tmp_path / "sweeps") == kind
        assert failure_kind(error, tmp_path / "real") == kind


def test_the_end_of_a_process_is_found_below_what_came_over_it() -> None:
    end = SystemExit(1)
    assert ending_of(raised(raised(RuntimeError("unexpected pos"), OSError()), end)) is end
    assert ending_of(raised(RuntimeError("cannot save"), FULL)) is None


def test_only_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    full, gone = (OSError(n, os.strerror(n)) for n in (errno.ENOSPC, errno.ESTALE))
    assert "MiB are free there" in _unwritable(tmp_path, full)
    assert "make room" in _unwritable(tmp_path, OSError("the disk is full"))
    told = _unwritable(tmp_path / "gone", gone)
    assert "Stale file handle" in told
    assert "room" not in told
    told = _unwritable(tmp_path, FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/code"))
    assert told.startswith("[Errno 2] No such file: '/elsewhere/code'. Every trial is kept")


def test_backoff_grows_and_ends() -> None:
    waits = [backoff(n) for n in range(1, len(BACKOFF_SECONDS) + 2)]
    assert waits == [*sorted(BACKOFF_SECONDS), None]


def test_pieces_keep_two_images() -> None:
    assert enlarged(Share(1, 1.0), batch_size=4, accumulate=1) == Share(1, 1.0, 2)
    assert enlarged(Share(1, 1.0, 2), batch_size=4, accumulate=1) is None
    assert enlarged(Share(1, 1.0), batch_size=12, accumulate=3) == Share(1, 1.0, 2)
    assert enlarged(Share(1, 1.0, 2), batch_size=12, accumulate=3) is None
    assert enlarged(Share(1, 0.7), batch_size=2, accumulate=1) == Share(1, 1.0)
    assert enlarged(Share(1, 0.0), batch_size=4, accumulate=1) == Share(1, 0.0, 2)
