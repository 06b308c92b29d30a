"""A user's own attention module, as the user's own distribution offers it."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule
from sweep.registry import ATTENTION


class GateConfig(AttentionConfig):
    """Hyperparameters of the gate."""

    scale: PositiveFloat = 1.0
    """Of the logit."""


@ATTENTION.register("gate")
class Gate(AttentionModule):
    """One learned gate per channel; (B, C, H, W) to the same shape."""

    Config = GateConfig

    def __init__(self, channels: int, config: GateConfig) -> None:
        super().__init__(channels, config)
        self.scale = config.scale
        self.logit = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.scale * self.logit).sigmoid()
