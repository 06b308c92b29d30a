"""What the model of a row has of parameters and multiply-accumulates, counted here.

A forward hook adds attention to a backbone and changes no shape, so the cost of a model is that of
its backbone plus that of each attention module at its site. Both are built for real, on the meta
device, and counted once: a search over hundreds of configurations then only adds. (A test builds
the whole model of every row and compares.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from reports.paper.published import Architecture, Attention, MacsConvention, ParamsConvention
from sweep.attention.base import AttentionConfig, Fit
from sweep.models.base import Stem
from sweep.models.build import attention_config
from sweep.models.placement import policies
from sweep.profiling.cost import ParameterCounts, count_parameters
from sweep.profiling.thop import ThopCount, counting
from sweep.registry import ATTENTION, BACKBONES

Shape = tuple[int, int, int]
"""(C, H, W) of a feature map."""


@dataclass(frozen=True)
class Configuration:
    """One model: an architecture, and the attention in it."""

    architecture: Architecture
    attention: str
    config: AttentionConfig

    @classmethod
    def of(cls, architecture: Architecture, attention: Attention) -> Configuration:
        """Return the configuration that a row names."""
        return cls(architecture, attention["name"], attention_config(**attention))

    def at(self, placement: str) -> Configuration:
        """Return the same with attention at other sites."""
        return replace(self, architecture=replace(self.architecture, placement=placement))


def placements(architecture: Architecture) -> Mapping[str, tuple[str, ...]]:
    """Return the site lists of every policy that has sites in an architecture."""
    return _backbone_of(architecture).placements


def count_params(configuration: Configuration, convention: ParamsConvention) -> int:
    """Count parameters by a convention.

    Raises:
        IndivisibleError: (a ValueError) there is no such model.
    """
    backbone, *modules = _parts(configuration)
    if convention == "no_attention_norm":
        return backbone.params.true + sum(module.params.no_norm for module in modules)
    return sum(getattr(part.params, convention) for part in (backbone, *modules))


def count_macs(configuration: Configuration, convention: MacsConvention) -> int:
    """Count multiply-accumulates of one image by a convention.

    Raises:
        IndivisibleError: (a ValueError) there is no such model.
    """
    return sum(part.macs(convention) for part in _parts(configuration))


def _parts(configuration: Configuration) -> Iterator[_Part]:
    """Yield the backbone, and the attention module of every site."""
    backbone = _backbone_of(configuration.architecture)
    yield backbone.part
    if configuration.attention == "none":
        return
    for site in backbone.placements[configuration.architecture.placement]:
        shape = backbone.shapes[site]
        yield _module(configuration.attention, configuration.config.fit(shape[0], Fit()), shape)


class _Part:
    """A model on the meta device, whose costs are counted when they are first asked for."""

    def __init__(self, model: nn.Module, shape: Shape) -> None:
        self.model, self.shape = model, shape

    def macs(self, convention: MacsConvention) -> int:
        thop = self.operations
        folded = thop.products - thop.products_per_item
        match convention:
            case "thop":
                return thop.macs
            case "thop_pools":
                return thop.macs + thop.means
            case "thop_per_item":
                return thop.macs - folded
            case "thop_early":
                return thop.early
            case "thop_early_per_item":
                return thop.early - folded
            case "products":
                return thop.products + thop.matrices
            case "products_per_item":
                return thop.products_per_item

    @cached_property
    def params(self) -> ParameterCounts:
        return count_parameters(self.model)

    @cached_property
    def operations(self) -> ThopCount:
        with torch.no_grad(), counting(self.model) as count:
            self.model(torch.empty(1, *self.shape, device="meta"))
        return count


@dataclass(frozen=True)
class _Backbone:
    """An unmodified model, its site lists, and the shapes of what leaves the sites."""

    part: _Part
    placements: Mapping[str, tuple[str, ...]]
    shapes: Mapping[str, Shape]


def _backbone_of(architecture: Architecture) -> _Backbone:
    benchmark = architecture.benchmark
    return _backbone(
        architecture.backbone, architecture.stem, benchmark.num_classes, benchmark.image_size
    )


@cache
def _backbone(name: str, stem: Stem, num_classes: int, image_size: int) -> _Backbone:
    with torch.device("meta"):
        model = BACKBONES[name].build(num_classes, stem).eval()
    kinds = BACKBONES[name].sites(model)
    placed = {
        policy: tuple(site for kind in wanted for site in kinds[kind])
        for policy, wanted in policies(name).items()
        if all(map(kinds.get, wanted))
    }
    part = _Part(model, (3, image_size, image_size))
    with _recording(model, {site for sites in placed.values() for site in sites}) as shapes:
        _ = part.operations  # one pass for both
    return _Backbone(part, placed, shapes)


@contextmanager
def _recording(model: nn.Module, sites: Iterable[str]) -> Iterator[dict[str, Shape]]:
    """Record the shape of what leaves each site while the context is open."""
    shapes: dict[str, Shape] = {}

    def recorder(site: str) -> Any:
        def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            _, channels, height, width = output.shape
            shapes[site] = channels, height, width

        return record

    handles = [model.get_submodule(site).register_forward_hook(recorder(site)) for site in sites]
    try:
        yield shapes
    finally:
        for handle in handles:
            handle.remove()


@cache
def _module(attention: str, config: AttentionConfig, shape: Shape) -> _Part:
    with torch.device("meta"):
        return _Part(ATTENTION[attention](shape[0], config).eval(), shape)
