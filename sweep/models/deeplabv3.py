"""DeepLabV3: Rethinking Atrous Convolution for Semantic Image Segmentation (arXiv:1706.05587).

torchvision's parts at an output stride of 16, as ELA's Table 8 has it: the last stage of ResNet-50
is dilated instead of strided, and the atrous rates are 6, 12 and 18 (torchvision's own
deeplabv3_resnet50 has an output stride of 8 and twice these rates; the parameters are the same).
No auxiliary classifier.

    images  (B, 3, H, W)
    layer4  (B, 2048, H/16, W/16)
    ASPP    (B, 256, H/16, W/16)
    logits  (B, num_classes, H, W)   bilinear, as in training and evaluation of the paper
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from sweep.models.base import Backbone, Sites, Stem
from sweep.models.resnet import resnet_sites
from sweep.registry import BACKBONES

if TYPE_CHECKING:
    from torchvision.models._utils import IntermediateLayerGetter

ATROUS_RATES = (6, 12, 18)  # section 4.1, output stride 16
FEATURES = 2048
"""Channels of ResNet-50's last stage."""


class DeepLabV3(nn.Module):
    """Dilated ResNet, ASPP head; (B, 3, H, W) to logits (B, num_classes, H, W)."""

    def __init__(self, backbone: IntermediateLayerGetter, num_classes: int) -> None:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead

        super().__init__()
        self.backbone = backbone
        self.classifier = DeepLabHead(FEATURES, num_classes, ATROUS_RATES)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.classifier(self.backbone(images)["out"])
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def build_deeplabv3(num_classes: int, _stem: Stem) -> nn.Module:
    """Return DeepLabV3 on ResNet-50; its weights are torch's defaults, ResNet's are torchvision's.

    The papers start from ResNet-50's weights for ImageNet: ``weights: IMAGENET1K_V1``.
    """
    from torchvision.models import resnet50
    from torchvision.models._utils import IntermediateLayerGetter

    resnet = resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
    return DeepLabV3(IntermediateLayerGetter(resnet, {"layer4": "out"}), num_classes)


def deeplabv3_sites(model: nn.Module) -> Sites:
    """Return ResNet's sites, inside the model, and the output of ASPP."""
    inside = resnet_sites(model.get_submodule("backbone"))
    return {
        **{kind: tuple(f"backbone.{site}" for site in sites) for kind, sites in inside.items()},
        "aspp": ("classifier.0",),
    }


BACKBONES.register("deeplabv3_resnet50")(
    Backbone(
        build=build_deeplabv3,
        sites=deeplabv3_sites,
        default_placement="conv2",
        policies={"aspp": ("aspp",)},
        task="segmentation",
        stems=("imagenet",),
        pretrained=("resnet50", "backbone"),
    )
)
