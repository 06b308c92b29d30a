"""Measured latency: what it runs, what it leaves as it was, and that it is no shorter than it is.

How long a pass takes at most depends on the machine, and is not tested.
"""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from sweep.profiling.latency import Latency, measure_latency, summarise

PAUSE = 0.004


class Slow(nn.Module):
    """Takes at least PAUSE seconds, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout()
        self.seen: list[tuple[Tensor, Tensor, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(PAUSE)
        out: Tensor = self.dropout(self.norm(self.conv(x)))
        self.seen.append((x, out, self.training))
        return out


class Busy(nn.Conv2d):
    """Keeps a GPU of at most 5 GHz busy for at least PAUSE seconds."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        torch.cuda._sleep(int(5e9 * PAUSE))  # type: ignore[no-untyped-call]
        return super().forward(x)


def test_a_pass_takes_no_less_than_it_takes() -> None:
    latency = measure_latency(Slow(), 8, batch_size=2, seconds=0.03)
    assert latency.milliseconds >= 1000 * PAUSE
    assert latency.iqr >= 0
    assert latency.batch_size == 2
    assert latency.images_per_second <= 2 / PAUSE


def test_throughput_is_images_over_time() -> None:
    latency = Latency(milliseconds=20.0, low=16.0, high=25.0, batch_size=8)
    assert latency.images_per_second == 400
    assert latency.iqr == 9
    assert latency.images_per_second_iqr == 500 - 320


def test_rounds_by_hand() -> None:
    latency = summarise([[0.010, 0.012, 0.011], [0.020], [0.013, 0.013, 0.014, 0.040]], 4)
    # Medians 11, 20 and 13.5. Shares: 1/9 each of 10, 11, 12; 1/3 of 20; 1/12 each of the others:
    # a quarter of the whole is reached at 12, three quarters at 20.
    assert latency == Latency(13.5, 12.0, 20.0, 4)


def test_a_disturbed_round_does_not_move_the_median() -> None:
    calm, disturbed = [0.010, 0.010, 0.011], [0.5] * 100
    assert summarise([calm, calm, disturbed, calm, calm], 1).milliseconds == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_runs_what_it_says_in_eval_mode(dtype: torch.dtype) -> None:
    model = Slow()
    measure_latency(model, 8, batch_size=3, dtype=dtype, channels_last=True, seconds=0.01)
    for images, out, training in model.seen:
        assert images.shape == (3, 3, 8, 8)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert not training
        assert not out.requires_grad
    assert model.conv(model.seen[-1][0]).dtype == torch.float32  # autocast has ended
    assert model.seen[-1][1].dtype == dtype


def test_the_model_is_as_it_was() -> None:
    model = Slow().train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    measure_latency(model, 8, seconds=0.01)
    assert (model.training, model.norm.training, model.dropout.training) == (True, False, True)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    model = Busy().to("cuda")
    # The GPU is waited for: to start the kernel takes microseconds.
    assert measure_latency(model, 8, seconds=0.05).milliseconds >= 1000 * PAUSE
