"""SA-Net: Shuffle Attention for Deep Convolutional Neural Networks.

Qing-Long Zhang, Yu-Bin Yang. arXiv:2102.00240. Eqs. 1-2 (channel branch), 3 (spatial branch),
Figure 2. Below c = C / 2G: each of the G groups is halved, and all groups share one set of weights.

    x    (B, C, H, W)
    x_1  (B*G, c, H, W)   first half of a group
    x_2  (B*G, c, H, W)   second half
    y_1  (B*G, c, H, W)   x_1 * sigmoid(w_1 * mean over H, W + b_1)   Eqs. 1-2
    y_2  (B*G, c, H, W)   x_2 * sigmoid(w_2 * GN_c(x_2) + b_2)        Eq. 3; one channel per norm
    out  (B, C, H, W)     [y_1; y_2] of all groups, channels shuffled in 2 groups

Deviations: none. As in the authors' code the weights start at 0 and the biases at 1.

Parts, each with the equation it changes; the shuffle stays:

    no channel   y_1 = x_1    Eqs. 1-2
    no spatial   y_2 = x_2    Eq. 3
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, Fit, IndivisibleError
from sweep.registry import ATTENTION


class SAConfig(AttentionConfig):
    """Hyperparameters of SA (section 3)."""

    groups: PositiveInt = 64
    """The paper's G, the number of sub-features; twice G must divide C."""
    channel: bool = True
    """Whether the first half of a group has its channel attention (Eqs. 1-2)."""
    spatial: bool = True
    """Whether the second half has its spatial attention (Eq. 3); one of the two must be."""

    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no channel": {"channel": False}, "no spatial": {"spatial": False}}
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if not self.channel and not self.spatial:
            raise ValueError("spatial must be true where channel is false: nothing would be left")
        return self

    def fit(self, channels: int, fit: Fit) -> Self:
        half, odd = divmod(channels, 2)
        if odd:
            raise IndivisibleError(f"groups: halving every group needs an even C, not C={channels}")
        return self.model_copy(
            update={"groups": fit.divisor("groups", self.groups, half, channels=channels)}
        )


@ATTENTION.register("sa")
class SA(AttentionModule):
    """Shuffle attention; (B, C, H, W) to the same shape."""

    Config = SAConfig

    def __init__(self, channels: int, config: SAConfig) -> None:
        super().__init__(channels, config)
        self.groups = config.fit(channels, Fit()).groups
        c = channels // (2 * self.groups)
        self.channel, self.spatial = config.channel, config.spatial
        if config.channel:
            self.channel_weight = nn.Parameter(torch.zeros(c, 1, 1))
            self.channel_bias = nn.Parameter(torch.ones(c, 1, 1))
        if config.spatial:
            self.spatial_weight = nn.Parameter(torch.zeros(c, 1, 1))
            self.spatial_bias = nn.Parameter(torch.ones(c, 1, 1))
            self.norm = nn.GroupNorm(c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x_1, x_2 = x.reshape(b * self.groups, -1, h, w).chunk(2, dim=1)
        y_1, y_2 = x_1, x_2
        if self.channel:
            s_1 = self.channel_weight * x_1.mean(dim=(2, 3), keepdim=True) + self.channel_bias
            y_1 = x_1 * s_1.sigmoid()
        if self.spatial:
            s_2 = self.spatial_weight * self.norm(x_2) + self.spatial_bias
            y_2 = x_2 * s_2.sigmoid()
        y = torch.cat([y_1, y_2], dim=1)
        # Channel shuffle: channel i of the first half of C is followed by channel i of the second.
        return y.reshape(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
