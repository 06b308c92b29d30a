"""Detectors: parameters, costs, shapes, sites, and what they start from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from sweep import build_model
from sweep.models.placement import policies_of, policy_sites, site_shapes
from sweep.models.yolof import Decoder
from sweep.profiling.cost import count_macs, count_macs_fvcore
from sweep.registry import BACKBONES

NAMES = ["yolof_resnet50", "yolov5s", "yolov5x_p2", "yolov5x_p2_wide", "yolox_nano"]
MAPS = {
    # Strides, and channels for k classes.
    "yolox_nano": ((8, 16, 32), lambda k: 5 + k),
    "yolov5s": ((8, 16, 32), lambda k: 3 * (5 + k)),
    "yolov5x_p2": ((4, 8, 16, 32), lambda k: 3 * (5 + k)),
    "yolov5x_p2_wide": ((4, 8, 16, 32), lambda k: 3 * (5 + k)),
}


def on_meta(name: str, num_classes: int, **arguments: Any) -> Any:
    with torch.device("meta"):
        return build_model(name, num_classes=num_classes, **arguments)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_registered_detectors() -> None:
    assert [name for name in BACKBONES.names() if BACKBONES[name].task == "detection"] == NAMES


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [
        ("yolox_nano", 20, 900_459),  # 3.43 MiB in ELA's Tables 3 and 7
        ("yolox_nano", 80, 912_159),  # 0.91 M in YOLOX's Table 5
        ("yolof_resnet50", 80, 44_113_001),  # 44.11 M in ELA's Table 6
        ("yolov5s", 80, 7_235_389),  # 7.23 M in EMA's Table 2
        ("yolov5x_p2", 10, 90_963_540),  # 90.96 M there
        ("yolov5x_p2_wide", 10, 91_168_340),
    ],
)
def test_parameters_are_the_published_ones(name: str, num_classes: int, count: int) -> None:
    assert parameters(on_meta(name, num_classes)) == count


@pytest.mark.parametrize(
    ("name", "num_classes", "side", "published", "missing"),
    [
        # Published as twice the MACs, with norms, which weigh more among depthwise convolutions.
        ("yolox_nano", 80, 416, 1.08, 0.04),
        ("yolov5s", 80, 640, 16.5, 0.005),
        ("yolov5x_p2", 10, 640, 314.2, 0.005),
    ],
)
def test_operations_are_the_published_ones(
    name: str, num_classes: int, side: int, published: float, missing: float
) -> None:
    counted = 2 * count_macs(on_meta(name, num_classes), side) / 1e9
    assert published * (1 - missing) <= counted <= published


@pytest.mark.parametrize("name", ["yolox_nano", "yolof_resnet50", "yolov5s"])
def test_costs_are_counted_with_and_without_computing(name: str) -> None:
    model = build_model(name, num_classes=3)
    macs = count_macs(on_meta(name, 3), 64)
    assert count_macs(model, 64) == macs
    assert macs <= count_macs_fvcore(model, 64).macs < 1.05 * macs  # it adds norms and poolings


@pytest.mark.parametrize("num_classes", [1, 7])
@pytest.mark.parametrize("name", MAPS)
def test_shapes_of_the_maps(name: str, num_classes: int) -> None:
    maps = on_meta(name, num_classes)(torch.empty(2, 3, 64, 160, device="meta"))
    strides, channels = MAPS[name]
    k = channels(num_classes)
    assert isinstance(maps, tuple)
    assert [m.shape for m in maps] == [(2, k, 64 // s, 160 // s) for s in strides]


def test_shapes_of_yolof() -> None:
    classes, boxes = on_meta("yolof_resnet50", 7)(torch.empty(2, 3, 64, 160, device="meta"))
    assert classes.shape == (2, 5 * 7, 2, 5)
    assert boxes.shape == (2, 5 * 4, 2, 5)


@pytest.mark.parametrize(
    ("name", "policy", "channels"),
    [
        ("yolox_nano", "yolox7", [64, 128, 256, 256, 128, 128, 256]),
        ("yolox_nano", "yolox_features", [64, 128, 256]),
        ("yolox_nano", "yolox_concats", [256, 128, 128, 256]),
        ("yolof_resnet50", "yolof5", [2048, 512, 512, 512, 512]),
        ("yolof_resnet50", "yolof_encoder", [512, 512, 512, 512, 512]),
        ("yolov5s", "yolov5_backbone", [256, 512]),
        ("yolov5s", "yolov5_neck", [256, 128, 256]),
        ("yolov5s", "yolov5_whole_neck", [256, 128, 256, 512]),
        ("yolov5x_p2", "yolov5_neck", [640, 320, 320, 320, 640]),
        ("yolov5x_p2_wide", "yolov5_neck", [640, 320, 320, 320, 640]),
        ("yolov5x_p2", "yolov5_whole_neck", [640, 320, 320, 320, 640, 1280]),
        ("yolov5x_p2", "yolov5_backbone", [640, 1280]),
    ],
)
def test_channels_at_the_sites(name: str, policy: str, channels: list[int]) -> None:
    sites = policy_sites(name, policy)
    assert [shape.channels for shape in site_shapes(name, "imagenet", sites, 64)] == channels


@pytest.mark.parametrize(
    ("name", "policies"),
    [
        ("yolox_nano", ["yolox7", "yolox_features", "yolox_concats"]),
        ("yolof_resnet50", ["yolof5", "yolof_encoder"]),
        ("yolov5s", ["yolov5_backbone", "yolov5_neck", "yolov5_whole_neck"]),
        ("yolov5x_p2", ["yolov5_backbone", "yolov5_neck", "yolov5_whole_neck"]),
    ],
)
def test_the_policies_that_a_detector_has_sites_for(name: str, policies: list[str]) -> None:
    assert policies_of(name) == policies


@pytest.mark.parametrize("name", ["yolox_nano", "yolof_resnet50", "yolov5s"])
@torch.no_grad()
def test_each_site_of_the_papers_matters_to_the_maps(name: str, scale: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, scale, num_classes=2).eval()
    images = torch.randn(1, 3, 64, 64)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None  # running statistics are those of these images
    model.train()(images.repeat(2, 1, 1, 1))
    plain = model.eval()(images)
    for site, attention in zip(model.sites, model.attention.values(), strict=True):
        attention.factor.fill_(0.5)
        changed = max((a - b).abs().max().item() for a, b in zip(model(images), plain, strict=True))
        assert changed > 1e-3, site
        attention.factor.fill_(1)


@torch.no_grad()
def test_attention_at_the_features_of_yolox_is_not_seen_by_later_stages(scale: str) -> None:
    model = build_model("yolox_nano", scale, "yolox_features", num_classes=2).eval()
    images, seen = torch.randn(1, 3, 64, 64), []
    model.backbone.backbone.register_forward_hook(lambda _m, _i, output: seen.append(output))
    model(images)
    for attention in model.attention.values():
        attention.factor.fill_(0)
    model(images)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


# What they start from ---------------------------------------------------------------------------


def test_yolox_starts_from_one_in_a_hundred() -> None:
    for head in build_model("yolox_nano", num_classes=4).backbone.heads:
        for prior in (head.objectness, head.classes):
            torch.testing.assert_close(prior.bias.sigmoid(), torch.full_like(prior.bias, 0.01))


def test_yolof_starts_from_one_in_a_hundred() -> None:
    decoder = build_model("yolof_resnet50", num_classes=4).backbone.decoder
    bias = decoder.classes.bias
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    for convolution in (decoder.boxes, decoder.objectness):
        assert not convolution.bias.any()
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_yolov5_starts_from_eight_objects_in_an_image() -> None:
    model = build_model("yolov5s", num_classes=4).backbone
    for head, stride in zip(model.heads, (8, 16, 32), strict=True):
        drawn = 1 / math.sqrt(head.in_channels)  # biases of torch's convolutions are within it
        bias = head.bias.view(3, 9)
        objects = 8 * stride**2 / 640**2
        assert (bias[:, 4] - math.log(objects)).abs().max() <= drawn
        assert (bias[:, 5:] - math.log(0.6 / (4 - 0.99))).abs().max() <= drawn + 1e-6
        assert bias[:, :4].abs().max() <= drawn


def test_frozen_norms_have_no_parameters_and_do_not_change() -> None:
    model = build_model("yolof_resnet50", num_classes=4).train().backbone
    norms = [m for m in model.backbone.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) == 53
    assert not any(list(norm.parameters()) for norm in norms)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    before = [norm.running_mean.clone() for norm in norms]
    model(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))


def test_weights_of_torchvisions_resnet_fit_the_backbone_of_yolof() -> None:
    torch.manual_seed(7)
    theirs = resnet50(weights=None).eval()
    for name, buffer in theirs.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    ours = build_model("yolof_resnet50", num_classes=4).eval()
    model, part = BACKBONES["yolof_resnet50"].pretrained or ("", "")
    assert model == "resnet50"
    assert ours.load_backbone(theirs.state_dict(), part) == []
    x = torch.randn(1, 3, 64, 64)
    features = nn.Sequential(*list(theirs.children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(
            ours.backbone.backbone(x)["out"], features(x), rtol=1e-4, atol=1e-4
        )


def test_yolof_joins_object_and_class_in_one_logit() -> None:
    decoder: Any = Decoder(num_classes=2)
    classes, objects = torch.randn(1, 10, 1, 1), torch.randn(1, 5, 1, 1)
    for module, values in ((decoder.classes, classes), (decoder.objectness, objects)):
        nn.init.zeros_(module.weight)
        module.bias = nn.Parameter(values.flatten())
    logits, _ = decoder.eval()(torch.zeros(1, 512, 1, 1))
    both = classes.view(5, 2).double().sigmoid() * objects.view(5, 1).double().sigmoid()
    torch.testing.assert_close(logits.view(5, 2).double(), both.logit(), rtol=1e-5, atol=1e-5)
    # Where the odds overflow, in half precision above all, there is still a gradient.
    module.bias = nn.Parameter(torch.full((5,), 200.0))
    with torch.autocast("cpu", dtype=torch.float16):
        logits, _ = decoder(torch.zeros(1, 512, 1, 1))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert decoder.classes.bias.grad.isfinite().all()
    assert module.bias.grad.isfinite().all()
