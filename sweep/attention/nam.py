"""NAM: Normalization-based Attention Module.

Yichao Liu, Zongru Shao, Yueyang Teng, Nico Hoffmann. arXiv:2111.12419. Eqs. 1 (batch norm),
2 (channel attention).

    x      (B, C, H, W)
    gamma  (C,)           scale factors of the batch norm
    w      (C,)           |gamma_i| / sum_j |gamma_j|
    out    (B, C, H, W)   x * sigmoid(w * BN(x))         Eq. 2

Deviations: the channel attention only, as in the authors' code and in EMA's Table 1, without the
pixel normalisation of Eq. 3 (whose parameters depend on H and W). Eq. 2 writes gamma_i without
the absolute value; the code takes it, and lets no gradient through w (gamma still learns through
BN). The sparsity penalty of Eq. 4 belongs to a loss and is not here.
"""

from __future__ import annotations

from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule
from sweep.registry import ATTENTION


class NAMConfig(AttentionConfig):
    """NAM has no hyperparameters."""


@ATTENTION.register("nam")
class NAM(AttentionModule):
    """Normalisation-based channel attention; (B, C, H, W) to the same shape."""

    Config = NAMConfig

    def __init__(self, channels: int, config: NAMConfig) -> None:
        super().__init__(channels, config)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        gamma = self.norm.weight.detach().abs()
        w = (gamma / gamma.sum())[:, None, None]  # (C, 1, 1)
        attention: Tensor = (w * self.norm(x)).sigmoid()  # (B, C, H, W)
        return x * attention
