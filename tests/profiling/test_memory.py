"""Peak memory of a forward pass, against sizes of tensors worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sweep.profiling.memory import measure_memory

IMAGES = 4 * 2 * 3 * 64 * 64
"""Bytes of float32 (2, 3, 64, 64)."""


class Chain(nn.Module):
    """Elementwise passes of the same size: two tensors live at once, beside the images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x * self.weight
        return x


class Branches(Chain):
    """All of three results are kept until the last is there, and put together: six times one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x * self.weight, x + self.weight, x - self.weight], dim=1)


WEIGHT = 4 * 3 * 64 * 64


@pytest.mark.parametrize(("model", "live"), [(Chain(), 2), (Branches(), 6)])
def test_peak_is_weights_images_and_what_lives_at_once(model: nn.Module, live: int) -> None:
    assert measure_memory(model, 64, batch_size=2) == WEIGHT + IMAGES + live * IMAGES


def test_twice_the_images_take_twice_what_weights_do_not() -> None:
    small, large = (measure_memory(Branches(), 64, batch_size=b) for b in (2, 4))
    assert large - WEIGHT == 2 * (small - WEIGHT)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    peak = measure_memory(Branches().to("cuda"), 64, batch_size=2)
    assert peak == WEIGHT + IMAGES + 6 * IMAGES
