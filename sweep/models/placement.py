"""Where attention goes: policies name kinds of sites, a site is a named module of a backbone.

A module of attention is applied to the output of the module at its site by a forward hook. The
backbone itself is not touched: its parameters keep their names, so that torchvision's weights load
into it, and its initialisation does not reach the attention modules, which have torch's. (In code
that writes attention into torchvision's ResNet, that class initialises its convolutions too.) The
policies are those that reproduce the parameter counts of the two papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from sweep.attention.base import AttentionModule
from sweep.models.base import Sites, Stem
from sweep.registry import BACKBONES, nearest

POLICIES: Mapping[str, tuple[str, ...]] = {
    "stage3": ("block_last_bn", "stage"),  # ELA Tables 2, 4, 5: ResNet-18
    "stem_stage": ("stem", "stage"),  # ELA Tables 2, 4, 5: ResNet-50 and -101
    "block_last_bn": ("block_last_bn",),  # EMA Tables 1 and 3
    "hidden": ("hidden",),  # ELA Table 5: MobileNetV2
    "conv2": ("conv2",),  # ELA Table 8
}
"""Name to kinds of sites, on every backbone that has such sites; a backbone may add its own."""


@dataclass(frozen=True)
class SiteShape:
    """What leaves the module at one site: C channels of H x W."""

    name: str
    channels: int
    height: int
    width: int


class AttentiveModel(nn.Module):
    """A backbone with an attention module after each of its sites.

    Args:
        backbone: any model; the names of its modules and parameters stay as they are.
        attention: site name to the module that is applied to the output of that site.
    """

    def __init__(self, backbone: nn.Module, attention: Mapping[str, AttentionModule]) -> None:
        super().__init__()
        self.backbone = backbone
        self.sites = tuple(attention)
        self.attention = nn.ModuleDict(
            {site.replace(".", "_"): module for site, module in attention.items()}
        )
        for site, module in attention.items():
            backbone.get_submodule(site).register_forward_hook(_Attend(module))

    def forward(self, x: Tensor) -> Any:
        return self.backbone(x)

    def load_backbone(self, state_dict: Mapping[str, Tensor], part: str = "") -> list[str]:
        """Load weights of the unmodified backbone; return the names that do not fit in shape.

        Those are left as they are: the classifier, when the number of classes differs.

        Args:
            state_dict: of torchvision's model.
            part: name of the submodule that they are for, which may be that model without its
                classifier; the whole backbone by default.

        Raises:
            RuntimeError: a name is missing or unexpected: the weights of another architecture.
        """
        target = self.backbone.get_submodule(part)
        own = target.state_dict()
        if part:
            state_dict = {name: value for name, value in state_dict.items() if name in own}
        skipped = [name for name, value in state_dict.items() if _misfits(own.get(name), value)]
        kept = {name: own[name] if name in skipped else state_dict[name] for name in state_dict}
        target.load_state_dict(kept)
        return skipped


class _Attend:
    """A forward hook; an object, so that copies and pickles of the model hold copied modules."""

    def __init__(self, attention: AttentionModule) -> None:
        self.attention = attention

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        attended: Tensor = self.attention(output)
        return attended


def _misfits(own: Tensor | None, value: Tensor) -> bool:
    return own is not None and own.shape != value.shape


def policies_of(backbone: str) -> list[str]:
    """Return the names of the policies that have sites on a backbone."""
    kinds = _layout(backbone)
    return [name for name, wanted in policies(backbone).items() if all(map(kinds.get, wanted))]


def policies(backbone: str) -> dict[str, tuple[str, ...]]:
    """Return the kinds of sites of every policy, those of a backbone alone included."""
    return {**POLICIES, **BACKBONES[backbone].policies}


def policy_sites(backbone: str, policy: str) -> tuple[str, ...]:
    """Return the site names of a policy on a backbone, in the order of the model's modules.

    Raises:
        ValueError: no such policy, or the backbone has no such sites.
    """
    available = policies_of(backbone)
    if policy not in available:
        near = nearest(policy, available)
        hint = f"; did you mean {near!r}?" if near else ";"
        raise ValueError(
            f"placement {policy!r} has no sites on {backbone}{hint} it has: {', '.join(available)}"
        )
    kinds = _layout(backbone)
    wanted = policies(backbone)[policy]
    return _in_module_order(backbone, {site for kind in wanted for site in kinds[kind]})


def check_sites(backbone: str, sites: tuple[str, ...]) -> tuple[str, ...]:
    """Return a user's own site names in the order of the model's modules.

    Raises:
        ValueError: the backbone has no module of such a name, or none is named.
    """
    if not sites:
        raise ValueError(f"placement (=[]) names no module of {backbone}")
    known = list(_meta_modules(backbone))
    for site in sites:
        if site not in known:
            near = nearest(site, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"{backbone} has no module {site!r}{hint}")
    return _in_module_order(backbone, set(sites))


@lru_cache(maxsize=64)
def site_shapes(
    backbone: str, stem: Stem, sites: tuple[str, ...], image_size: int
) -> tuple[SiteShape, ...]:
    """Return the shape at each site for square images, found by a forward pass without data.

    Raises:
        ValueError: a site is no feature map (B, C, H, W), or does not run just once in a pass.
    """
    if not sites:
        return ()
    shapes: dict[str, SiteShape] = {}

    def record(site: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ValueError(f"the output of {site!r} in {backbone} is not (B, C, H, W)")
            if site in shapes:
                raise ValueError(f"{site!r} in {backbone} runs more than once in a forward pass")
            shapes[site] = SiteShape(site, *output.shape[1:])

        return hook

    with torch.device("meta"), torch.no_grad():
        model = BACKBONES[backbone].build(10, stem).eval()
        for site in sites:
            model.get_submodule(site).register_forward_hook(record(site))
        model(torch.empty(1, 3, image_size, image_size))
    if unused := [site for site in sites if site not in shapes]:
        raise ValueError(f"{unused[0]!r} in {backbone} does not run in a forward pass")
    return tuple(shapes[site] for site in sites)


@lru_cache(maxsize=32)
def _meta_modules(backbone: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return dict(BACKBONES[backbone].build(10, "imagenet").named_modules())


@lru_cache(maxsize=32)
def _layout(backbone: str) -> Sites:
    return BACKBONES[backbone].sites(_meta_modules(backbone)[""])


def _in_module_order(backbone: str, sites: set[str]) -> tuple[str, ...]:
    return tuple(name for name in _meta_modules(backbone) if name in sites)
