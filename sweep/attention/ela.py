"""ELA: Efficient Local Attention for Deep Convolutional Neural Networks.

Wei Xu, Yi Wan. arXiv:2403.01123. Eqs. 1-2 (strip pooling), 7-8 (attention), 9 (output), Figure 4.

    x    (B, C, H, W)
    x_h  (B, C, H)      mean over W        Eq. 1 (printed with a factor 1/H; the code has 1/W)
    x_w  (B, C, W)      mean over H        Eq. 2
    y_h  (B, C, H, 1)   sigmoid(GN(Conv1d(x_h)))   Eq. 7
    y_w  (B, C, 1, W)   sigmoid(GN(Conv1d(x_w)))   Eq. 8
    out  (B, C, H, W)   x * y_h * y_w              Eq. 9

Deviations: Eqs. 7-8 write two convolutions F_h and F_w; Figure 4's code and every published
parameter count have one convolution and one norm that both directions share. ``shared=True``
follows the code, ``shared=False`` the equations.

Parts, each with the equation it changes; y_w of Eq. 8 as y_h:

    no GN         y_h = sigmoid(Conv1d(x_h))       Eq. 7
    BN for GN     y_h = sigmoid(BN(Conv1d(x_h)))   Eq. 7; one scale, shift and statistics for each
                                                   channel, over the batch and the strip's positions
    no conv       y_h = sigmoid(GN(x_h))           Eq. 7
    height only   out = x * y_h                    Eq. 9
    width only    out = x * y_w                    Eq. 9

A batch norm that both directions share sees both strips of a batch, one after the other: its
running statistics are of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from sweep.attention.base import AttentionConfig, AttentionModule, Fit, KernelSize
from sweep.registry import ATTENTION

PerChannel = Annotated[str, Field(pattern=r"^in_channels(/[1-9][0-9]*)?$")]


class ELAConfig(AttentionConfig):
    """Hyperparameters of ELA (section 3.3)."""

    kernel_size: KernelSize = 7
    """Of the 1D convolution; odd, so that the length of a strip is kept."""
    groups: PositiveInt | PerChannel = "in_channels"
    """Of the 1D convolution: "in_channels", "in_channels/8" or a number."""
    num_groups: PositiveInt = 16
    """Of the group normalisation."""
    shared: bool = True
    """One convolution and norm for both directions (Figure 4), or one each (Eqs. 7-8)."""
    norm: Literal["gn", "bn", "none"] = "gn"
    """After the 1D convolution: group normalisation, batch normalisation or none."""
    directions: Literal["both", "height", "width"] = "both"
    """Of the attention: along the height (Eq. 7), the width (Eq. 8), or both (Eq. 9)."""
    conv: bool = True
    """Whether the 1D convolution is there; without it the strips go to the norm as they are."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            # Section 3.3. Table 4 prints (T) at k5-g8-ng32, against the text: both have a name.
            "T": {"kernel_size": 5, "groups": "in_channels", "num_groups": 32},
            "T_table4": {"kernel_size": 5, "groups": "in_channels/8", "num_groups": 32},
            "B": {"kernel_size": 7, "groups": "in_channels", "num_groups": 16},
            "S": {"kernel_size": 5, "groups": "in_channels/8", "num_groups": 16},
            "L": {"kernel_size": 7, "groups": "in_channels/8", "num_groups": 16},
        }
    )
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "no GN": {"norm": "none", "num_groups": 16},
            "BN for GN": {"norm": "bn", "num_groups": 16},
            "no conv": {"conv": False, "kernel_size": 7, "groups": "in_channels"},
            "height only": {"directions": "height", "shared": True},
            "width only": {"directions": "width", "shared": True},
        }
    )
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"no GN": {"norm": "gn"}, "BN for GN": {"norm": "gn"}}
    )

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError("must be odd, so that the length of a strip is kept")
        return kernel_size

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.norm != "gn":
            self.check_default("num_groups", only_with='norm "gn"')
        if self.directions != "both":
            self.check_default("shared", only_with='directions "both"')
        if not self.conv:
            self.check_default("kernel_size", "groups", only_with="conv")
        return self

    def fit(self, channels: int, fit: Fit) -> Self:
        fitted: dict[str, int] = {}
        if self.conv:
            groups = self.groups
            if isinstance(groups, str):
                _, _, denominator = groups.partition("/")
                groups = channels // int(denominator or 1)
            fitted["groups"] = fit.divisor("groups", groups, channels, channels=channels)
        if self.norm == "gn":
            fitted["num_groups"] = fit.divisor(
                "num_groups", self.num_groups, channels, channels=channels
            )
        return self.model_copy(update=fitted)


@ATTENTION.register("ela")
class ELA(AttentionModule):
    """Efficient local attention; (B, C, H, W) to the same shape."""

    Config = ELAConfig

    def __init__(self, channels: int, config: ELAConfig) -> None:
        super().__init__(channels, config)
        fitted = config.fit(channels, Fit())
        self.directions = config.directions
        encoders = 1 if config.shared else 2
        self.encoders = nn.ModuleList(_strip_encoder(channels, fitted) for _ in range(encoders))

    def forward(self, x: Tensor) -> Tensor:
        encode_h, encode_w = self.encoders[0], self.encoders[-1]
        out = x
        if self.directions != "width":
            y_h: Tensor = encode_h(x.mean(dim=3)).sigmoid()  # (B, C, H)
            out = out * y_h.unsqueeze(3)
        if self.directions != "height":
            y_w: Tensor = encode_w(x.mean(dim=2)).sigmoid()  # (B, C, W)
            out = out * y_w.unsqueeze(2)
        return out


def _strip_encoder(channels: int, fitted: ELAConfig) -> nn.Sequential:
    """Return G_n(F(.)) of Eqs. 7-8: (B, C, L) to (B, C, L)."""
    return nn.Sequential(_convolution(channels, fitted), _norm(channels, fitted))


def _convolution(channels: int, fitted: ELAConfig) -> nn.Module:
    if not fitted.conv:
        return nn.Identity()
    assert isinstance(fitted.groups, int)
    return nn.Conv1d(
        channels,
        channels,
        fitted.kernel_size,
        padding=fitted.kernel_size // 2,
        groups=fitted.groups,
        bias=False,
    )


def _norm(channels: int, fitted: ELAConfig) -> nn.Module:
    match fitted.norm:
        case "gn":
            return nn.GroupNorm(fitted.num_groups, channels)
        case "bn":
            return nn.BatchNorm1d(channels)
        case "none":
            return nn.Identity()
