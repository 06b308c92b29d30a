"""ResNet: Deep Residual Learning for Image Recognition (arXiv:1512.03385), torchvision's.

The CIFAR stem is the one of the EMA paper's ResNet-50/101 (NAM's code): a 3x3 convolution of
stride 1, and no max-pool; 64 channels as in the ImageNet stem.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from sweep.models.base import Backbone, Sites, Stem
from sweep.registry import BACKBONES

STAGES = ("layer1", "layer2", "layer3", "layer4")


def build_resnet(depth: int, num_classes: int, stem: Stem) -> nn.Module:
    """Return torchvision's ResNet of 18, 50 or 101 layers, with the stem asked for."""
    from torchvision.models import get_model

    model: nn.Module = get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


def resnet_sites(model: nn.Module) -> Sites:
    """Return the sites of a torchvision ResNet; "conv2" only where blocks are bottlenecks."""
    blocks = [f"{stage}.{name}" for stage in STAGES for name, _ in _children(model, stage)]
    bottleneck = hasattr(model.get_submodule(blocks[0]), "conv3")
    last_bn = "bn3" if bottleneck else "bn2"
    return {
        "stem": ("relu",),  # before the max-pool: so fit the GFLOPs of ELA's Table 5
        "stage": STAGES,
        "block_last_bn": tuple(f"{block}.{last_bn}" for block in blocks),
        "conv2": tuple(f"{block}.conv2" for block in blocks) if bottleneck else (),
    }


def resnet_stage_ends(model: nn.Module) -> tuple[str, ...]:
    """Return the last block of every stage; of ResNet-50 the last one is the paper's layer4.2."""
    return tuple(f"{stage}.{_children(model, stage)[-1][0]}" for stage in STAGES)


def _children(model: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    return list(model.get_submodule(name).named_children())


for _depth, _placement in {18: "stage3", 50: "stem_stage", 101: "stem_stage"}.items():
    BACKBONES.register(f"resnet{_depth}")(
        Backbone(
            build=partial(build_resnet, _depth),
            sites=resnet_sites,
            default_placement=_placement,
            stage_ends=resnet_stage_ends,
        )
    )
