"""Why an attempt at a trial failed, and whether another one may end better.

What was lost on the way (a worker, a node, a connection: "transient"), or is missing on one node of
several (the data set), is tried again after a while;
what did not fit the GPU's memory ("memory") with more of the GPU, and then in smaller pieces. On a
full disk ("disk") the sweep ends, and goes on when there is room. Everything else is "final": the
same would happen again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import torch

from sweep.data.base import MissingDatasetError
from sweep.ledger import FailureKind, Share

BACKOFF_SECONDS = (5.0, 15.0, 45.0, 135.0)
"""Before the next attempt after one, two, ... transient failures without an epoch between them."""

FULL = (errno.ENOSPC, errno.EDQUOT)
LOST = (
    "CUDA error",  # an illegal access, a GPU that fell off the bus
    "DataLoader worker",  # killed by the system, mostly for memory
    "NCCL error",
    "can't allocate memory",  # torch's CPU allocator
)
"""What the texts of transient RuntimeErrors have in them."""


def failure_kind(error: BaseException) -> FailureKind:
    """Return why an exception of training was raised; see the head of this file."""
    if isinstance(error, torch.OutOfMemoryError):
        return "memory"
    chain = list(_chain(error))
    if any(isinstance(e, OSError) and e.errno in FULL for e in chain):
        return "disk"
    lost = any(text in str(e) for e in chain for text in LOST if isinstance(e, RuntimeError))
    passing = MemoryError | ConnectionError | TimeoutError | MissingDatasetError
    if lost or isinstance(error, passing):  # another node may have the data set
        return "transient"
    return "final"


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


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from or during."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
