"""Layers that the one-stage detectors share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def conv_bn_act(
    inputs: int,
    outputs: int,
    kernel_size: int,
    stride: int = 1,
    *,
    padding: int | None = None,
    groups: int = 1,
) -> nn.Sequential:
    """Return convolution, batch norm and SiLU, as in YOLOv5 and YOLOX; H and W divided by stride.

    The norm's eps and momentum are those that both families set for the whole model.
    """
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel_size,
            stride,
            kernel_size // 2 if padding is None else padding,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.SiLU(inplace=True),
    )


class Concat(nn.Module):
    """Feature maps side by side, as a module, so that attention can follow it."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)


Spatial = Callable[[int, int, int], nn.Module]
"""(channels in, channels out, kernel size) to what a bottleneck mixes neighbours with."""


class Bottleneck(nn.Module):
    """(B, C, H, W) to the same shape: 1x1, 3x3, and the input added to it."""

    def __init__(self, channels: int, spatial: Spatial, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = conv_bn_act(channels, channels, 1)
        self.conv2 = spatial(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPBlock(nn.Module):
    """Cross-stage partial block: half of the channels through bottlenecks, half beside them."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, spatial: Spatial, *, shortcut: bool
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = conv_bn_act(inputs, hidden, 1)
        self.conv2 = conv_bn_act(inputs, hidden, 1)
        self.blocks = nn.Sequential(
            *(Bottleneck(hidden, spatial, shortcut=shortcut) for _ in range(blocks))
        )
        self.conv3 = conv_bn_act(2 * hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.conv3(torch.cat([self.blocks(self.conv1(x)), self.conv2(x)], dim=1))
        return merged
