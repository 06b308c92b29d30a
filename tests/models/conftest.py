from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sweep.attention.base import AttentionConfig, AttentionModule
from sweep.registry import ATTENTION


class ScaleConfig(AttentionConfig):
    """Of an attention module that multiplies by a number."""


class Scale(AttentionModule):
    """x times ``factor``, which a test sets for each site."""

    Config = ScaleConfig

    def __init__(self, channels: int, config: AttentionConfig) -> None:
        super().__init__(channels, config)
        self.register_buffer("factor", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.channels
        return x * self.factor


@pytest.fixture
def scale() -> Iterator[str]:
    """The name under which ``Scale`` is registered during a test."""
    name = "scale_of_a_test"
    ATTENTION.names()  # fills the table, before anything else is put into it
    ATTENTION.register(name)(Scale)
    yield name
    del ATTENTION._parts[name], ATTENTION._origins[name]
