"""How long a model takes for a batch, on the device that it is on: measured, not computed.

The timing is torch.utils.benchmark's: it waits for the GPU, and repeats until the clock's
resolution does not matter. A sample is one pass, or, where passes are short or the device must be
waited for, the mean of some that follow each other. A machine's speed drifts: models that are to be
compared are timed in turns, round after round (``sweep.measuring``), and ``summarise`` puts the
rounds of a model together.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sweep.profiling.cost import evaluating

WARM_UP = 3
"""Passes that are not timed: they choose kernels and reserve memory."""


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in eval mode, without gradients; in milliseconds."""

    milliseconds: float
    """Of a batch; the median over the rounds of the median of each: a round in which something else
    took the machine does not move it."""
    low: float
    high: float
    """Quartiles of the samples, each round weighing the same; of an odd number of rounds, the
    median is never outside."""
    batch_size: int

    @property
    def iqr(self) -> float:
        """Interquartile range: it has the spread from sample to sample and from round to round."""
        return self.high - self.low

    @property
    def images_per_second(self) -> float:
        """Throughput at this batch size; the median."""
        return self._throughput(self.milliseconds)

    @property
    def images_per_second_iqr(self) -> float:
        """Interquartile range of the throughput."""
        return self._throughput(self.low) - self._throughput(self.high)

    def _throughput(self, milliseconds: float) -> float:
        return 1000 * self.batch_size / milliseconds


def summarise(rounds: Sequence[Sequence[float]], batch_size: int) -> Latency:
    """Return the latency that rounds of samples (in seconds) show."""
    weights = [1 / len(samples) for samples in rounds for _ in samples]
    samples = [sample for samples in rounds for sample in samples]
    low, high = np.quantile(samples, [0.25, 0.75], weights=weights, method="inverted_cdf")
    median = statistics.median(map(statistics.median, rounds))
    return Latency(1000 * median, 1000 * float(low), 1000 * float(high), batch_size)


def measure_latency(
    model: nn.Module,
    image_size: int,
    *,
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    seconds: float = 1.0,
) -> Latency:
    """Time forward passes of images (batch_size, 3, image_size, image_size), in one round.

    The arguments are those of ``sample_passes``.
    """
    samples = sample_passes(
        model,
        image_size,
        batch_size=batch_size,
        dtype=dtype,
        channels_last=channels_last,
        seconds=seconds,
    )
    return summarise([samples], batch_size)


def sample_passes(
    model: nn.Module,
    image_size: int,
    *,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    seconds: float,
) -> list[float]:
    """Return seconds of forward passes of images (batch_size, 3, image_size, image_size).

    Args:
        model: on the device where it is timed; its modules keep their modes.
        image_size: H and W in pixels.
        batch_size: images of a pass.
        dtype: that autocast computes in; float32 is without autocast.
        channels_last: memory format of the images.
        seconds: to measure for at least, warm-up not counted.
    """
    # It looks for compilers at once, and complains where there is a CUDA of no use.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    with inference(model, image_size, batch_size, dtype, channels_last=channels_last) as images:
        timer = Timer(
            "model(images)",
            globals={"model": model, "images": images},
            num_threads=torch.get_num_threads(),
        )
        for _ in range(WARM_UP):
            model(images)
        return list(timer.blocked_autorange(min_run_time=seconds).times)


@contextmanager
def inference(
    model: nn.Module,
    image_size: int,
    batch_size: int,
    dtype: torch.dtype,
    *,
    channels_last: bool = False,
) -> Iterator[Tensor]:
    """Make passes of a model passes in eval mode, without gradients; yield images for them.

    They are (batch_size, 3, image_size, image_size), on the model's device.
    """
    device = next(model.parameters()).device
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=layout)
    autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
    with evaluating(model), torch.no_grad(), autocast:
        yield images
