"""What a measurement was made on: device, machine, versions."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")


def environment(device: torch.device) -> dict[str, Any]:
    """Return the hardware and the versions that a result was measured with."""
    import torchvision

    return {
        "device": device_text(device),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def device_text(device: torch.device) -> str:
    """Return what a device is; see ``sweep.devices``."""
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return f"{gpu.name}, {math.ceil(gpu.total_memory / 2**30)} GiB"
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' * (threads > 1)}"


def processor() -> str:
    """Return the model of the CPU as Linux names it; elsewhere its architecture."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, f"CPU {platform.machine()}")
