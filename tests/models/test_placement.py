"""Where attention goes: the sites by name, and that what leaves a site has passed through it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sweep import build_model
from sweep.models.placement import (
    POLICIES,
    AttentiveModel,
    check_sites,
    policies_of,
    policy_sites,
    site_shapes,
)

STAGES_50 = {1: 3, 2: 4, 3: 6, 4: 3}
"""Bottlenecks in each stage of ResNet-50."""
STAGES_101 = {1: 3, 2: 4, 3: 23, 4: 3}
MOBILENET_ENDS = [1, 3, 6, 10, 13, 16, 17]
"""Last block of each stage of MobileNetV2, Table 2 of its paper."""


def bottlenecks(stages: Mapping[int, int], module: str) -> list[str]:
    return [f"layer{s}.{b}.{module}" for s, count in stages.items() for b in range(count)]


EXPECTED: dict[tuple[str, str], list[str]] = {
    ("resnet18", "stage3"): [
        "layer1",
        "layer1.0.bn2",
        "layer1.1.bn2",
        "layer2",
        "layer2.0.bn2",
        "layer2.1.bn2",
        "layer3",
        "layer3.0.bn2",
        "layer3.1.bn2",
        "layer4",
        "layer4.0.bn2",
        "layer4.1.bn2",
    ],
    ("resnet18", "stem_stage"): ["relu", "layer1", "layer2", "layer3", "layer4"],
    ("resnet18", "block_last_bn"): [
        "layer1.0.bn2",
        "layer1.1.bn2",
        "layer2.0.bn2",
        "layer2.1.bn2",
        "layer3.0.bn2",
        "layer3.1.bn2",
        "layer4.0.bn2",
        "layer4.1.bn2",
    ],
    ("resnet50", "stem_stage"): ["relu", "layer1", "layer2", "layer3", "layer4"],
    ("resnet50", "block_last_bn"): bottlenecks(STAGES_50, "bn3"),
    ("resnet50", "conv2"): bottlenecks(STAGES_50, "conv2"),
    ("resnet50", "stage3"): sorted(
        [*bottlenecks(STAGES_50, "bn3"), *(f"layer{s}" for s in STAGES_50)]
    ),
    ("resnet101", "stage3"): sorted(
        [*bottlenecks(STAGES_101, "bn3"), *(f"layer{s}" for s in STAGES_101)],
        key=lambda site: [int(part) for part in re.findall(r"\d+", site)],
    ),
    ("resnet101", "stem_stage"): ["relu", "layer1", "layer2", "layer3", "layer4"],
    ("resnet101", "block_last_bn"): bottlenecks(STAGES_101, "bn3"),
    ("resnet101", "conv2"): bottlenecks(STAGES_101, "conv2"),
    ("mobilenet_v2", "hidden"): [f"features.{block}.conv.1" for block in range(2, 18)],
    ("mobilenet_v2", "stem_stage"): [
        "features.0",
        *(f"features.{block}" for block in MOBILENET_ENDS),
    ],
    ("mobilenet_v2", "stage3"): [
        *("features.1", "features.1.conv.2", "features.2.conv.3", "features.3"),
        *("features.3.conv.3", "features.4.conv.3", "features.5.conv.3", "features.6"),
        *("features.6.conv.3", "features.7.conv.3", "features.8.conv.3", "features.9.conv.3"),
        *("features.10", "features.10.conv.3", "features.11.conv.3", "features.12.conv.3"),
        *("features.13", "features.13.conv.3", "features.14.conv.3", "features.15.conv.3"),
        *("features.16", "features.16.conv.3", "features.17", "features.17.conv.3"),
    ],
    # The first block has no expansion, so its last norm is one place earlier.
    ("mobilenet_v2", "block_last_bn"): [
        "features.1.conv.2",
        *(f"features.{block}.conv.3" for block in range(2, 18)),
    ],
}

COUNTS = {
    "resnet18": {"stage3": 12, "stem_stage": 5, "block_last_bn": 8},
    "resnet50": {"stage3": 20, "stem_stage": 5, "block_last_bn": 16, "conv2": 16},
    "resnet101": {"stage3": 37, "stem_stage": 5, "block_last_bn": 33, "conv2": 33},
    "mobilenet_v2": {"stage3": 24, "stem_stage": 8, "block_last_bn": 17, "hidden": 16},
}

CHANNELS: dict[tuple[str, str], list[int]] = {
    ("resnet18", "stage3"): [*[64] * 3, *[128] * 3, *[256] * 3, *[512] * 3],
    ("resnet18", "stem_stage"): [64, 64, 128, 256, 512],
    ("resnet50", "stem_stage"): [64, 256, 512, 1024, 2048],
    ("resnet50", "block_last_bn"): [*[256] * 3, *[512] * 4, *[1024] * 6, *[2048] * 3],
    ("resnet50", "conv2"): [*[64] * 3, *[128] * 4, *[256] * 6, *[512] * 3],
    ("resnet101", "block_last_bn"): [*[256] * 3, *[512] * 4, *[1024] * 23, *[2048] * 3],
    ("mobilenet_v2", "hidden"): [96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3],
    ("mobilenet_v2", "stem_stage"): [32, 16, 24, 32, 64, 96, 160, 320],
    ("mobilenet_v2", "block_last_bn"): [
        *[16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320],
    ],
}


@pytest.mark.parametrize(("backbone", "policy"), EXPECTED)
def test_sites_of_a_policy(backbone: str, policy: str) -> None:
    assert list(policy_sites(backbone, policy)) == EXPECTED[backbone, policy]


@pytest.mark.parametrize("backbone", COUNTS)
def test_policies_of_a_backbone_and_the_number_of_their_sites(backbone: str) -> None:
    assert {p: len(policy_sites(backbone, p)) for p in policies_of(backbone)} == COUNTS[backbone]


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize(("backbone", "policy"), CHANNELS)
def test_channels_at_the_sites(backbone: str, policy: str, stem: Any) -> None:
    shapes = site_shapes(backbone, stem, policy_sites(backbone, policy), 64)
    assert [shape.channels for shape in shapes] == CHANNELS[backbone, policy]


def test_shapes_of_sites_are_those_of_a_real_forward_pass() -> None:
    shapes = site_shapes("resnet50", "imagenet", ("maxpool", "layer2.1.conv2", "layer4"), 96)
    assert [(s.name, s.channels, s.height, s.width) for s in shapes] == [
        ("maxpool", 64, 24, 24),
        ("layer2.1.conv2", 128, 12, 12),
        ("layer4", 2048, 3, 3),
    ]


# What passes through the sites ------------------------------------------------------------------


def resnet_by_hand(model: Any, x: Tensor, factor: Mapping[str, Tensor]) -> Tensor:
    """torchvision's ResNet written out, each site's output times its factor."""

    def at(site: str, value: Tensor) -> Tensor:
        return value * factor.get(site, 1)

    x = at("relu", F.relu(model.bn1(model.conv1(x))))
    x = at("maxpool", F.max_pool2d(x, 3, 2, 1))
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for name, block in getattr(model, stage).named_children():
            site = f"{stage}.{name}"
            shortcut = x if block.downsample is None else block.downsample(x)
            x = F.relu(at(f"{site}.bn1", block.bn1(at(f"{site}.conv1", block.conv1(x)))))
            x = at(f"{site}.bn2", block.bn2(at(f"{site}.conv2", block.conv2(x))))
            if hasattr(block, "conv3"):
                x = at(f"{site}.bn3", block.bn3(block.conv3(F.relu(x))))
            x = F.relu(x + shortcut)
        x = at(stage, x)
    out: Tensor = model.fc(x.mean(dim=(2, 3)))
    return out


def mobilenet_by_hand(model: Any, x: Tensor, factor: Mapping[str, Tensor]) -> Tensor:
    """torchvision's MobileNetV2 written out, each site's output times its factor."""

    def at(site: str, value: Tensor) -> Tensor:
        return value * factor.get(site, 1)

    for number, layer in enumerate(model.features):
        site = f"features.{number}"
        if not hasattr(layer, "conv"):  # the first convolution and the last one
            x = at(site, F.relu6(layer[1](layer[0](x))))
            continue
        y = x
        for index, part in enumerate(layer.conv):
            y = part[2](part[1](part[0](y))) if isinstance(part, nn.Sequential) else part(y)
            y = at(f"{site}.conv.{index}", y)
        x = at(site, x + y if x.shape == y.shape else y)
    out: Tensor = model.classifier[1](x.mean(dim=(2, 3)))
    return out


def with_factors(model: AttentiveModel) -> dict[str, Tensor]:
    """Give each site a factor of its own, and return them."""
    factors = {}
    for number, (site, module) in enumerate(
        zip(model.sites, model.attention.values(), strict=True), start=1
    ):
        module.factor.fill_(0.53125 + number / 16)  # never 1
        factors[site] = module.factor
    return factors


def live(model: AttentiveModel) -> AttentiveModel:
    """Return it in float64 and eval mode, with norms of running statistics that it measured."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average of what was seen
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    model.double().train()(images.double())
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "policy"),
    [
        ("resnet18", "stage3"),
        ("resnet18", "stem_stage"),
        ("resnet18", "block_last_bn"),
        ("resnet50", "stage3"),
        ("resnet50", "stem_stage"),
        ("resnet50", "block_last_bn"),
        ("resnet50", "conv2"),
        ("mobilenet_v2", "stage3"),
        ("mobilenet_v2", "stem_stage"),
        ("mobilenet_v2", "block_last_bn"),
        ("mobilenet_v2", "hidden"),
    ],
)
@torch.no_grad()
def test_the_output_of_every_site_passes_through_its_own_module(
    scale: str, backbone: str, policy: str
) -> None:
    torch.manual_seed(0)
    model = live(build_model(backbone, scale, policy, num_classes=7))
    by_hand = mobilenet_by_hand if backbone == "mobilenet_v2" else resnet_by_hand
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    factors = with_factors(model)
    assert len(factors) == COUNTS[backbone][policy]
    out = model(x)

    # The hand-written pass calls modules of the backbone too: from here on they have no hooks.
    for module in model.backbone.modules():
        module._forward_hooks.clear()
    torch.testing.assert_close(by_hand(model.backbone, x, {}), model(x), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(out, by_hand(model.backbone, x, factors), rtol=1e-9, atol=1e-12)
    for site in factors:  # no site is without effect, and no two share a module
        others = {name: factor for name, factor in factors.items() if name != site}
        without = by_hand(model.backbone, x, others)
        assert (without - out).abs().max() > 1e-3 * out.abs().max(), site


@torch.no_grad()
def test_a_users_own_sites(scale: str) -> None:
    torch.manual_seed(0)
    sites = ["layer3.1.conv1", "layer1.0.bn1", "layer4"]
    model = live(build_model("resnet18", scale, sites, num_classes=7))
    assert model.sites == ("layer1.0.bn1", "layer3.1.conv1", "layer4")
    assert [module.channels for module in model.attention.values()] == [64, 256, 512]
    factors = with_factors(model)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    out = model(x)
    for module in model.backbone.modules():
        module._forward_hooks.clear()
    torch.testing.assert_close(
        out, resnet_by_hand(model.backbone, x, factors), rtol=1e-9, atol=1e-12
    )


def test_own_sites_come_in_the_order_of_the_model_each_once() -> None:
    assert check_sites("resnet18", ("layer4", "layer1", "layer4")) == ("layer1", "layer4")


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "policy"),
    [
        ("resnet18", "hidden"),
        ("resnet18", "conv2"),
        ("resnet50", "hidden"),
        ("mobilenet_v2", "conv2"),
        ("mobilenet_v2", "stage4"),
    ],
)
def test_a_policy_without_sites_tells_those_that_have_some(backbone: str, policy: str) -> None:
    with pytest.raises(ValueError, match=f"{policy!r} has no sites on {backbone}") as error:
        policy_sites(backbone, policy)
    assert str(error.value).endswith("it has: " + ", ".join(COUNTS[backbone]))


def test_every_policy_has_sites_somewhere() -> None:
    assert set(POLICIES) == {policy for policies in COUNTS.values() for policy in policies}


def test_an_unknown_site_tells_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"resnet18 has no module 'layer1\.0\.bm2'.*layer1\.0\.bn"):
        check_sites("resnet18", ("layer1", "layer1.0.bm2"))


@pytest.mark.parametrize("site", ["avgpool.0", "fc"])
def test_a_site_must_give_a_feature_map(site: str) -> None:
    with pytest.raises(ValueError, match=site):
        build_model("resnet18", "eca", [site])


def test_a_placement_without_a_site_is_not_a_silent_baseline() -> None:
    with pytest.raises(ValueError, match="names no module of resnet18"):
        build_model("resnet18", "eca", [])
