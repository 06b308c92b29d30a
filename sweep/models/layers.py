"""Layers that the one-stage detectors share."""

from __future__ import annotations

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
