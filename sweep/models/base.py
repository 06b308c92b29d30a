"""What a backbone is: a builder, and the names of the places where attention can go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

Stem = Literal["imagenet", "cifar"]
SiteKind = Literal["stem", "stage", "block_last_bn", "conv2", "hidden"]
Sites = Mapping[SiteKind, tuple[str, ...]]


@dataclass(frozen=True)
class Backbone:
    """One architecture, unmodified: attention is hooked to its modules, never written into it."""

    build: Callable[[int, Stem], nn.Module]
    """(number of classes, stem) to a model of (B, 3, H, W) to (B, number of classes).

    Stem "cifar" keeps the resolution of small images where "imagenet" would divide it by four.
    """
    sites: Callable[[nn.Module], Sites]
    """The built model to the dotted names of its modules, by kind, in forward order."""
    default_placement: str
    """Name of the placement policy that the papers use on it."""

    def check_placement(self, name: str, placement: str | tuple[str, ...]) -> None:
        """Check a policy's name, or names of sites, on this backbone.

        Args:
            name: that the backbone is registered under.
            placement: a policy, or sites of one's own.

        Raises:
            ValueError: there is no such policy or site here; the text says what there is.
        """
        from sweep.models.build import resolve_placement

        resolve_placement(name, placement)
