"""How much memory a forward pass takes at its peak: weights, images, and what the pass makes.

On a GPU it is what torch's allocator gave out at most. On a CPU nothing keeps such a record, so the
pass runs under torch's profiler, which writes down every tensor that is made and freed: the largest
sum of these, beside weights and images. Neither has what libraries take without torch, the CUDA
context, or what the allocator holds in reserve: a process needs more.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from sweep.profiling.latency import inference

CPU = 0
"""Of a profile's "Device Type"."""


def measure_memory(
    model: nn.Module,
    image_size: int,
    *,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> int:
    """Return the bytes of tensors at the peak of a forward pass in eval mode, without gradients.

    Args:
        model: on the device where it is measured, a GPU with nothing else of this process on it;
            its modules keep their modes.
        image_size: H and W in pixels.
        batch_size: images (batch_size, 3, image_size, image_size) of the pass.
        dtype: that autocast computes in; float32 is without autocast.
        channels_last: memory format of the images.
    """
    with inference(model, image_size, batch_size, dtype, channels_last=channels_last) as images:
        model(images)  # libraries have their workspace from now on
        return _peak_cuda(model, images) if images.is_cuda else _peak_cpu(model, images)


def _peak_cuda(model: nn.Module, images: Tensor) -> int:
    gc.collect()  # models that were measured before go in cycles
    torch.cuda.reset_peak_memory_stats(images.device)
    model(images)
    return torch.cuda.max_memory_allocated(images.device)


def _peak_cpu(model: nn.Module, images: Tensor) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells when it starts, and of missing GPUs
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model(images)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: float(event["ts"]))
    on_cpu = [event["args"] for event in changes if event["args"]["Device Type"] == CPU]
    made: list[int] = [args["Bytes"] for args in on_cpu]  # of what is freed, less than 0
    state = itertools.chain(model.parameters(), model.buffers(), [images])
    return max(itertools.accumulate(made, initial=0)) + sum(t.nbytes for t in state)
