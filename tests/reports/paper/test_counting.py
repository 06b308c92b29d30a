"""Counts put together from a backbone and its modules, against the whole model of every row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import get_args

import pytest
import torch

from reports.paper import benchmarks
from reports.paper.benchmarks import ca, ela
from reports.paper.counting import Configuration, count_macs, count_params, placements
from reports.paper.published import TABLES, MacsConvention, ParamsConvention
from sweep import build_model
from sweep.models.placement import AttentiveModel, policies_of, policy_sites
from sweep.profiling.cost import NORMS, count_parameters
from sweep.profiling.cost import count_macs as count_macs_by_torch
from sweep.profiling.thop import count_macs_thop

MISSING = Configuration.of(benchmarks.MOBILENET_V2, benchmarks.SA)
"""The one row of which there is no model: 32 groups do not fit its 96 channels."""
CONFIGURATIONS = list(
    dict.fromkeys(
        Configuration.of(row.architecture, row.attention)
        for name in TABLES.names()
        for row in TABLES[name].rows
        if row.architecture is not None
    )
)
MODELS = [configuration for configuration in CONFIGURATIONS if configuration != MISSING]


def named(configuration: Configuration) -> str:
    architecture = configuration.architecture
    settings = configuration.config.model_dump()
    values = "-".join(f"{key}={value}" for key, value in settings.items())
    return f"{architecture.backbone}-{architecture.stem}-{configuration.attention}-{values}"


def covering(configurations: Iterable[Configuration]) -> list[Configuration]:
    """Return the first configurations that have all modules and all backbones."""
    seen: set[str] = set()
    chosen = []
    for configuration in configurations:
        parts = {configuration.attention, configuration.architecture.backbone}
        if not parts <= seen:
            chosen.append(configuration)
            seen |= parts
    return chosen


@cache
def whole(configuration: Configuration) -> AttentiveModel:
    architecture = configuration.architecture
    with torch.device("meta"):
        return build_model(
            architecture.backbone,
            {"name": configuration.attention, **configuration.config.model_dump()},
            architecture.placement,
            architecture.benchmark.num_classes,
            architecture.stem,
        )


def test_the_tables_have_90_different_models() -> None:
    assert len(CONFIGURATIONS) == 90
    assert MISSING in CONFIGURATIONS
    modules = {configuration.attention for configuration in covering(MODELS)}
    assert modules == {"none", "ca", "cbam", "eca", "ela", "ema", "nam", "sa", "se"}


@pytest.mark.parametrize("configuration", MODELS, ids=named)
def test_parameters_are_those_of_the_whole_model(configuration: Configuration) -> None:
    model = whole(configuration)
    counts = count_parameters(model)
    norms = [m for m in model.attention.modules() if isinstance(m, NORMS)]
    expected = {
        "true": counts.true,
        "thop_like": counts.thop_like,
        "no_norm": counts.no_norm,
        "no_attention_norm": counts.true - sum(p.numel() for n in norms for p in n.parameters()),
    }
    assert set(expected) == set(get_args(ParamsConvention))
    assert {c: count_params(configuration, c) for c in get_args(ParamsConvention)} == expected


@pytest.mark.parametrize("configuration", covering(MODELS), ids=named)
def test_macs_are_those_of_the_whole_model(configuration: Configuration) -> None:
    size = configuration.architecture.benchmark.image_size
    thop = count_macs_thop(whole(configuration), size)
    seen = thop.products + thop.norms + thop.upsampling + thop.pooling
    early = thop.products + thop.norms // 2 + thop.pooling
    folded = thop.products - thop.products_per_item
    expected = {
        "thop": seen,
        "thop_pools": seen + thop.means,
        "thop_per_item": seen - folded,
        "thop_early": early,
        "thop_early_per_item": early - folded,
        "products": count_macs_by_torch(whole(configuration), size),
        "products_per_item": thop.products_per_item,
    }
    assert set(expected) == set(get_args(MacsConvention))
    assert {c: count_macs(configuration, c) for c in get_args(MacsConvention)} == expected


@pytest.mark.parametrize("convention", get_args(ParamsConvention))
def test_a_model_that_cannot_be_has_no_parameters(convention: ParamsConvention) -> None:
    with pytest.raises(ValueError, match=r"groups \(=32\) must divide 48 \(at C=96\)"):
        count_params(MISSING, convention)
    with pytest.raises(ValueError, match=r"groups \(=32\) must divide 48 \(at C=96\)"):
        whole(MISSING)


def test_macs_of_a_model_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"groups \(=32\) must divide 48"):
        count_macs(MISSING, "thop")


# By hand -----------------------------------------------------------------------------------------


def test_ela_in_resnet18_by_hand() -> None:
    """One depthwise 1D convolution of 7 and one norm at each of 3 sites per stage."""
    configuration = Configuration.of(benchmarks.RESNET18, ela("B"))
    channels = 3 * (64 + 128 + 256 + 512)
    assert count_params(configuration, "thop_like") == 11_689_512 + 7 * channels
    assert count_params(configuration, "true") == 11_689_512 + 9 * channels
    norms = 9_600  # of ResNet-18: two for each of 4,800 channels
    assert count_params(configuration, "no_norm") == 11_689_512 - norms + 7 * channels
    strips = sum(3 * c * 2 * side * 7 for c, side in ((64, 56), (128, 28), (256, 14), (512, 7)))
    assert count_macs(configuration, "thop") == 1_824_033_792 + strips


def test_a_configuration_elsewhere() -> None:
    configuration = Configuration.of(benchmarks.RESNET18, ca(32))
    moved = configuration.at("stem_stage")
    assert moved.architecture.placement == "stem_stage"
    assert moved.at("stage3") == configuration
    # m = C // 32, at the stem (64) and the stages: two convolutions out, one in, a norm of m.
    added = sum(3 * c * (c // 32) + 2 * (c // 32) for c in (64, 64, 128, 256, 512))
    assert count_params(moved, "true") == 11_689_512 + added


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "yolox_nano", "yolov5s"])
def test_placements_are_the_policies_of_the_backbone(backbone: str) -> None:
    architecture = next(
        configuration.architecture
        for configuration in MODELS
        if configuration.architecture.backbone == backbone
    )
    found = placements(architecture)
    assert list(found) == policies_of(backbone)
    assert {name: set(sites) for name, sites in found.items()} == {
        name: set(policy_sites(backbone, name)) for name in found
    }
