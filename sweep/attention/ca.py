"""CA: Coordinate Attention for Efficient Mobile Network Design.

Qibin Hou, Daquan Zhou, Jiashi Feng. arXiv:2103.02907. Eqs. 4-5 (strip pooling), 6 (shared
transform), 7-8 (attention), 9 (output). Below m = max(min_channels, C // r).

    x    (B, C, H, W)
    z    (B, C, H+W)    [mean over W; mean over H]           Eqs. 4-5
    f    (B, m, H+W)    h_swish(norm(conv1x1(z)))            Eq. 6
    g_h  (B, C, H)      sigmoid(conv1x1(f's first H))        Eq. 7
    g_w  (B, C, W)      sigmoid(conv1x1(f's last W))         Eq. 8
    out  (B, C, H, W)   x * g_h * g_w                        Eq. 9

Deviations: none; the delta of Eq. 6 is h-swish as in the authors' code. Its 1x1 convolutions over
(H+W) x 1 maps are 1D ones here: the same numbers and parameters.

The preset "official" is the authors' code. "ela_paper" fits the CA rows of the ELA paper on
ResNet, YOLOX, YOLOF and DeepLabV3, and "ela_paper_gn" its rows CA_gn; how many groups that norm has
is not printed, and 1 suits every m.

Parts, each with the equation it changes:

    no BN          f = h_swish(conv1x1(z))   Eq. 6
    no reduction   r = 1: m = C              Eq. 6
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import PositiveInt, ValidationInfo, field_validator
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, Channels, Fit
from sweep.registry import ATTENTION


class CAConfig(AttentionConfig):
    """Hyperparameters of CA (section 3.2)."""

    reduction: PositiveInt = 32
    """How many times narrower the shared transform is: m = max(min_channels, C // reduction)."""
    min_channels: Channels = 8
    """The least width of the shared transform."""
    bias: bool = True
    """Whether the three 1x1 convolutions have a bias."""
    norm: Literal["bn", "gn", "none"] = "bn"
    """Of the shared transform: batch normalisation, group normalisation or none."""
    num_groups: PositiveInt = 1
    """Of the group normalisation; must divide m."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "official": {"bias": True, "min_channels": 8, "norm": "bn"},
            "ela_paper": {"bias": False, "min_channels": 1, "norm": "bn"},
            "ela_paper_gn": {"bias": False, "min_channels": 8, "norm": "gn"},
        }
    )
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no BN": {"norm": "none", "num_groups": 1}, "no reduction": {"reduction": 1}}
    )
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"no BN": {"norm": "bn"}})

    @field_validator("num_groups")
    @classmethod
    def _needs_group_norm(cls, num_groups: int, info: ValidationInfo) -> int:
        if num_groups != 1 and info.data.get("norm", "gn") != "gn":
            raise ValueError('has an effect only with norm "gn"')
        return num_groups

    def reduced(self, channels: int) -> int:
        """Return m, the width of the shared transform at ``channels`` channels."""
        return max(self.min_channels, channels // self.reduction)

    def fit(self, channels: int, fit: Fit) -> Self:
        if self.norm != "gn":
            return self
        m = self.reduced(channels)
        return self.model_copy(
            update={"num_groups": fit.divisor("num_groups", self.num_groups, m, channels=channels)}
        )


@ATTENTION.register("ca")
class CA(AttentionModule):
    """Coordinate attention; (B, C, H, W) to the same shape."""

    Config = CAConfig

    def __init__(self, channels: int, config: CAConfig) -> None:
        super().__init__(channels, config)
        fitted = config.fit(channels, Fit())
        m = fitted.reduced(channels)
        self.shared = nn.Sequential(
            nn.Conv1d(channels, m, 1, bias=fitted.bias),
            _norm(m, fitted),
            nn.Hardswish(),
        )
        self.conv_h = nn.Conv1d(m, channels, 1, bias=fitted.bias)
        self.conv_w = nn.Conv1d(m, channels, 1, bias=fitted.bias)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.shape
        z = torch.cat([x.mean(dim=3), x.mean(dim=2)], dim=2)  # (B, C, H+W)
        f_h, f_w = self.shared(z).split([h, w], dim=2)  # (B, m, H), (B, m, W)
        g_h: Tensor = self.conv_h(f_h).sigmoid()  # (B, C, H)
        g_w: Tensor = self.conv_w(f_w).sigmoid()  # (B, C, W)
        return x * g_h.unsqueeze(3) * g_w.unsqueeze(2)


def _norm(m: int, fitted: CAConfig) -> nn.Module:
    match fitted.norm:
        case "bn":
            return nn.BatchNorm1d(m)
        case "gn":
            return nn.GroupNorm(fitted.num_groups, m)
        case "none":
            return nn.Identity()
