"""Parameters of each module: hand formulas, and what the papers' tables print.

A row adds its modules to a backbone. The number here is what they add to the true count, every
parameter included; some tables print less, because they leave out the parameters of norms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from torch import nn

from sweep.registry import ATTENTION

STAGE3 = [64, 128, 256, 512] * 3
"""ResNet-18 of the ELA paper."""
STEM_STAGE = [64, 256, 512, 1024, 2048]
"""ResNet-50 and -101 of the ELA paper."""
HIDDEN = [96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3]
"""The 16 expanding blocks of MobileNetV2."""
YOLOX7 = [64, 128, 256, 256, 128, 128, 256]
YOLOF5 = [2048, 512, 512, 512, 512]
CONV2 = [*[64] * 3, *[128] * 4, *[256] * 6, *[512] * 3]
"""After the 3x3 convolutions of DeepLabV3's ResNet-50."""
CIFAR50 = [*[256] * 3, *[512] * 4, *[1024] * 6, *[2048] * 3]
"""After the last norm of every bottleneck."""
CIFAR101 = [*[256] * 3, *[512] * 4, *[1024] * 23, *[2048] * 3]
YOLOV5S = [256, 512]
YOLOV5X = [640, 320, 320, 320, 640]


def modules(name: str, hyperparameters: dict[str, Any], sites: Iterable[int]) -> list[nn.Module]:
    module = ATTENTION[name]
    config = module.Config(**hyperparameters)
    return [module(channels, config) for channels in sites]


def parameters(layers: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


def group_norm_parameters(layers: Iterable[nn.Module]) -> int:
    return sum(
        parameters([part])
        for layer in layers
        for part in layer.modules()
        if isinstance(part, nn.GroupNorm)
    )


def preset(name: str, key: str, **fields: Any) -> dict[str, Any]:
    return {**ATTENTION[name].Config.presets[key], **fields}


C = 128


@pytest.mark.parametrize(
    ("name", "hyperparameters", "count"),
    [
        ("none", {}, 0),
        ("se", {"reduction": 16}, 2 * C * 8),
        ("se", {"reduction": 16, "bias": True}, 2 * C * 8 + 8 + C),
        ("cbam", preset("cbam", "ela"), 2 * C * 8 + 2 * 7 * 7),
        ("cbam", preset("cbam", "nam"), 2 * C * 8 + 8 + C + 2 * 7 * 7 + 2),
        ("cbam", {"kernel_size": 3}, 2 * C * 8 + 2 * 3 * 3),
        ("eca", {}, 3),
        ("eca", {"kernel_size": "adaptive"}, 5),
        ("sa", {"groups": 64}, 6 * 1),
        ("sa", {"groups": 8}, 6 * 8),
        ("nam", {}, 2 * C),
        ("ca", preset("ca", "official"), 3 * C * 8 + 8 + 2 * C + 2 * 8),
        ("ca", preset("ca", "ela_paper"), 3 * C * 4 + 2 * 4),
        ("ca", preset("ca", "ela_paper_gn"), 3 * C * 8 + 2 * 8),
        ("ela", preset("ela", "T"), 5 * C + 2 * C),
        ("ela", preset("ela", "T_table4"), 5 * 8 * C + 2 * C),
        ("ela", preset("ela", "B"), 7 * C + 2 * C),
        ("ela", preset("ela", "S"), 5 * 8 * C + 2 * C),
        ("ela", preset("ela", "L"), 7 * 8 * C + 2 * C),
        ("ela", preset("ela", "L", shared=False), 2 * (7 * 8 * C + 2 * C)),
        ("ema", {}, (4 * 4 + 4) + (9 * 4 * 4 + 4) + 2 * 4),
        ("ema", {"cross_spatial": False}, (4 * 4 + 4) + (9 * 4 * 4 + 4) + 2 * 4),
        ("ema", {"factor": 16}, (8 * 8 + 8) + (9 * 8 * 8 + 8) + 2 * 8),
    ],
)
def test_formula_at_128_channels(name: str, hyperparameters: dict[str, Any], count: int) -> None:
    assert parameters(modules(name, hyperparameters, [C])) == count


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [
        ("se", "no reduction", 2 * 64 * 64),
        ("cbam", "no channel", 2 * 7 * 7),
        ("cbam", "no spatial", 2 * 64 * 4),
        ("eca", "no neighbours", 1),
        ("sa", "no channel", 2 + 2),  # with 32 groups: scale and shift, and those of the norm
        ("sa", "no spatial", 2),
        ("ca", "no BN", (64 * 8 + 8) + 2 * (8 * 64 + 64)),
        ("ca", "no reduction", 3 * (64 * 64 + 64) + 2 * 64),
        ("ela", "no GN", 7 * 64),
        ("ela", "BN for GN", 7 * 64 + 2 * 64),
        ("ela", "no conv", 2 * 64),
        ("ela", "height only", 7 * 64 + 2 * 64),
        ("ela", "width only", 7 * 64 + 2 * 64),
        ("ema", "no cross-spatial", (2 * 2 + 2) + (9 * 2 * 2 + 2) + 2 * 2),
        ("ema", "no 3x3 branch", (2 * 2 + 2) + 2 * 2),
    ],
)
def test_formula_without_a_part_at_64_channels(name: str, part: str, count: int) -> None:
    fields = {**({"groups": 32} if name == "sa" else {}), **ATTENTION[name].Config.parts[part]}
    assert parameters(modules(name, fields, [64])) == count


