"""YOLOv5 v6.0, size s; and size x with a fourth head for tiny objects (TPH-YOLOv5's P2).

G. Jocher et al., YOLOv5 v6.0 (2021), which has no paper: its published architecture and constants,
none of its code. X. Zhu et al., TPH-YOLOv5 (arXiv:2108.11539), for the extra head. Below
k = num_classes; widths are those of size l, which ``width`` scales.

    images    (B, 3, H, W)
    features  C2 (B, 128, H/4, W/4), C3 (B, 256, H/8, W/8), C4 (B, 512, ...), C5 (B, 1024, ...)
    neck      the finest levels first: P3 to P5, or P2 to P5
    maps      (B, 3 (5 + k), H/s, W/s) at the strides s of 8, 16 and 32, or also of 4

The channels of a map are, for each of three anchors, box, logit of there being an object, and
logits of the classes; what they are trained on and what they detect is in yolov5_maps.py.

EMA's Table 2 has attention after the last two C3 blocks of the backbone of size s, and after the
C3 blocks of the neck of size x but the last. The published neck with attention has one connection
more than a re-indexing of the plain one: where that concatenates a lateral convolution (320
channels), it concatenates the block before it (640). Both are here: their parameters differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sweep.models.base import Backbone, Sites, Stem
from sweep.models.layers import Concat, CSPBlock, conv_bn_act
from sweep.models.yolov5_maps import YOLOv5Maps
from sweep.registry import BACKBONES

ANCHORS = 3
OBJECTS_PER_IMAGE, IMAGE_SIDE, CLASS_PRIOR = 8, 640, 0.6
"""What the biases of the head start from: 8 objects in an image of 640 pixels, and a class shared
equally at this probability."""


class Size(NamedTuple):
    """How deep and how wide, relative to size l."""

    depth: float
    width: float

    def blocks(self, count: int) -> int:
        return max(round(count * self.depth), 1)

    def channels(self, count: int) -> int:
        return math.ceil(count * self.width / 8) * 8


SMALL, EXTRA = Size(0.33, 0.50), Size(1.33, 1.25)

Version = Literal["5.0", "6.0"]
BLOCKS: Mapping[Version, tuple[int, ...]] = {"5.0": (3, 9, 9, 3), "6.0": (3, 6, 9, 3)}
"""Bottlenecks of the backbone's C3 blocks, at size l."""


