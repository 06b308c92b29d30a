"""What every registered attention module keeps, whatever it computes.

Parametrised over the registry, so that a new module is held to it with no edit here.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sweep.attention.base import AttentionConfig, AttentionModule, Fit, IndivisibleError
from sweep.registry import ATTENTION

from .loops import feature_map, randomised

CHANNELS = 64
SHAPES = [(32, 32), (7, 5), (9, 4), (1, 1)]

FIELDS = [
    (name, field) for name in ATTENTION.names() for field in ATTENTION[name].Config.model_fields
]


PARTS = [(name, part) for name in ATTENTION.names() for part in ATTENTION[name].Config.parts]


def fitted_configs() -> list[Any]:
    """One parameter per module, with its defaults, and one per preset and per part of a module."""
    parameters = []
    for name in ATTENTION.names():
        config_class = ATTENTION[name].Config
        for setting, fields in {"": {}, **config_class.presets, **config_class.parts}.items():
            config = config_class(**fields).fit(CHANNELS, Fit("nearest"))
            parameters.append(pytest.param(name, config, id=f"{name}-{setting}".rstrip("-")))
    return parameters


def build(name: str, config: AttentionConfig) -> AttentionModule:
    return randomised(ATTENTION[name](CHANNELS, config))


every_module = pytest.mark.parametrize(("name", "config"), fitted_configs())


@every_module
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_shape_is_kept(name: str, config: AttentionConfig, height: int, width: int) -> None:
    x = feature_map(2, CHANNELS, height, width)
    out = build(name, config)(x)
    assert out.shape == x.shape
    assert out.dtype == torch.float64
    assert out.isfinite().all()


@every_module
def test_training_mode_works_on_odd_sizes(name: str, config: AttentionConfig) -> None:
    out = build(name, config).train()(feature_map(2, CHANNELS, 7, 5))
    assert out.shape == (2, CHANNELS, 7, 5)
    assert out.isfinite().all()


@every_module
def test_gradient_reaches_every_parameter_and_the_input(name: str, config: AttentionConfig) -> None:
    # In eval mode: with batch statistics the bias just before a batch norm has no gradient.
    module = build(name, config)
    x = feature_map(2, CHANNELS, 7, 5).requires_grad_()
    module(x).square().sum().backward()
    for parameter_name, parameter in [("x", x), *module.named_parameters()]:
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 1e-9, parameter_name


@every_module
def test_eval_is_deterministic_and_leaves_input_and_state(
    name: str, config: AttentionConfig
) -> None:
    module = build(name, config)
    x = feature_map(2, CHANNELS, 7, 5)
    before, state = x.clone(), copy.deepcopy(module.state_dict())
    assert torch.equal(module(x), module(x))
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@every_module
def test_samples_do_not_mix_in_eval(name: str, config: AttentionConfig) -> None:
    module = build(name, config)
    x = feature_map(3, CHANNELS, 7, 5)
    alone = torch.cat([module(sample) for sample in x.split(1)])
    torch.testing.assert_close(module(x), alone, rtol=1e-10, atol=1e-12)


@every_module
def test_state_dict_round_trip(name: str, config: AttentionConfig) -> None:
    module, other = build(name, config), ATTENTION[name](CHANNELS, config).double().eval()
    other.load_state_dict(module.state_dict())
    x = feature_map(2, CHANNELS, 7, 5)
    assert torch.equal(module(x), other(x))


@every_module
def test_channels_last_gives_the_same_numbers(name: str, config: AttentionConfig) -> None:
    module = build(name, config)
    x = feature_map(2, CHANNELS, 7, 5)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(channels_last), module(x), rtol=1e-10, atol=1e-12)


@every_module
def test_autocast_is_close_to_float32(name: str, config: AttentionConfig) -> None:
    torch.manual_seed(0)
    module = ATTENTION[name](CHANNELS, config).eval()  # the weights that training starts from
    x = feature_map(2, CHANNELS, 9, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x)
    assert out.isfinite().all()
    torch.testing.assert_close(out.float(), module(x), rtol=0.03, atol=0.03)


@every_module
def test_compiles_as_one_graph(name: str, config: AttentionConfig) -> None:
    module = build(name, config)
    x = feature_map(2, CHANNELS, 7, 5)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-10, atol=1e-12)


@every_module
def test_config_round_trips(name: str, config: AttentionConfig) -> None:
    config_class = ATTENTION[name].Config
    assert config_class(**config.model_dump()) == config
    assert config_class.model_validate_json(config.model_dump_json()) == config


@every_module
@pytest.mark.parametrize("channels", [16, 24, 28, 64, 96, 144])
def test_fitting_twice_changes_nothing(name: str, config: AttentionConfig, channels: int) -> None:
    fitted = config.fit(channels, Fit("nearest"))
    again = Fit("refuse")
    assert fitted.fit(channels, again) == fitted
    assert again.adjustments == []
    ATTENTION[name](channels, fitted)


@every_module
def test_config_is_frozen(name: str, config: AttentionConfig) -> None:
    for field in type(config).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, field, getattr(config, field))


@pytest.mark.parametrize(("name", "field"), FIELDS)
@pytest.mark.parametrize("value", [0, -1, [], None, "no such value"])
def test_a_bad_value_is_refused_by_name(name: str, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        ATTENTION[name].Config(**{field: value})


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_has_a_description(name: str, field: str) -> None:
    schema = ATTENTION[name].Config.model_json_schema()
    assert schema["properties"][field]["description"].endswith(".")


@pytest.mark.parametrize("name", ATTENTION.names())
def test_an_unknown_hyperparameter_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no_such_field"):
        ATTENTION[name].Config(no_such_field=1)


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("cbam", {"kernel_size": 4}),
        ("eca", {"kernel_size": 2}),
        ("ela", {"kernel_size": 6}),
        ("ela", {"groups": "in_channels/0"}),
        ("ca", {"norm": "bn", "num_groups": 4}),
    ],
)
def test_a_value_that_cannot_work_is_refused(name: str, hyperparameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=list(hyperparameters)[-1]):
        ATTENTION[name].Config(**hyperparameters)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "channels", "adjustment"),
    [
        ("ela", {"num_groups": 32}, 144, "num_groups 32 -> 24 at C=144"),
        ("ela", {"num_groups": 16}, 24, "num_groups 16 -> 12 at C=24"),
        ("ela", {"groups": "in_channels/8", "num_groups": 1}, 4, "groups 0 -> 1 at C=4"),
        ("ela", {"groups": "in_channels/8", "num_groups": 4}, 28, "groups 3 -> 2 at C=28"),
        ("sa", {}, 64, "groups 64 -> 32 at C=64"),
        ("sa", {"groups": 32}, 144, "groups 32 -> 24 at C=144"),
        ("ema", {}, 144, "factor 32 -> 24 at C=144"),
        ("ema", {"factor": 16}, 8, "factor 16 -> 8 at C=8"),
        ("ca", {"norm": "gn", "num_groups": 3}, 64, "num_groups 3 -> 2 at C=64"),
    ],
)
def test_what_does_not_divide_is_refused_or_adjusted(
    name: str, hyperparameters: dict[str, Any], channels: int, adjustment: str
) -> None:
    module, config = ATTENTION[name], ATTENTION[name].Config(**hyperparameters)
    field, wanted, *_ = adjustment.split()
    for attempt in (lambda: config.fit(channels, Fit()), lambda: module(channels, config)):
        with pytest.raises(IndivisibleError, match=rf"{field} \(={wanted}\).*C={channels}"):
            attempt()
    fit = Fit("nearest")
    fitted = config.fit(channels, fit)
    assert [str(made) for made in fit.adjustments] == [adjustment]
    x = feature_map(2, channels, 3, 4).float()
    assert module(channels, fitted)(x).shape == x.shape


@pytest.mark.parametrize("on_indivisible", ["refuse", "nearest"])
def test_sa_has_no_form_for_an_odd_width(on_indivisible: Any) -> None:
    with pytest.raises(IndivisibleError, match="even C, not C=35"):
        ATTENTION["sa"].Config(groups=1).fit(35, Fit(on_indivisible))


# Parts -----------------------------------------------------------------------------------------


def test_the_modules_of_the_papers_have_parts() -> None:
    assert {name for name, _ in PARTS} >= {"ela", "ema", "ca", "cbam", "sa", "se", "eca"}


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_part_is_taken_from_every_preset(name: str, part: str) -> None:
    config_class = ATTENTION[name].Config
    for fields in ({}, *config_class.presets.values()):
        full = config_class(**fields).fit(CHANNELS, Fit("nearest"))
        config = config_class(**{**fields, **config_class.parts[part]})
        assert config != config_class(**fields)
        without = build(name, config.fit(CHANNELS, Fit("nearest")))
        assert differ(build(name, full), without)


def differ(one: AttentionModule, other: AttentionModule) -> bool:
    """Return whether two modules have other parameters, or other numbers with the same ones."""
    shapes = [{k: v.shape for k, v in module.state_dict().items()} for module in (one, other)]
    x = feature_map(2, CHANNELS, 7, 5)
    return shapes[0] != shapes[1] or not torch.allclose(one(x), other(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ATTENTION.names())
def test_no_two_parts_are_one(name: str) -> None:
    config_class = ATTENTION[name].Config
    configs = [config_class(**fields) for fields in ({}, *config_class.parts.values())]
    assert len(set(map(repr, configs))) == len(configs)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("ela", {"norm": "bn", "num_groups": 8}, 'num_groups .=8. .* only with norm "gn"'),
        ("ela", {"norm": "none", "num_groups": 8}, 'num_groups .=8. .* only with norm "gn"'),
        ("ela", {"conv": False, "kernel_size": 5}, "kernel_size .=5. .* only with conv"),
        ("ela", {"conv": False, "groups": 1}, "groups .=1. .* only with conv"),
        ("ela", {"directions": "width", "shared": False}, "shared .=False. .* only with direc"),
        ("ca", {"norm": "none", "num_groups": 2}, 'has an effect only with norm "gn"'),
        ("cbam", {"channel": False, "reduction": 8}, "reduction .=8. .* only with channel"),
        ("cbam", {"channel": False, "bias": True}, "bias .=True. .* only with channel"),
        ("cbam", {"spatial": False, "kernel_size": 3}, "kernel_size .=3. .* only with spatial"),
        ("cbam", {"spatial": False, "spatial_norm": True}, "spatial_norm .* only with spatial"),
        ("cbam", {"spatial": False, "channel": False}, "spatial must be true where channel"),
        ("sa", {"spatial": False, "channel": False}, "spatial must be true where channel"),
    ],
)
def test_a_setting_without_effect_is_refused(
    name: str, hyperparameters: dict[str, Any], message: str
) -> None:
    """Otherwise two settings would be one module, trained twice."""
    with pytest.raises(ValidationError, match=message):
        ATTENTION[name].Config(**hyperparameters)


@pytest.mark.parametrize(
    ("part", "adjusted"),
    [
        ("no GN", []),
        ("BN for GN", []),
        ("no conv", ["num_groups 16 -> 12 at C=24"]),
        ("height only", ["num_groups 16 -> 12 at C=24"]),
    ],
)
def test_what_is_not_there_need_not_divide(part: str, adjusted: list[str]) -> None:
    config_class = ATTENTION["ela"].Config
    fit = Fit("nearest")
    config_class(**{**config_class.presets["L"], **config_class.parts[part]}).fit(24, fit)
    assert [str(made) for made in fit.adjustments] == adjusted
