"""EMA: Efficient Multi-Scale Attention Module with Cross-Spatial Learning.

Daliang Ouyang, Su He, Guozhong Zhang, Mingzhu Luo, Huaiyong Guo, Jian Zhan, Zhijie Huang.
arXiv:2305.13563. Section 3, Eqs. 1-2 (strip pooling), 3 (global pooling), Figure 1. Below
c = C / G: the groups are folded into the batch and share one set of weights.

    x    (B*G, c, H, W)
    z    (B*G, c, H+W)     [mean over W; mean over H]                          Eqs. 1-2
    a    (B*G, c, H+W)     sigmoid(conv1x1(z)), split into a_h and a_w
    x_1  (B*G, c, H, W)    GN_c(x * a_h * a_w)             1x1 branch; one channel per norm
    x_3  (B*G, c, H, W)    conv3x3(x)                      3x3 branch
    m_1  (B*G, 1, H, W)    softmax_c(mean over H, W of x_1) . x_3              Eq. 3
    m_3  (B*G, 1, H, W)    softmax_c(mean over H, W of x_3) . x_1              Eq. 3
    out  (B*G, c, H, W)    x * sigmoid(m_1 + m_3)

Deviations: the text has the sigmoid after the sum of the two maps and does not say what it
multiplies; as in Figure 1, the grouped input. The row EMA_no of Table 3 ("without cross-spatial
learning") is not defined: ``cross_spatial=False`` adds the two branches instead,
x * sigmoid(x_1 + x_3), which keeps both branches and their parameters, as the printed counts do.
Each channel of x_1 is normalised over H and W, so its mean is the bias of the norm: the softmax in
m_1 is the same for every input.

Parts, each with the equation it changes:

    no cross-spatial   out = x * sigmoid(x_1 + x_3)        for Eq. 3
    no 3x3 branch      m_1 = softmax_c(mean of x_1) . x_1  Eq. 3; out = x * sigmoid(m_1)

In Eq. 3 each branch weighs the channels of the other. Without x_3 the one branch that is left
weighs its own: the output keeps its form, one map for the channels of a group, so that the branch
is all that is missing. Without both parts it is x * sigmoid(x_1).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, Fit
from sweep.registry import ATTENTION


class EMAConfig(AttentionConfig):
    """Hyperparameters of EMA (section 3)."""

    factor: PositiveInt = 32
    """The paper's G, the number of groups (its "group size"); must divide C."""
    cross_spatial: bool = True
    """Whether each branch weighs the channels of the other; false is the row EMA_no of Table 3."""
    conv3x3: bool = True
    """Whether the 3x3 branch is there; without it the 1x1 branch weighs its own channels."""

    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no cross-spatial": {"cross_spatial": False}, "no 3x3 branch": {"conv3x3": False}}
    )

    def fit(self, channels: int, fit: Fit) -> Self:
        return self.model_copy(
            update={"factor": fit.divisor("factor", self.factor, channels, channels=channels)}
        )


@ATTENTION.register("ema")
class EMA(AttentionModule):
    """Efficient multi-scale attention; (B, C, H, W) to the same shape."""

    Config = EMAConfig

    def __init__(self, channels: int, config: EMAConfig) -> None:
        super().__init__(channels, config)
        self.factor = config.fit(channels, Fit()).factor
        self.cross_spatial = config.cross_spatial
        c = channels // self.factor
        self.conv1x1 = nn.Conv1d(c, c, 1)
        self.conv3x3 = nn.Conv2d(c, c, 3, padding=1) if config.conv3x3 else None
        self.norm = nn.GroupNorm(c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        grouped = x.reshape(b * self.factor, -1, h, w)
        z = torch.cat([grouped.mean(dim=3), grouped.mean(dim=2)], dim=2)
        a_h, a_w = self.conv1x1(z).sigmoid().split([h, w], dim=2)
        x_1 = self.norm(grouped * a_h.unsqueeze(3) * a_w.unsqueeze(2))
        if self.conv3x3 is None:
            mixed = _weigh(x_1, x_1) if self.cross_spatial else x_1
        else:
            x_3 = self.conv3x3(grouped)
            mixed = _weigh(x_1, x_3) + _weigh(x_3, x_1) if self.cross_spatial else x_1 + x_3
        return (grouped * mixed.sigmoid()).reshape(b, c, h, w)


def _weigh(pooled: Tensor, mixed: Tensor) -> Tensor:
    """Mix the channels of ``mixed`` by the softmax of the means of ``pooled``: (., 1, H, W)."""
    n, _, h, w = mixed.shape
    weights = pooled.mean(dim=(2, 3)).softmax(dim=1).unsqueeze(1)  # (., 1, c)
    return (weights @ mixed.flatten(2)).reshape(n, 1, h, w)
