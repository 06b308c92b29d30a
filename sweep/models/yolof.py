"""YOLOF: You Only Look One-level Feature (arXiv:2103.09460), on ResNet-50's C5.

One feature map, a dilated encoder, a decoder with implicit objectness. Below k = num_classes, and
A = 5 anchors per cell, squares of 32 to 512 pixels.

    images   (B, 3, H, W)
    C5       (B, 2048, H/32, W/32)   ResNet-50 with frozen batch norm
    P5       (B, 512, H/32, W/32)    projector (1x1, 3x3), four residual blocks of dilation 2 to 8
    classes  (B, A k, H/32, W/32)    logits, of class and object together
    boxes    (B, 4 A, H/32, W/32)    offsets of the anchors

What these are trained on and what they detect is in yolof_maps.py.

The frozen norms have no parameters, and mean what they should only with ResNet's trained weights:
``weights: IMAGENET1K_V1``. ELA's section 4.3 adds five attention modules: "at the output of the
backbone network, after the projecter of the Encoder, and after its first three Residual Blocks".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sweep.models.base import Backbone, Sites, Stem
from sweep.models.yolof_maps import SIDES, YOLOFMaps
from sweep.registry import BACKBONES

FEATURES, WIDTH, SQUEEZED = 2048, 512, 128
DILATIONS = (2, 4, 6, 8)
ANCHORS = len(SIDES)
CLASS_LAYERS, BOX_LAYERS = 2, 4
PRIOR = 0.01
"""Probability of an object that the decoder starts with."""


def conv_norm(inputs: int, outputs: int, kernel_size: int, dilation: int = 1) -> nn.Sequential:
    """Return a convolution, with bias as published, and batch norm; H and W are kept."""
    padding = dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, padding=padding, dilation=dilation),
        nn.BatchNorm2d(outputs),
    )


class DilatedBlock(nn.Module):
    """Residual block (B, 512, h, w) to the same shape, with a dilated 3x3 convolution."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(conv_norm(WIDTH, SQUEEZED, 1), nn.ReLU(inplace=True)),
            *(conv_norm(SQUEEZED, SQUEEZED, 3, dilation), nn.ReLU(inplace=True)),
            *(conv_norm(SQUEEZED, WIDTH, 1), nn.ReLU(inplace=True)),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.residual(x)
        return x + residual


class DilatedEncoder(nn.Module):
    """C5 (B, 2048, h, w) to P5 (B, 512, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.projector = nn.Sequential(conv_norm(FEATURES, WIDTH, 1), conv_norm(WIDTH, WIDTH, 3))
        self.blocks = nn.Sequential(*(DilatedBlock(dilation) for dilation in DILATIONS))

    def forward(self, c5: Tensor) -> Tensor:
        p5: Tensor = self.blocks(self.projector(c5))
        return p5


class Decoder(nn.Module):
    """P5 (B, 512, h, w) to classes (B, A k, h, w) and boxes (B, 4 A, h, w)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.class_layers = self._layers(CLASS_LAYERS)
        self.box_layers = self._layers(BOX_LAYERS)
        self.classes = nn.Conv2d(WIDTH, ANCHORS * num_classes, 3, padding=1)
        self.boxes = nn.Conv2d(WIDTH, ANCHORS * 4, 3, padding=1)
        self.objectness = nn.Conv2d(WIDTH, ANCHORS, 3, padding=1)

    @staticmethod
    def _layers(count: int) -> nn.Sequential:
        layers = ((conv_norm(WIDTH, WIDTH, 3), nn.ReLU(inplace=True)) for _ in range(count))
        return nn.Sequential(*(layer for pair in layers for layer in pair))

    def forward(self, p5: Tensor) -> tuple[Tensor, Tensor]:
        located = self.box_layers(p5)
        classes = self.classes(self.class_layers(p5))
        return _with_object(classes, self.objectness(located)), self.boxes(located)


def _with_object(classes: Tensor, objectness: Tensor) -> Tensor:
    """Return the logit of (object and class) from both logits (Eq. in section 4.2's decoder).

    sigmoid(c) sigmoid(o) has the logit c + o - log(1 + exp(c) + exp(o)), in float32 at least.
    """
    batch, anchors, height, width = objectness.shape
    dtype = torch.promote_types(classes.dtype, torch.float32)
    c = classes.view(batch, anchors, -1, height, width).to(dtype)
    o = objectness.view(batch, anchors, 1, height, width).to(dtype)
    neither = (c.clamp(max=LARGEST).exp() + o.clamp(max=LARGEST).exp() + 1).log()
    return (c + o - neither).view_as(classes)


LARGEST = math.log(1e8)
"""Largest logit of which the odds are taken: before the exponential, which has no gradient where
it overflows."""


class YOLOF(nn.Module):
    """Images (B, 3, H, W), H and W multiples of 32, to classes and boxes."""

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoder = DilatedEncoder()
        self.decoder = Decoder(num_classes)
        self.apply_published_weights()

    def apply_published_weights(self) -> None:
        """Initialise encoder and decoder as their authors do."""
        encoder = [m for m in self.encoder.projector.modules() if isinstance(m, nn.Conv2d)]
        for convolution in encoder:
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # c2_xavier_fill of its code
        rest = [*self.encoder.blocks.modules(), *self.decoder.modules()]
        for convolution in (m for m in rest if isinstance(m, nn.Conv2d)):
            nn.init.normal_(convolution.weight, std=0.01)
        for convolution in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
        assert self.decoder.classes.bias is not None
        nn.init.constant_(self.decoder.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, images: Tensor) -> YOLOFMaps:
        classes, boxes = self.decoder(self.encoder(self.backbone(images)["out"]))
        return YOLOFMaps(classes, boxes)


def build_yolof(num_classes: int, _stem: Stem) -> nn.Module:
    """Return YOLOF on torchvision's ResNet-50."""
    from torchvision.models import resnet50
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.ops import FrozenBatchNorm2d

    resnet = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    return YOLOF(IntermediateLayerGetter(resnet, {"layer4": "out"}), num_classes)


def yolof_sites(_model: nn.Module) -> Sites:
    """Return C5, the projector's output and those of the residual blocks."""
    return {
        "c5": ("backbone.layer4",),
        "projector": ("encoder.projector",),
        "early_blocks": tuple(f"encoder.blocks.{i}" for i in range(len(DILATIONS) - 1)),
        "last_block": (f"encoder.blocks.{len(DILATIONS) - 1}",),
    }


BACKBONES.register("yolof_resnet50")(
    Backbone(
        build=build_yolof,
        sites=yolof_sites,
        default_placement="yolof5",
        policies={
            "yolof5": ("c5", "projector", "early_blocks"),  # ELA Table 6
            "yolof_encoder": ("projector", "early_blocks", "last_block"),
        },
        task="detection",
        stems=("imagenet",),
        stride=32,
        pretrained=("resnet50", "backbone"),
    )
)
