"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381), torchvision's.

The CIFAR stem gives the first convolution and the first strided block a stride of 1, so that a
32x32 image is divided by 8 and not by 32.
"""

from __future__ import annotations

from torch import nn

from sweep.models.base import Backbone, Sites, Stem
from sweep.registry import BACKBONES

BLOCKS_PER_STAGE = (1, 2, 3, 4, 3, 3, 1)  # Table 2 of its paper, column n


def build_mobilenet_v2(num_classes: int, stem: Stem) -> nn.Module:
    """Return torchvision's MobileNetV2 1.0, with the stem asked for."""
    from torchvision.models import mobilenet_v2

    model: nn.Module = mobilenet_v2(weights=None, num_classes=num_classes)
    if stem == "cifar":
        for strided in ("features.0.0", "features.2.conv.1.0"):
            convolution = model.get_submodule(strided)
            assert isinstance(convolution, nn.Conv2d)
            convolution.stride = (1, 1)
    return model


def mobilenet_v2_sites(model: nn.Module) -> Sites:
    """Return the sites of torchvision's MobileNetV2; "hidden" only where a block expands."""
    hidden, last_bn, stage = [], [], []
    index = 0
    for blocks in BLOCKS_PER_STAGE:
        for _ in range(blocks):
            index += 1
            layers = len(list(model.get_submodule(f"features.{index}.conv").children()))
            last_bn.append(f"features.{index}.conv.{layers - 1}")
            if layers == 4:  # expansion, depthwise, projection, batch norm
                hidden.append(f"features.{index}.conv.1")
        stage.append(f"features.{index}")
    return {
        "stem": ("features.0",),
        "stage": tuple(stage),
        "block_last_bn": tuple(last_bn),
        "hidden": tuple(hidden),
    }


def mobilenet_v2_stage_ends(model: nn.Module) -> tuple[str, ...]:
    """Return the last block of every stage, and the last convolution.

    That one, features.18, and not the block before it is what pooling and classifier see, as they
    see the last block of a ResNet.
    """
    return (*mobilenet_v2_sites(model)["stage"], "features.18")


BACKBONES.register("mobilenet_v2")(
    Backbone(
        build=build_mobilenet_v2,
        sites=mobilenet_v2_sites,
        default_placement="hidden",
        stage_ends=mobilenet_v2_stage_ends,
    )
)