ROWS: list[tuple[str, str, dict[str, Any], list[int], int]] = [
    # ELA paper, Tables 2, 4, 5
    ("R18 CA r=32", "ca", preset("ca", "ela_paper"), STAGE3, 98_100),
    ("R18 CA r=24", "ca", preset("ca", "ela_paper", reduction=24), STAGE3, 126_948),
    ("R18 CA r=16", "ca", preset("ca", "ela_paper", reduction=16), STAGE3, 196_200),
    ("R18 CA_gn r=32", "ca", preset("ca", "ela_paper_gn"), STAGE3, 106_224),
    ("R18 CA_gn r=16", "ca", preset("ca", "ela_paper_gn", reduction=16), STAGE3, 198_528),
    ("R18 ECA", "eca", {}, STAGE3, 36),
    ("R18 SE", "se", {"reduction": 32}, STAGE3, 65_280),
    ("R18 CBAM", "cbam", preset("cbam", "ela", reduction=32), STAGE3, 66_456),
    ("R18 SA", "sa", {"groups": 32}, STAGE3, 270),
    ("R50 CA r=32", "ca", preset("ca", "ela_paper"), STEM_STAGE, 522_868),
    ("R50 CA r=24", "ca", preset("ca", "ela_paper", reduction=24), STEM_STAGE, 691_904),
    ("R50 CA r=16", "ca", preset("ca", "ela_paper", reduction=16), STEM_STAGE, 1_045_736),
    ("R50 ECA", "eca", {}, STEM_STAGE, 15),
    ("R50 SE", "se", {"reduction": 32}, STEM_STAGE, 348_416),
    ("R50 CBAM", "cbam", preset("cbam", "ela", reduction=32), STEM_STAGE, 348_906),
    ("R50 SA", "sa", {"groups": 32}, STEM_STAGE, 366),
    ("MNv2 CA r=32", "ca", preset("ca", "official"), HIDDEN, 445_776),
    ("MNv2 CA r=24", "ca", preset("ca", "official", reduction=24), HIDDEN, 581_904),
    ("MNv2 CA r=16", "ca", preset("ca", "official", reduction=16), HIDDEN, 861_978),
    ("MNv2 ECA", "eca", {}, HIDDEN, 48),
    ("MNv2 SE", "se", {"reduction": 32}, HIDDEN, 281_664),
    ("MNv2 CBAM", "cbam", preset("cbam", "ela", reduction=32), HIDDEN, 283_232),
    ("MNv2 SA", "sa", {"groups": 8}, HIDDEN, 2_664),
    # ELA paper, Tables 3, 6, 7, 8
    ("YOLOX CA r=16", "ca", preset("ca", "ela_paper", reduction=16), YOLOX7, 47_000),
    ("YOLOX CA r=24", "ca", preset("ca", "ela_paper", reduction=24), YOLOX7, 29_278),
    ("YOLOX CA r=32", "ca", preset("ca", "ela_paper"), YOLOX7, 23_500),
    ("YOLOX CA_gn r=16", "ca", preset("ca", "ela_paper_gn", reduction=16), YOLOX7, 47_776),
    ("YOLOX CA_gn r=24", "ca", preset("ca", "ela_paper_gn", reduction=24), YOLOX7, 33_916),
    ("YOLOX SE", "se", {}, YOLOX7, 31_232),
    ("YOLOX CBAM", "cbam", {}, YOLOX7, 31_918),
    ("YOLOX ECA", "eca", {}, YOLOX7, 21),
    ("YOLOX SA", "sa", {"groups": 32}, YOLOX7, 114),
    ("YOLOX ELA-S", "ela", preset("ela", "S"), YOLOX7[:3], 18_816),
    ("YOLOF CA", "ca", preset("ca", "ela_paper"), YOLOF5, 491_776),
    ("YOLOF ELA-L", "ela", preset("ela", "L"), YOLOF5, 237_568),
    ("DLV3 SE", "se", {}, CONV2, 157_184),
    ("DLV3 CA", "ca", preset("ca", "ela_paper", reduction=16), CONV2, 236_248),
    ("DLV3 CBAM", "cbam", {"reduction": 32}, CONV2, 80_160),
    ("DLV3 SA", "sa", {"groups": 4}, CONV2, 2_832),
    # EMA paper, Tables 1, 2, 3
    ("CIFAR R50 CBAM", "cbam", preset("cbam", "nam"), CIFAR50, 2_532_592),
    ("CIFAR R50 SA", "sa", {}, CIFAR50, 708),
    ("CIFAR R50 ECA", "eca", {}, CIFAR50, 48),
    ("CIFAR R50 NAM", "nam", {}, CIFAR50, 30_208),
    ("CIFAR R50 CA", "ca", preset("ca", "official"), CIFAR50, 1_917_832),
    ("CIFAR R50 EMA_32", "ema", {}, CIFAR50, 198_368),
    ("CIFAR R50 EMA_no", "ema", {"cross_spatial": False}, CIFAR50, 198_368),
    ("CIFAR R50 EMA_16", "ema", {"factor": 16}, CIFAR50, 789_696),
    ("CIFAR R101 CA", "ca", preset("ca", "official"), CIFAR101, 3_625_448),
    ("CIFAR R101 EMA", "ema", {}, CIFAR101, 374_624),
    ("v5s CBAM", "cbam", preset("cbam", "ela"), YOLOV5S, 41_156),
    ("v5s SA", "sa", {}, YOLOV5S, 36),
    ("v5s ECA", "eca", {}, YOLOV5S, 6),
    ("v5s CA", "ca", preset("ca", "official"), YOLOV5S, 32_328),
    ("v5s EMA", "ema", {}, YOLOV5S, 3_296),
]


