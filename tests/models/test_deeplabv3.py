"""DeepLabV3 is torchvision's, at an output stride of 16: parameters, outputs, sites, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.segmentation import deeplabv3_resnet50

from sweep import build_model
from sweep.models.placement import policies_of, policy_sites, site_shapes
from sweep.profiling.cost import count_macs
from sweep.registry import BACKBONES

NAME = "deeplabv3_resnet50"


def at_stride_16(num_classes: int) -> Any:
    """torchvision's model, rebuilt: it has strides and rates for an output stride of 8."""
    torch.manual_seed(7)
    model = deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False
    ).eval()
    first, *rest = model.backbone.layer3
    for convolution in (first.conv2, first.downsample[0]):
        convolution.stride = (2, 2)
    for block in (first, *rest):
        block.conv2.dilation = block.conv2.padding = (1, 1)
    # A dilated stage of torchvision starts with the dilation of the stage before.
    first, *rest = model.backbone.layer4
    first.conv2.dilation = first.conv2.padding = (1, 1)
    for block in rest:
        block.conv2.dilation = block.conv2.padding = (2, 2)
    for branch in model.classifier[0].convs:
        if hasattr(branch[0], "dilation") and branch[0].kernel_size == (3, 3):
            rate = tuple(r // 2 for r in branch[0].dilation)
            branch[0].dilation = branch[0].padding = rate
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return model


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_those_of_torchvision_and_of_the_paper() -> None:
    with torch.device("meta"):
        ours = parameters(build_model(NAME, num_classes=21))
        theirs = deeplabv3_resnet50(
            weights=None, weights_backbone=None, num_classes=21, aux_loss=False
        )
    assert ours == parameters(theirs) == 39_638_869  # 39.639 M in ELA's Table 8


@torch.no_grad()
def test_with_the_weights_of_torchvision_the_outputs_are_its_outputs() -> None:
    theirs = at_stride_16(5)
    ours = build_model(NAME, num_classes=5).eval()
    x = torch.randn(2, 3, 64, 96)
    assert not torch.allclose(ours(x), theirs(x)["out"])
    assert ours.load_backbone(theirs.state_dict()) == []
    assert ours(x).shape == (2, 5, 64, 96)
    torch.testing.assert_close(ours(x), theirs(x)["out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 65), (50, 100)])
def test_logits_have_the_size_of_the_image(height: int, width: int) -> None:
    with torch.device("meta"):
        model = build_model(NAME, num_classes=4)
        assert model(torch.empty(2, 3, height, width)).shape == (2, 4, height, width)


def test_the_features_are_at_a_stride_of_16() -> None:
    shapes = site_shapes(NAME, "imagenet", ("backbone.layer4", "classifier.0"), 96)
    assert [(s.channels, s.height, s.width) for s in shapes] == [(2048, 6, 6), (256, 6, 6)]


def test_macs_do_not_need_values() -> None:
    model = build_model(NAME, num_classes=4)
    with torch.device("meta"):
        assert count_macs(build_model(NAME, num_classes=4), 64) == count_macs(model, 64) > 0


def test_the_papers_sites_are_the_3x3_convolutions_of_all_blocks() -> None:
    sites = policy_sites(NAME, BACKBONES[NAME].default_placement)
    blocks = {1: 3, 2: 4, 3: 6, 4: 3}
    assert list(sites) == [
        f"backbone.layer{stage}.{block}.conv2"
        for stage, count in blocks.items()
        for block in range(count)
    ]
    channels = [shape.channels for shape in site_shapes(NAME, "imagenet", sites, 64)]
    assert channels == [*[64] * 3, *[128] * 4, *[256] * 6, *[512] * 3]


def test_policies() -> None:
    assert policies_of(NAME) == ["stage3", "stem_stage", "block_last_bn", "conv2", "aspp"]
    assert policy_sites(NAME, "aspp") == ("classifier.0",)


@torch.no_grad()
def test_weights_of_torchvisions_resnet_fit_the_backbone() -> None:
    torch.manual_seed(7)
    theirs = resnet50(weights=None)
    ours = build_model(NAME, "ela", num_classes=4)
    model, part = BACKBONES[NAME].pretrained or ("", "")
    assert model == "resnet50"
    head = ours.backbone.classifier[4].weight.clone()
    assert ours.load_backbone(theirs.state_dict(), part) == []
    own = ours.backbone.backbone.state_dict()
    assert len(own) == len(theirs.state_dict()) - 2  # all but the classifier's
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in own.items())
    assert torch.equal(ours.backbone.classifier[4].weight, head)


@pytest.mark.parametrize("attention", ["none", "ela", "sa"])
def test_gradient_reaches_every_parameter(attention: str) -> None:
    torch.manual_seed(0)
    hyperparameters = {"groups": 4} if attention == "sa" else {}
    model = build_model(NAME, {"name": attention, **hyperparameters}, num_classes=3).train()
    with torch.no_grad():  # SA's start at zero, and stop the gradient of what they multiply
        for parameter in model.attention.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    logits: Tensor = model(torch.randn(2, 3, 64, 96))
    targets = torch.randint(3, (2, 64, 96))
    targets[:, :8] = 255
    nn.functional.cross_entropy(logits, targets, ignore_index=255).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