class C3(CSPBlock):
    """Cross-stage partial block with plain 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, shortcut: bool) -> None:
        super().__init__(inputs, outputs, blocks, conv_bn_act, shortcut=shortcut)


class FastPyramid(nn.Module):
    """SPPF: one max-pool of 5, thrice in a row; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_bn_act(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.conv2 = conv_bn_act(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.conv1(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        pooled: Tensor = self.conv2(torch.cat(maps, dim=1))
        return pooled


class CSPDarknet(nn.Module):
    """Images to the features of strides 4, 8, 16 and 32.

    Args:
        size: depth and width.
        version: 6.0 has the pyramid after its last block, 5.0 before it, and more blocks. Its
            stem (a rearrangement of pixels and a 3x3 convolution) and pyramid compute the same as
            those of 6.0.
    """

    def __init__(self, size: Size, version: Version) -> None:
        super().__init__()
        widths = [size.channels(c) for c in (64, 128, 256, 512, 1024)]
        depths = [size.blocks(n) for n in BLOCKS[version]]
        self.pyramid_last = version == "6.0"
        self.stem = conv_bn_act(3, widths[0], 6, 2, padding=2)
        for level, depth in enumerate(depths, start=2):
            inputs, outputs = widths[level - 2], widths[level - 1]
            shortcut = level < 5 or self.pyramid_last
            self.add_module(f"down{level}", conv_bn_act(inputs, outputs, 3, 2))
            self.add_module(f"c{level}", C3(outputs, outputs, depth, shortcut=shortcut))
        self.pyramid = FastPyramid(widths[-1])

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        features = []
        for level in (2, 3, 4):
            x = self._block(level, self._down(level, x))
            features.append(x)
        x = self._down(5, x)
        x = (
            self.pyramid(self._block(5, x))
            if self.pyramid_last
            else self._block(5, self.pyramid(x))
        )
        return [*features, x]

    def _down(self, level: int, x: Tensor) -> Tensor:
        halved: Tensor = self.get_submodule(f"down{level}")(x)
        return halved

    def _block(self, level: int, x: Tensor) -> Tensor:
        features: Tensor = self.get_submodule(f"c{level}")(x)
        return features


class Neck(nn.Module):
    """Path aggregation: features from coarse to fine, and back.

    Args:
        size: depth and width.
        finest: level of the finest map, 3 or 2.
        wide: the way back takes up the blocks before the lateral convolutions of the levels
            between, which are wider at level 4, in place of these convolutions.
    """

    def __init__(self, size: Size, *, finest: int, wide: bool = False) -> None:
        super().__init__()
        self.finest, self.wide = finest, wide
        depth = size.blocks(3)
        features = {level: size.channels(64 * 2 ** (level - 1)) for level in (2, 3, 4, 5)}
        widths = {level: features[max(level, 3)] for level in (2, 3, 4, 5)}
        self.widths = [widths[level] for level in range(finest, 6)]
        self.upsample = nn.Upsample(scale_factor=2)
        self.concat = Concat()
        for level in range(5, finest, -1):
            below = widths[level - 1]
            self.add_module(f"lateral{level}", conv_bn_act(widths[level], below, 1))
            fused = C3(below + features[level - 1], below, depth, shortcut=False)
            self.add_module(f"top_down{level - 1}", fused)
        for level in range(finest + 1, 6):
            below = widths[level - 1]
            beside = widths[level] if wide and level < 5 else below
            self.add_module(f"down{level}", conv_bn_act(below, below, 3, 2))
            fused = C3(below + beside, widths[level], depth, shortcut=False)
            self.add_module(f"bottom_up{level}", fused)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return maps, the finest first, of the features of strides 4, 8, 16 and 32."""
        x = features[-1]
        beside: dict[int, Tensor] = {}
        for level in range(5, self.finest, -1):
            if self.wide and level < 5:
                beside[level] = x
            x = self.get_submodule(f"lateral{level}")(x)
            beside.setdefault(level, x)
            x = self.concat(self.upsample(x), features[level - 3])
            x = self.get_submodule(f"top_down{level - 1}")(x)
        maps = [x]
        for level in range(self.finest + 1, 6):
            x = self.concat(self.get_submodule(f"down{level}")(x), beside[level])
            x = self.get_submodule(f"bottom_up{level}")(x)
            maps.append(x)
        return maps


class YOLOv5(nn.Module):
    """Images (B, 3, H, W), H and W multiples of 32, to one map per stride.

    Args:
        size: depth and width.
        num_classes: of a box.
        version: of the backbone.
        finest: level of the finest map, 3 (stride 8) or 2 (stride 4).
        wide: see ``Neck``.
    """

    def __init__(
        self, size: Size, num_classes: int, version: Version, *, finest: int, wide: bool = False
    ) -> None:
        super().__init__()
        self.backbone = CSPDarknet(size, version)
        self.neck = Neck(size, finest=finest, wide=wide)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, ANCHORS * (5 + num_classes), 1) for width in self.neck.widths
        )
        self._start_from_priors(num_classes)

    def _start_from_priors(self, num_classes: int) -> None:
        """Let the head's first guess be a few objects in an image, of any class."""
        for level, head in enumerate(self.heads, start=self.neck.finest):
            cells = (IMAGE_SIDE / 2**level) ** 2
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            with torch.no_grad():
                bias = head.bias.view(ANCHORS, -1)
                bias[:, 4] += math.log(OBJECTS_PER_IMAGE / cells)
                bias[:, 5:] += math.log(CLASS_PRIOR / (num_classes - 0.99))

    def forward(self, images: Tensor) -> YOLOv5Maps:
        maps = self.neck(self.backbone(images))
        return YOLOv5Maps(head(level) for head, level in zip(self.heads, maps, strict=True))


def build_yolov5s(num_classes: int, _stem: Stem) -> nn.Module:
    """Return YOLOv5s v6.0."""
    return YOLOv5(SMALL, num_classes, "6.0", finest=3)


def build_yolov5x_p2(num_classes: int, _stem: Stem, *, wide: bool) -> nn.Module:
    """Return YOLOv5x with a map of stride 4, on the backbone of v5.0 as in TPH-YOLOv5."""
    return YOLOv5(EXTRA, num_classes, "5.0", finest=2, wide=wide)


def yolov5_sites(model: nn.Module) -> Sites:
    """Return the C3 blocks: of the backbone the first and the last two, of the neck the last."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, C3)]
    neck = [name for name in blocks if name.startswith("neck.")]
    return {
        "early_c3": ("backbone.c2", "backbone.c3"),
        "late_c3": ("backbone.c4", "backbone.c5"),
        "neck_c3": tuple(neck[:-1]),
        "last_neck_c3": (neck[-1],),
    }


POLICIES = {
    "yolov5_backbone": ("late_c3",),  # EMA Table 2, size s
    "yolov5_neck": ("neck_c3",),  # EMA Table 2, size x with P2
    "yolov5_whole_neck": ("neck_c3", "last_neck_c3"),
}

_detector = partial(
    Backbone,
    sites=yolov5_sites,
    policies=POLICIES,
    task="detection",
    stems=("imagenet",),
    stride=32,
)
BACKBONES.register("yolov5s")(_detector(build=build_yolov5s, default_placement="yolov5_backbone"))
BACKBONES.register("yolov5x_p2")(
    _detector(build=partial(build_yolov5x_p2, wide=False), default_placement="yolov5_neck")
)
BACKBONES.register("yolov5x_p2_wide")(
    _detector(build=partial(build_yolov5x_p2, wide=True), default_placement="yolov5_neck")
)