@pytest.mark.parametrize(
    ("name", "hyperparameters", "sites", "added"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)
def test_row_of_the_papers(
    name: str, hyperparameters: dict[str, Any], sites: list[int], added: int
) -> None:
    assert parameters(modules(name, hyperparameters, sites)) == added


@pytest.mark.parametrize(
    ("hyperparameters", "sites", "printed"),
    [
        (preset("ela", "T"), STAGE3, 14_400),
        (preset("ela", "B"), STAGE3, 20_160),
        (preset("ela", "T_table4"), STAGE3, 115_200),
        (preset("ela", "S"), STAGE3, 115_200),
        (preset("ela", "L"), STAGE3, 161_280),
        (preset("ela", "S"), STEM_STAGE, 156_160),
        (preset("ela", "L"), STEM_STAGE, 218_624),
        (preset("ela", "B"), STEM_STAGE, 27_328),  # the paper prints 8 thousand
        (preset("ela", "S"), HIDDEN, 284_160),
        (preset("ela", "L"), HIDDEN, 397_824),
        (preset("ela", "S"), CONV2, 151_040),
    ],
)
def test_ela_rows_leave_out_the_group_norms(
    hyperparameters: dict[str, Any], sites: list[int], printed: int
) -> None:
    layers = modules("ela", hyperparameters, sites)
    assert group_norm_parameters(layers) == 2 * sum(sites)
    assert parameters(layers) - group_norm_parameters(layers) == printed


def test_rows_of_yolov5x_imply_one_backbone() -> None:
    rows = {
        ("cbam", "ela"): 91_309_630,
        ("ca", "official"): 91_278_630,
        ("ema", None): 91_179_620,
    }
    backbones = {
        count - parameters(modules(name, preset(name, key) if key else {}, YOLOV5X))
        for (name, key), count in rows.items()
    }
    assert backbones == {91_168_340}
