"""Models by name: what notebooks call, and what a trial is built with."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from pydantic import ValidationError

from sweep.attention.base import AttentionConfig, AttentionModule, Fit, OnIndivisible
from sweep.models.base import Stem
from sweep.models.placement import AttentiveModel, check_sites, policy_sites, site_shapes
from sweep.registry import ATTENTION, BACKBONES, nearest
from sweep.spec.trial import Trial

PROBE_SIZE = 64
"""Side of the images that channel counts are read off with; they do not depend on it."""


def attention_config(
    name: str, preset: str | None = None, **hyperparameters: Any
) -> AttentionConfig:
    """Return the hyperparameters of a module: a preset's, changed by the ones given.

    Raises:
        ValueError: unknown module, preset, hyperparameter or value; the text says what is allowed.
    """
    if not isinstance(name, str):
        raise ValueError(f"attention (={name!r}) must be one of {', '.join(ATTENTION.names())}")
    config = ATTENTION[name].Config
    if preset is not None and preset not in config.presets:
        near = nearest(preset, list(config.presets))
        raise ValueError(
            f"attention {name!r} has no preset {preset!r}"
            + (f"; did you mean {near!r}?" if near else ";")
            + f" allowed: {', '.join(config.presets) or 'none'}"
        )
    chosen = config.presets[preset] if preset else {}
    try:
        return config.model_validate({**chosen, **hyperparameters})
    except ValidationError as error:
        raise ValueError(_explain(name, config, error)) from None


def build_attention(
    name: str, channels: int, preset: str | None = None, **hyperparameters: Any
) -> AttentionModule:
    """Return an attention module for feature maps (B, channels, H, W).

    Args:
        name: a registered module ("ela", "ema", "ca", ...).
        channels: C of the feature map.
        preset: a named setting of the module's paper ("B").
        hyperparameters: of the module's Config.

    Raises:
        ValueError: unknown name or value, or one that does not fit ``channels``.

    Example:
        >>> build_attention("ela", channels=64, kernel_size=7, groups="in_channels/8")
    """
    _check_count("channels", channels)
    config = attention_config(name, preset, **hyperparameters)
    return ATTENTION[name](channels, config)


def build_model(
    backbone: str,
    attention: Mapping[str, Any] | str = "none",
    placement: str | tuple[str, ...] | list[str] | None = None,
    num_classes: int = 1000,
    stem: Stem = "imagenet",
    on_indivisible: OnIndivisible = "refuse",
) -> AttentiveModel:
    """Return a backbone with attention at the sites of a placement.

    Args:
        backbone: a registered backbone ("resnet18").
        attention: a module's name, or a mapping of its name, preset and hyperparameters.
        placement: a policy's name, or names of the backbone's own modules; None means the policy
            that the papers use on this backbone.
        num_classes: outputs of the classifier.
        stem: "imagenet" or "cifar".
        on_indivisible: "nearest" replaces a group count that does not fit by the largest that does.

    Raises:
        ValueError: unknown name or value, or a combination that does not exist.

    Example:
        >>> build_model("resnet18", {"name": "ela", "preset": "B"}, "stage3", num_classes=1000)
    """
    if stem not in BACKBONES[backbone].stems:
        allowed = " or ".join(map(repr, BACKBONES[backbone].stems))
        raise ValueError(f"stem (={stem!r}) of {backbone} must be {allowed}")
    if on_indivisible not in ("refuse", "nearest"):
        raise ValueError(f"on_indivisible (={on_indivisible!r}) must be 'refuse' or 'nearest'")
    _check_count("num_classes", num_classes)
    if not isinstance(attention, str | Mapping):
        raise ValueError(f"attention (={attention!r}) must be a name, or a mapping with a name")
    wanted = {"name": attention} if isinstance(attention, str) else dict(attention)
    name = wanted.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"attention must name a module; known: {', '.join(ATTENTION.names())}")
    config = attention_config(name, **wanted)
    # The baseline has no sites, but a placement given for it is checked like any other.
    sites = resolve_placement(backbone, placement) if placement or name != "none" else ()
    if name == "none":
        sites = ()
    # The backbone first: with one seed it starts from the same weights whatever the attention, so
    # that modules can be compared in pairs.
    model = BACKBONES[backbone].build(num_classes, stem)
    fitted = fitted_configs(backbone, stem, sites, config, Fit(on_indivisible))
    modules = {
        site: ATTENTION[name](channels, fitted_config)
        for site, (channels, fitted_config) in fitted.items()
    }
    return AttentiveModel(model, modules)


def model_of(trial: Trial) -> AttentiveModel:
    """Return the model of a trial, with fresh weights."""
    return build_model(
        trial.backbone.name,
        {"name": trial.attention, **trial.hyperparameters},
        trial.sites,
        trial.num_classes,
        trial.backbone.stem,
        trial.on_indivisible,
    )


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(f"{name} (={value!r}) must be a whole number of at least 1")


def fitted_configs(
    backbone: str, stem: Stem, sites: tuple[str, ...], config: AttentionConfig, fit: Fit
) -> dict[str, tuple[int, AttentionConfig]]:
    """Return the channels and the fitted config of every site; ``fit`` collects adjustments.

    Raises:
        IndivisibleError: a combination that cannot exist at one of the sites.
    """
    return {
        shape.name: (shape.channels, config.fit(shape.channels, fit))
        for shape in site_shapes(backbone, stem, sites, PROBE_SIZE)
    }


def check_weights(backbone: str, weights: str) -> None:
    """Check that torchvision offers weights of that name for a backbone.

    Raises:
        ValueError: it does not; the text lists what it offers.
    """
    from torchvision.models import get_model_weights

    model, _ = BACKBONES[backbone].pretrained or (backbone, "")
    try:
        offered = [member.name for member in get_model_weights(model)]
    except ValueError:
        offered = []
    if weights not in offered:
        raise ValueError(
            f"weights {weights!r} are not offered for {backbone}; "
            f"allowed: {', '.join(offered) or 'none'}"
        )


def resolve_placement(
    backbone: str, placement: str | tuple[str, ...] | list[str] | None
) -> tuple[str, ...]:
    """Return the site names of a policy, of own sites, or of the backbone's default policy.

    Raises:
        ValueError: unknown backbone, policy or site.
    """
    if placement is None:
        placement = BACKBONES[backbone].default_placement
    if isinstance(placement, str):
        return policy_sites(backbone, placement)
    return check_sites(backbone, tuple(placement))


def _explain(name: str, config: type[AttentionConfig], error: ValidationError) -> str:
    """Return one sentence per wrong hyperparameter: value, what is allowed, the nearest name."""
    known = list(config.model_fields)
    sentences = []
    for field, problem in {e["loc"][0] if e["loc"] else "": e for e in error.errors()}.items():
        if field == "":  # of a rule between hyperparameters
            sentences.append(f"attention {name!r}: {problem['msg']}")
        elif problem["type"] == "extra_forbidden":
            near = nearest(str(field), known)
            hint = f"; did you mean {near!r}?" if near else ";"
            sentences.append(
                f"attention {name!r} has no hyperparameter {field!r}{hint} "
                f"allowed: {', '.join(known) or 'none'}"
            )
        else:
            allowed = config.model_fields[str(field)].description or problem["msg"]
            message = f"{name}.{field} (={problem['input']!r}): {problem['msg']}"
            sentences.append(f"{message}. {allowed}")
    return "; ".join(sentences)
