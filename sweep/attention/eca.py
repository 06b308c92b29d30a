"""ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks.

Qilong Wang, Banggu Wu, Pengfei Zhu, Peihua Li, Wangmeng Zuo, Qinghua Hu. arXiv:1910.03151.
Eqs. 9 (attention), 12 (adaptive kernel size).

    x    (B, C, H, W)
    y    (B, C)         mean over H and W
    w    (B, C)         sigmoid(Conv1d_k(y)), along the channels; one kernel for all   Eq. 9
    out  (B, C, H, W)   x * w

Deviations: none. Eq. 12 takes the nearest odd number and is silent on a tie (an even number); the
authors' code goes up, and so does this.

Parts: "no neighbours" is k = 1 in Eq. 9: a channel's weight follows from its own mean alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, Fit, KernelSize
from sweep.registry import ATTENTION

GAMMA, B = 2, 1
"""The constants of Eq. 12 (section 3.2.3)."""


class ECAConfig(AttentionConfig):
    """Hyperparameters of ECA (section 3.2)."""

    kernel_size: KernelSize | Literal["adaptive"] = 3
    """Of the convolution along the channels: an odd number, or "adaptive", Eq. 12's rule of C."""

    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no neighbours": {"kernel_size": 1}}
    )

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, kernel_size: int | str) -> int | str:
        if isinstance(kernel_size, int) and kernel_size % 2 == 0:
            raise ValueError("must be odd, so that the number of channels is kept")
        return kernel_size

    def fit(self, channels: int, fit: Fit) -> Self:
        if self.kernel_size != "adaptive":
            return self
        whole = int((math.log2(channels) + B) / GAMMA)
        return self.model_copy(update={"kernel_size": whole if whole % 2 else whole + 1})


@ATTENTION.register("eca")
class ECA(AttentionModule):
    """Efficient channel attention; (B, C, H, W) to the same shape."""

    Config = ECAConfig

    def __init__(self, channels: int, config: ECAConfig) -> None:
        super().__init__(channels, config)
        kernel_size = config.fit(channels, Fit()).kernel_size
        assert isinstance(kernel_size, int)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean(dim=(2, 3)).unsqueeze(1)  # (B, 1, C)
        w: Tensor = self.conv(y).squeeze(1).sigmoid()  # (B, C)
        return x * w[:, :, None, None]
