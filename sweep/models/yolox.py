"""YOLOX-Nano: YOLOX: Exceeding YOLO Series in 2021 (arXiv:2107.08430).

Depth 0.33, width 0.25, depthwise convolutions. Below k = num_classes.

    images     (B, 3, H, W)
    features   (B, 64, H/8, W/8), (B, 128, H/16, W/16), (B, 256, H/32, W/32)     CSPDarknet
    neck       the same shapes                                                    PAFPN
    maps       (B, 5 + k, H/s, W/s) at the strides s of 8, 16 and 32              decoupled head

The channels of a map are the box (centre relative to its cell and log of its size, in strides),
the logit of there being an object, and the logits of the classes; what they are trained on and what
they detect is in yolox_maps.py.

ELA adds attention "only after the backbone of YOLOX-Nano and after the feature fusion layer in the
neck": at the three features as they leave for the neck, and at the neck's four concatenations,
which is what the counts of its Tables 3 and 7 have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sweep.models.base import Backbone, Sites, Stem
from sweep.models.layers import Concat, CSPBlock, conv_bn_act
from sweep.models.yolox_maps import YOLOXMaps
from sweep.registry import BACKBONES

STEM_WIDTH = 16  # 64 at width 1
BLOCKS = (1, 3, 3, 1)  # bottlenecks of dark2 to dark5: 3, 9, 9 and 3 at depth 1
POOLS = (5, 9, 13)
PRIOR = 0.01
"""Probability of an object and of a class that the head starts with."""


def separable(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, each with norm and activation."""
    return nn.Sequential(
        conv_bn_act(inputs, inputs, kernel_size, stride, groups=inputs),
        conv_bn_act(inputs, outputs, 1),
    )


class CSPLayer(CSPBlock):
    """Cross-stage partial block with separable 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, shortcut: bool = True) -> None:
        super().__init__(inputs, outputs, blocks, separable, shortcut=shortcut)


class SpatialPyramid(nn.Module):
    """Max-pools of several sizes side by side; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = conv_bn_act(channels, hidden, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in POOLS)
        self.conv2 = conv_bn_act(hidden * (len(POOLS) + 1), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled: Tensor = self.conv2(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))
        return pooled


class CSPDarknet(nn.Module):
    """Images to features of three strides."""

    def __init__(self) -> None:
        super().__init__()
        c = STEM_WIDTH
        self.focus = nn.PixelUnshuffle(2)  # (B, 3, H, W) to (B, 12, H/2, W/2)
        self.stem = conv_bn_act(12, c, 3)
        self.dark2 = self._stage(c, BLOCKS[0])
        self.dark3 = self._stage(2 * c, BLOCKS[1])
        self.dark4 = self._stage(4 * c, BLOCKS[2])
        self.dark5 = nn.Sequential(
            separable(8 * c, 16 * c, 3, stride=2),
            SpatialPyramid(16 * c),
            CSPLayer(16 * c, 16 * c, BLOCKS[3], shortcut=False),
        )

    @staticmethod
    def _stage(inputs: int, blocks: int) -> nn.Sequential:
        outputs = 2 * inputs
        return nn.Sequential(
            separable(inputs, outputs, 3, stride=2), CSPLayer(outputs, outputs, blocks)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3 = self.dark3(self.dark2(self.stem(self.focus(images))))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)


class PAFPN(nn.Module):
    """Path aggregation: features from coarse to fine, and back; the same shapes out as in."""

    def __init__(self) -> None:
        super().__init__()
        c3, c4, c5 = (STEM_WIDTH * m for m in (4, 8, 16))
        self.upsample = nn.Upsample(scale_factor=2)
        self.lateral5 = conv_bn_act(c5, c4, 1)
        self.concat_top_down4 = Concat()
        self.top_down4 = CSPLayer(2 * c4, c4, 1, shortcut=False)
        self.lateral4 = conv_bn_act(c4, c3, 1)
        self.concat_top_down3 = Concat()
        self.top_down3 = CSPLayer(2 * c3, c3, 1, shortcut=False)
        self.down3 = separable(c3, c3, 3, stride=2)
        self.concat_bottom_up4 = Concat()
        self.bottom_up4 = CSPLayer(2 * c3, c4, 1, shortcut=False)
        self.down4 = separable(c4, c4, 3, stride=2)
        self.concat_bottom_up5 = Concat()
        self.bottom_up5 = CSPLayer(2 * c4, c5, 1, shortcut=False)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        l5 = self.lateral5(c5)
        t4 = self.top_down4(self.concat_top_down4(self.upsample(l5), c4))
        l4 = self.lateral4(t4)
        p3 = self.top_down3(self.concat_top_down3(self.upsample(l4), c3))
        p4 = self.bottom_up4(self.concat_bottom_up4(self.down3(p3), l4))
        p5 = self.bottom_up5(self.concat_bottom_up5(self.down4(p4), l5))
        return p3, p4, p5


class DecoupledHead(nn.Module):
    """One level's features (B, C, H, W) to its map (B, 5 + num_classes, H, W)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        hidden = 4 * STEM_WIDTH
        self.stem = conv_bn_act(inputs, hidden, 1)
        self.classify = nn.Sequential(separable(hidden, hidden, 3), separable(hidden, hidden, 3))
        self.locate = nn.Sequential(separable(hidden, hidden, 3), separable(hidden, hidden, 3))
        self.classes = nn.Conv2d(hidden, num_classes, 1)
        self.box = nn.Conv2d(hidden, 4, 1)
        self.objectness = nn.Conv2d(hidden, 1, 1)
        for prior in (self.classes, self.objectness):
            assert prior.bias is not None
            nn.init.constant_(prior.bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        located = self.locate(x)
        return torch.cat(
            [self.box(located), self.objectness(located), self.classes(self.classify(x))], dim=1
        )


class YOLOX(nn.Module):
    """Images (B, 3, H, W), H and W multiples of 32, to one map per stride."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = CSPDarknet()
        # Where features leave for the neck: attention here does not change the later stages.
        self.features = nn.ModuleDict({f"dark{i}": nn.Identity() for i in (3, 4, 5)})
        self.neck = PAFPN()
        self.heads = nn.ModuleList(DecoupledHead(STEM_WIDTH * m, num_classes) for m in (4, 8, 16))

    def forward(self, images: Tensor) -> YOLOXMaps:
        stages = self.backbone(images)
        features = [tap(stage) for tap, stage in zip(self.features.values(), stages, strict=True)]
        levels = self.neck(*features)
        return YOLOXMaps(head(level) for head, level in zip(self.heads, levels, strict=True))


def build_yolox_nano(num_classes: int, _stem: Stem) -> nn.Module:
    """Return YOLOX-Nano; convolutions start as in torch (He's uniform), biases at the priors."""
    return YOLOX(num_classes)


def yolox_sites(_model: nn.Module) -> Sites:
    """Return the features that leave the backbone, and what the neck fuses."""
    return {
        "feature": tuple(f"features.dark{i}" for i in (3, 4, 5)),
        "concat": tuple(
            f"neck.concat_{name}" for name in ("top_down4", "top_down3", "bottom_up4", "bottom_up5")
        ),
    }


BACKBONES.register("yolox_nano")(
    Backbone(
        build=build_yolox_nano,
        sites=yolox_sites,
        default_placement="yolox7",
        policies={
            "yolox7": ("feature", "concat"),  # ELA Tables 3 and 7
            "yolox_features": ("feature",),  # ELA-S in Table 7
            "yolox_concats": ("concat",),
        },
        task="detection",
        stems=("imagenet",),
        stride=32,
    )
)
