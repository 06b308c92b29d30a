"""``from sweep import build_attention, build_model``, as a notebook uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import pytest
import torch
from pydantic import model_validator

import sweep
from sweep import build_attention, build_model
from sweep.attention.base import AttentionConfig, AttentionModule, IndivisibleError
from sweep.models.build import attention_config, check_weights
from sweep.models.placement import AttentiveModel
from sweep.registry import ATTENTION


def test_the_attention_example_of_the_documentation() -> None:
    module: Any = build_attention(
        "ela", channels=64, kernel_size=7, groups="in_channels/8", num_groups=16
    )
    conv, norm = module.encoders[0]
    assert (conv.in_channels, conv.kernel_size, conv.groups) == (64, (7,), 8)
    assert (norm.num_groups, norm.num_channels) == (16, 64)
    x = torch.randn(2, 64, 5, 7)
    assert module(x).shape == x.shape


def test_the_model_example_of_the_documentation() -> None:
    model = build_model(
        backbone="resnet18",
        attention={"name": "ela", "preset": "B"},
        placement="stage3",
        num_classes=1000,
    )
    assert len(model.sites) == len(model.attention) == 12
    for module in model.attention.values():
        assert module.encoders[0][0].kernel_size == (7,)
        assert module.encoders[0][1].num_groups == 16
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_a_preset_can_be_changed() -> None:
    config = attention_config("ela", "L", num_groups=8)
    assert config.model_dump() == {
        "kernel_size": 7,
        "groups": "in_channels/8",
        "num_groups": 8,
        "shared": True,
        "norm": "gn",
        "directions": "both",
        "conv": True,
    }


@pytest.mark.parametrize(
    ("backbone", "sites"),
    [("resnet18", 12), ("resnet50", 5), ("resnet101", 5), ("mobilenet_v2", 16)],
)
def test_without_a_placement_the_papers_policy_is_used(backbone: str, sites: int) -> None:
    with torch.device("meta"):
        assert len(build_model(backbone, "eca").sites) == sites


def test_a_mapping_given_is_not_changed() -> None:
    attention = {"name": "eca", "kernel_size": 5}
    with torch.device("meta"):
        build_model("resnet18", attention)
    assert attention == {"name": "eca", "kernel_size": 5}


def test_nearest_adjusts_only_where_it_must() -> None:
    with torch.device("meta"):
        model = build_model("mobilenet_v2", {"name": "ema"}, "hidden", on_indivisible="nearest")
    factors = {module.channels: module.factor for module in model.attention.values()}
    assert factors == {96: 32, 144: 24, 192: 32, 384: 32, 576: 32, 960: 32}


def model_of(**arguments: Any) -> AttentiveModel:
    return build_model(**{"backbone": "resnet18", "num_classes": 10, **arguments})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"backbone": "resnet19"}, r"'resnet19'; did you mean 'resnet1.*mobilenet_v2, resnet101"),
        ({"attention": "elo"}, r"'elo'; did you mean 'el.*Known: .*cbam.*none"),
        ({"attention": {"preset": "B"}}, r"must name a module; known: ca, .*ela"),
        ({"attention": {"name": "ela", "preset": "b"}}, r"no preset 'b'; did you mean 'B'\? .*T, "),
        ({"attention": {"name": "eca", "preset": "B"}}, r"'eca' has no preset 'B'; allowed: none"),
        ({"attention": {"name": "ela", "kernel": 7}}, r"'kernel'; did you mean 'kernel_size'\?"),
        ({"attention": {"name": "ela", "kernel_size": 6}}, r"ela\.kernel_size \(=6\).*odd"),
        ({"attention": {"name": "ela", "groups": "C"}}, r"ela\.groups \(='C'\).*in_channels/8"),
        ({"attention": {"name": "none", "reduction": 4}}, r"no hyperparameter 'reduction'"),
        ({"attention": "ela", "placement": "stage"}, r"'stage' has no sites.*'stage3'.*it has: "),
        ({"attention": "none", "placement": "stage"}, r"'stage' has no sites.*it has: stage3, "),
        ({"placement": ["layer9"]}, r"resnet18 has no module 'layer9'"),
        ({"stem": "small"}, r"stem \(='small'\) of resnet18 must be 'imagenet' or 'cifar'"),
        ({"backbone": "yolox_nano", "stem": "cifar"}, r"stem \(='cifar'\).*must be 'imagenet'$"),
        ({"num_classes": 0}, r"num_classes \(=0\)"),
        ({"attention": "sa"}, r"groups \(=64\)"),
        ({"attention": "ela", "on_indivisible": "adjust"}, r"on_indivisible \(='adjust'\)"),
    ],
)
def test_wrong_names_and_values_tell_what_is_allowed(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        model_of(**arguments)


def test_every_wrong_hyperparameter_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="kernel_size") as error:
        build_attention("ela", 64, kernel_size=6, nun_groups=3, shared="yes")
    text = str(error.value)
    assert "'nun_groups'; did you mean 'num_groups'?" in text
    assert "ela.shared (='yes')" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "channels", "text"),
    [("ema", 144, r"factor \(=32\) must divide C=144"), ("ela", 24, r"num_groups \(=16\)")],
)
def test_hyperparameters_that_do_not_fit_the_channels(name: str, channels: int, text: str) -> None:
    with pytest.raises(IndivisibleError, match=text):
        build_attention(name, channels)


@pytest.mark.parametrize("channels", [0, -8])
@pytest.mark.parametrize("name", ATTENTION.names())
def test_channels_are_positive(name: str, channels: int) -> None:
    with pytest.raises(ValueError, match=rf"channels \(={channels}\)"):
        build_attention(name, channels)


def test_weights_that_torchvision_offers() -> None:
    check_weights("resnet50", "IMAGENET1K_V2")
    with pytest.raises(ValueError, match=r"'V3' are not offered for resnet50; .*IMAGENET1K_V1, "):
        check_weights("resnet50", "V3")
    check_weights("yolof_resnet50", "IMAGENET1K_V1")  # for the part of it that is a ResNet-50
    with pytest.raises(ValueError, match=r"not offered for yolof_resnet50; .*IMAGENET1K_V1, "):
        check_weights("yolof_resnet50", "V3")
    with pytest.raises(ValueError, match="not offered for yolox_nano; allowed: none"):
        check_weights("yolox_nano", "IMAGENET1K_V1")
    with pytest.raises(ValueError, match="unknown backbone 'a_plug_in'"):
        check_weights("a_plug_in", "IMAGENET1K_V1")


class PairConfig(AttentionConfig):
    """Of a user's module that has a rule between two hyperparameters."""

    low: int = 1
    """The lower one."""
    high: int = 2
    """The higher one."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low (={self.low}) must not exceed high (={self.high})")
        return self


class Pair(AttentionModule):
    Config = PairConfig


@pytest.fixture
def pair() -> Iterator[str]:
    ATTENTION.names()
    ATTENTION.register("pair_of_a_test")(Pair)
    yield "pair_of_a_test"
    del ATTENTION._parts["pair_of_a_test"], ATTENTION._origins["pair_of_a_test"]


def test_a_rule_between_hyperparameters_is_told_too(pair: str) -> None:
    assert attention_config(pair, low=2).model_dump() == {"low": 2, "high": 2}
    with pytest.raises(ValueError, match=r"^attention 'pair_of_a_test': .*low \(=5\)"):
        attention_config(pair, low=5)


def test_the_package_offers_these_names_and_no_others() -> None:
    assert sweep.build_model is build_model
    assert set(sweep.__all__) == {"build_attention", "build_model"}
    with pytest.raises(AttributeError, match="build_modle"):
        _ = sweep.build_modle
