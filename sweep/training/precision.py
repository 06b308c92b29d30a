"""Mixed precision: autocast of the forward pass, and the loss scaling that fp16 needs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class Precision:
    """How one trial computes.

    Args:
        name: "fp32", "tf32" (of NVIDIA GPUs), "bf16" or "fp16".
        device: where it runs.
    """

    def __init__(self, name: Literal["fp32", "tf32", "bf16", "fp16"], device: torch.device) -> None:
        self.dtype = DTYPES[name]
        self.device = device
        # Of the process: every trial sets them, so that none inherits another's.
        torch.set_float32_matmul_precision("highest" if name == "fp32" else "high")
        torch.backends.cudnn.allow_tf32 = name != "fp32"
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass; it changes nothing in fp32."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to the parameters' gradients, scaled in fp16."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take an optimizer step; skipped in fp16 where a scaled gradient overflowed."""
        self.scaler.step(optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:  # empty where loss scaling is off
            self.scaler.load_state_dict(state)
