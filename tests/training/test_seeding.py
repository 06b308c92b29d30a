from __future__ import annotations

import hashlib
import random

import numpy as np
import torch

from sweep.training.seeding import derive_seed, seed_everything


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_seed_is_the_first_63_bits_of_the_hash_of_its_path() -> None:
    expected = int(hashlib.sha256(b"7/epoch/3").hexdigest()[:16], 16) // 2
    assert derive_seed(7, "epoch", 3) == expected
    assert 0 <= expected < 2**63


def test_every_element_of_a_path_matters() -> None:
    paths = [(1, "order", 2), (2, "order", 2), (1, "order", 3), (1, "model"), (12, "model"), (1, 2)]
    assert len({derive_seed(*path) for path in paths}) == len(paths)


def test_all_generators_follow_from_the_path_and_from_nothing_before() -> None:
    seed_everything(4, "model")
    first = draws()
    draws()
    seed_everything(4, "model")
    assert draws() == first
    seed_everything(5, "model")
    assert all(a != b for a, b in zip(draws(), first, strict=True))
