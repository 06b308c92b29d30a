"""SE: Squeeze-and-Excitation Networks.

Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu. arXiv:1709.01507. Eqs. 2 (squeeze),
3 (excitation), 4 (scale).

    x    (B, C, H, W)
    z    (B, C)         mean over H and W            Eq. 2
    s    (B, C)         sigmoid(W2 relu(W1 z))       Eq. 3; the inner width is max(1, C // r)
    out  (B, C, H, W)   x * s                        Eq. 4

Deviations: none. The paper needs r to divide C; here the inner width is rounded down, so that r
applies at any C. Eq. 3 has no biases, and neither have the rows of the ELA paper; the authors'
own models have them: ``bias=True``.

Parts: "no reduction" is r = 1 in Eq. 3, an inner layer as wide as the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import PositiveInt
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule
from sweep.registry import ATTENTION


class SEConfig(AttentionConfig):
    """Hyperparameters of SE (section 3)."""

    reduction: PositiveInt = 16
    """How many times narrower the inner layer is: its width is max(1, C // reduction)."""
    bias: bool = False
    """Whether the two fully connected layers have a bias."""

    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no reduction": {"reduction": 1}}
    )


@ATTENTION.register("se")
class SE(AttentionModule):
    """Squeeze and excitation; (B, C, H, W) to the same shape."""

    Config = SEConfig

    def __init__(self, channels: int, config: SEConfig) -> None:
        super().__init__(channels, config)
        reduced = max(1, channels // config.reduction)
        self.excite = nn.Sequential(
            nn.Linear(channels, reduced, bias=config.bias),
            nn.ReLU(),
            nn.Linear(reduced, channels, bias=config.bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        s: Tensor = self.excite(x.mean(dim=(2, 3)))  # (B, C)
        return x * s[:, :, None, None]
