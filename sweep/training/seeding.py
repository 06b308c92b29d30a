"""Random numbers that follow from names: the same trial, epoch and sample always draw the same."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(*path: int | str) -> int:
    """Return a 63-bit seed that depends on every element of ``path`` and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(*path: int | str) -> None:
    """Seed Python's, NumPy's and torch's global generators, every GPU's included.

    Called when a model is built and at the start of every epoch. What happened before, in this
    process or in one that was killed, therefore leaves no trace in what is drawn next.
    """
    seed = derive_seed(*path)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # transforms of other packages draw from it
    torch.manual_seed(seed)
