"""How long a model takes for a batch, on the device that it is on: measured, not computed.

The timing is torch.utils.benchmark's: it waits for the GPU, repeats until the clock's resolution
does not matter, and its median is not moved by a few disturbed passes. It still is a figure of one
machine at one time: compare models that were measured side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.benchmark import Timer

from sweep.profiling.cost import evaluating

WARM_UP = 3
"""Passes that are not timed: they choose kernels and reserve memory."""


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in eval mode, without gradients."""

    milliseconds: float
    """Of a batch; the median."""
    iqr: float
    """Interquartile range of the same, in milliseconds."""
    batch_size: int

    @property
    def images_per_second(self) -> float:
        """Throughput at this batch size."""
        return 1000 * self.batch_size / self.milliseconds


def measure_latency(
    model: nn.Module,
    image_size: int,
    *,
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    seconds: float = 1.0,
) -> Latency:
    """Time forward passes of images (batch_size, 3, image_size, image_size).

    Args:
        model: on the device where it is timed; its modules keep their modes.
        image_size: H and W in pixels.
        batch_size: images of a pass.
        dtype: that autocast computes in; float32 is without autocast.
        channels_last: memory format of the images.
        seconds: to measure for at least, warm-up not counted.
    """
    device = next(model.parameters()).device
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.rand(batch_size, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=layout)
    timer = Timer(
        "model(images)",
        globals={"model": model, "images": images},
        num_threads=torch.get_num_threads(),
    )
    autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
    with evaluating(model), torch.no_grad(), autocast:
        for _ in range(WARM_UP):
            model(images)
        measured = timer.blocked_autorange(min_run_time=seconds)
    return Latency(1000 * measured.median, 1000 * measured.iqr, batch_size)
