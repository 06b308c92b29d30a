"""Why an attempt at a trial failed, and whether another one may end better.

What was lost on the way (a worker, a node, a connection: "transient"), or is missing on one node of
several (the data set, room on a disk of its own, file handles), is tried again after a while;
what did not fit the GPU's memory ("memory") with more of the GPU, and then in smaller pieces. When
the disk of the working folder is full ("disk") the sweep ends, and goes on when there is room.
Everything else is "final": the same would happen again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from sweep.data.base import MissingDatasetError
from sweep.ledger import FailureKind, Share

BACKOFF_SECONDS = (5.0, 15.0, 45.0, 135.0)
"""Before the next attempt after one, two, ... transient failures without an epoch between them."""

FULL = (errno.ENOSPC, errno.EDQUOT)
PASSING = (
    *(errno.ESTALE, errno.EIO, errno.EREMOTEIO, errno.ENOLCK),  # a file server that came back
    *(errno.ENODEV, errno.ENXIO, errno.EMFILE, errno.ENFILE),  # of one node
    *(errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),  # on the way to another machine
)
"""What may be over by the next attempt."""
LOST = (
    "CUDA error",  # an illegal access, a GPU that fell off the bus
    "DataLoader worker",  # killed by the system, mostly for memory
    "NCCL error",
    "can't allocate memory",  # torch's CPU allocator
    "No space left on device",  # of shared memory, by torch
)
"""What the texts of transient RuntimeErrors have in them."""


def failure_kind(error: BaseException, folder: Path | None = None) -> FailureKind:
    """Return why an exception of training was raised; see the head of this file.

    Args:
        error: the exception.
        folder: the working folder; without it any disk that is full counts as its.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return "memory"
    chain = list(_chain(error))
    full = [e for e in chain if isinstance(e, OSError) and e.errno in FULL]
    if any(is_within(e, folder) for e in full):
        return "disk"
    if full or any(isinstance(e, OSError) and e.errno in PASSING for e in chain):
        return "transient"
    lost = any(text in str(e) for e in chain for text in LOST if isinstance(e, RuntimeError))
    passing = MemoryError | ConnectionError | TimeoutError | MissingDatasetError
    if lost or isinstance(error, passing):  # another node may have the data set
        return "transient"
    return "final"


def ending_of(error: BaseException) -> BaseException | None:
    """Return what ends this process, if an error was raised on its way out.

    A signal in the middle of ``torch.save`` comes out as an error of the file it did not finish.
    """
    return next((e for e in _chain(error) if not isinstance(e, Exception)), None)


def tells_of_full_disk(text: str) -> bool:
    """Tell whether the text of an error is that a disk is full."""
    return any(words in text for words in (*map(os.strerror, FULL), "disk is full"))


def backoff(fruitless: int) -> float | None:
    """Return the seconds to wait after so many transient failures in a row; None to give up."""
    if fruitless > len(BACKOFF_SECONDS):
        return None
    return BACKOFF_SECONDS[max(fruitless, 1) - 1]


def enlarged(share: Share, batch_size: int, accumulate: int) -> Share | None:
    """Return what to give a trial that did not fit the memory of its GPU; None if that is all.

    First a larger part of the GPU, up to all of it; then smaller pieces of the batch, which the
    optimizer step still sees whole. A piece keeps two images: batch normalisation needs them.

    Args:
        share: what it had.
        batch_size: of its recipe.
        accumulate: of its recipe.
    """
    if 0 < share.gpus < 1:
        return Share(share.cpus, min(1.0, 2 * share.gpus), share.accumulate)
    pieces = 2 * share.accumulate
    if batch_size < 2 * accumulate * pieces:
        return None
    return Share(share.cpus, share.gpus, pieces)


def is_within(error: OSError, folder: Path | None) -> bool:
    """Tell whether an error is of a file in a folder; so it is held where it names no file."""
    if folder is None or not isinstance(error.filename, str | bytes | os.PathLike):
        return True
    name = os.path.realpath(os.fsdecode(error.filename))
    return Path(name).is_relative_to(os.path.realpath(folder))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from or during."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
