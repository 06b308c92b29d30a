"""CBAM: Convolutional Block Attention Module.

Sanghyun Woo, Jongchan Park, Joon-Young Lee, In So Kweon. arXiv:1807.06521. Eqs. 1 (channel
attention, then spatial attention), 2 (channel), 3 (spatial).

    x    (B, C, H, W)
    m_c  (B, C)         sigmoid(MLP(mean over H, W) + MLP(max over H, W))    Eq. 2
    x'   (B, C, H, W)   x * m_c                                              Eq. 1
    m_s  (B, 1, H, W)   sigmoid(conv_k([mean over C; max over C]))           Eq. 3
    out  (B, C, H, W)   x' * m_s                                             Eq. 1

Deviations: the inner width of the MLP is C // r rounded down, at least 1. The paper's equations
have neither biases nor a norm (preset "ela", which the ELA paper's counts and EMA's Table 2 agree
with); the authors' code has biases in the MLP and a batch norm after the convolution (preset
"nam", which the NAM repository uses and EMA's Table 1 agrees with).

Parts, each with the equation it changes:

    no channel   x' = x      Eq. 1
    no spatial   out = x'    Eq. 1
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from pydantic import PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, KernelSize
from sweep.registry import ATTENTION


class CBAMConfig(AttentionConfig):
    """Hyperparameters of CBAM (section 3)."""

    reduction: PositiveInt = 16
    """How many times narrower the MLP is inside: its width there is max(1, C // reduction)."""
    kernel_size: KernelSize = 7
    """Of the spatial convolution; odd, so that height and width are kept."""
    bias: bool = False
    """Whether the two layers of the MLP have a bias."""
    spatial_norm: bool = False
    """Whether a batch norm of the one channel follows the spatial convolution."""
    channel: bool = True
    """Whether the channel attention is there (Eq. 2)."""
    spatial: bool = True
    """Whether the spatial attention is there (Eq. 3); one of the two must be."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "ela": {"bias": False, "spatial_norm": False},
            "nam": {"bias": True, "spatial_norm": True},
        }
    )
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "no channel": {"channel": False, "reduction": 16, "bias": False},
            "no spatial": {"spatial": False, "kernel_size": 7, "spatial_norm": False},
        }
    )

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError("must be odd, so that height and width are kept")
        return kernel_size

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if not self.channel and not self.spatial:
            raise ValueError("spatial must be true where channel is false: nothing would be left")
        if not self.channel:
            self.check_default("reduction", "bias", only_with="channel")
        if not self.spatial:
            self.check_default("kernel_size", "spatial_norm", only_with="spatial")
        return self


@ATTENTION.register("cbam")
class CBAM(AttentionModule):
    """Channel attention, then spatial attention; (B, C, H, W) to the same shape."""

    Config = CBAMConfig

    def __init__(self, channels: int, config: CBAMConfig) -> None:
        super().__init__(channels, config)
        self.channel, self.spatial = config.channel, config.spatial
        if config.channel:
            reduced = max(1, channels // config.reduction)
            self.mlp = nn.Sequential(
                nn.Linear(channels, reduced, bias=config.bias),
                nn.ReLU(),
                nn.Linear(reduced, channels, bias=config.bias),
            )
        if config.spatial:
            padding = config.kernel_size // 2
            self.conv = nn.Conv2d(2, 1, config.kernel_size, padding=padding, bias=False)
            # The momentum is that of the authors' code.
            self.norm = nn.BatchNorm2d(1, momentum=0.01) if config.spatial_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.channel:
            m_c = (self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))).sigmoid()  # (B, C)
            x = x * m_c[:, :, None, None]
        if self.spatial:
            pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
            m_s: Tensor = self.norm(self.conv(pooled)).sigmoid()  # (B, 1, H, W)
            x = x * m_s
        return x
