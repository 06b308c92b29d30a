"""Unmodified classifiers are torchvision's: same parameters, same outputs, same names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from sweep import build_model
from sweep.models.placement import site_shapes
from sweep.registry import ATTENTION, BACKBONES

NAMES = ["mobilenet_v2", "resnet101", "resnet18", "resnet50"]

STEM_CHANGES = {
    # A 3x3 kernel in place of the 7x7 one, 3 channels to 64.
    "resnet18": 64 * 3 * (3 * 3 - 7 * 7),
    "resnet50": 64 * 3 * (3 * 3 - 7 * 7),
    "resnet101": 64 * 3 * (3 * 3 - 7 * 7),
    "mobilenet_v2": 0,
}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def torchvision_model(name: str, num_classes: int = 1000) -> Any:
    """torchvision's own, in eval mode, with running statistics that are not the initial ones."""
    torch.manual_seed(7)
    model = get_model(name, weights=None, num_classes=num_classes).eval()
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return model


def images(size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((batch, 3, size, size), generator=generator)


def test_the_registered_backbones() -> None:
    known = {name: BACKBONES[name].task for name in BACKBONES.names()}
    assert [name for name, task in known.items() if task == "classification"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_that_torchvision_documents(name: str) -> None:
    documented = get_model_weights(name)["IMAGENET1K_V1"].meta["num_params"]
    with torch.device("meta"):
        assert parameters(build_model(name)) == documented
        cifar = build_model(name, stem="cifar")
    assert parameters(cifar) == documented + STEM_CHANGES[name]


@pytest.mark.parametrize("name", NAMES)
def test_with_the_weights_of_torchvision_the_outputs_are_its_outputs(name: str) -> None:
    theirs = torchvision_model(name)
    ours = build_model(name).eval()
    x = images(64)
    assert not torch.equal(ours(x), theirs(x))
    assert ours.load_backbone(theirs.state_dict()) == []
    assert torch.equal(ours(x), theirs(x))


def test_the_classifier_of_another_data_set_keeps_its_own_weights() -> None:
    theirs = torchvision_model("resnet18")
    ours = build_model("resnet18", "eca", num_classes=10)
    head = ours.backbone.fc.weight.clone()
    assert ours.load_backbone(theirs.state_dict()) == ["fc.weight", "fc.bias"]
    assert torch.equal(ours.backbone.fc.weight, head)
    assert torch.equal(ours.backbone.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


def test_the_cifar_stem_keeps_its_own_weights() -> None:
    ours = build_model("resnet18", stem="cifar")
    assert ours.load_backbone(torchvision_model("resnet18").state_dict()) == ["conv1.weight"]
    assert ours.backbone.conv1.weight.shape == (64, 3, 3, 3)


def test_weights_of_another_architecture_are_refused() -> None:
    state = torchvision_model("resnet18").state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key.*layer1\.0\.conv3\.weight"):
        build_model("resnet50").load_backbone(state)
    del state["layer2.0.conv1.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*layer2\.0\.conv1\.weight"):
        build_model("resnet18").load_backbone(state)


@pytest.mark.parametrize(
    ("name", "stem", "sites", "sides"),
    [
        ("resnet18", "imagenet", ["maxpool", "layer1", "layer2", "layer3", "layer4"], [8, 8, 4]),
        ("resnet18", "cifar", ["maxpool", "layer1", "layer2", "layer3", "layer4"], [32, 32, 16]),
        ("resnet50", "cifar", ["maxpool", "layer1", "layer2", "layer3", "layer4"], [32, 32, 16]),
        (
            "mobilenet_v2",
            "imagenet",
            ["features.0", "features.3", "features.6", "features.13", "features.17"],
            [16, 8, 4],
        ),
        (
            "mobilenet_v2",
            "cifar",
            ["features.0", "features.3", "features.6", "features.13", "features.17"],
            [32, 32, 16],
        ),
    ],
)
def test_resolution_at_the_stages_of_a_32x32_image(
    name: str, stem: Any, sites: list[str], sides: list[int]
) -> None:
    # Every later stage that follows halves it again.
    expected = [*sides, sides[2] // 2, sides[2] // 4]
    shapes = site_shapes(name, stem, tuple(sites), 32)
    assert [(shape.height, shape.width) for shape in shapes] == [(s, s) for s in expected]


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_seed_gives_the_same_backbone_whatever_the_attention(name: str, stem: Any) -> None:
    def backbone(attention: str) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = build_model(name, attention, stem=stem, num_classes=10, on_indivisible="nearest")
        assert (len(model.attention) > 0) == (attention != "none")
        weights: dict[str, Tensor] = model.backbone.state_dict()
        return weights

    baseline = backbone("none")
    for attention in ("ela", "ca"):
        other = backbone(attention)
        assert list(other) == list(baseline)
        assert all(torch.equal(other[key], value) for key, value in baseline.items())


def test_attention_is_drawn_alike_whether_or_not_the_shapes_are_known_already() -> None:
    def weights() -> dict[str, Tensor]:
        torch.manual_seed(3)
        state: dict[str, Tensor] = build_model("resnet18", "ca").attention.state_dict()
        return state

    site_shapes.cache_clear()
    first, again = weights(), weights()
    assert site_shapes.cache_info().hits > 0
    assert all(torch.equal(again[key], value) for key, value in first.items())


@pytest.mark.parametrize("attention", ATTENTION.names())
@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str, attention: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, attention, num_classes=10, on_indivisible="nearest").train()
    with torch.no_grad():  # some start at zero (SA's), and stop the gradient of what they multiply
        for parameter in model.attention.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    out = model(images(64))
    nn.functional.cross_entropy(out, torch.tensor([3, 7])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name
