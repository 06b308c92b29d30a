"""What a backbone is: a builder, and the names of the places where attention can go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from torch import nn

Stem = Literal["imagenet", "cifar"]
Sites = Mapping[str, tuple[str, ...]]
"""Kind of site to the names of the modules of that kind. The kinds "stem", "stage",
"block_last_bn", "conv2" and "hidden" mean the same in every backbone; see placement.POLICIES."""


@dataclass(frozen=True)
class Backbone:
    """One architecture, unmodified: attention is hooked to its modules, never written into it."""

    build: Callable[[int, Stem], nn.Module]
    """(number of classes, stem) to a model of images (B, 3, H, W).

    Stem "cifar" keeps the resolution of small images where "imagenet" would divide it by four.
    What the model returns is its task's: for "classification" logits (B, number of classes), for
    "segmentation" logits (B, number of classes, H, W), for "detection" a tuple of tensors with the
    methods ``loss(targets)``, the mean loss of a batch, and ``detections()``, for each image a
    dict of boxes (N, 4), scores (N,) and labels (N,), best first, after suppression.
    """
    sites: Callable[[nn.Module], Sites]
    """The built model to the dotted names of its modules, by kind, in forward order."""
    default_placement: str
    """Name of the placement policy that the papers use on it."""
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Placement policies of this architecture alone, beside those of placement.POLICIES: name to
    kinds of sites."""
    task: str = "classification"
    """The registered task that it is a model for."""
    stems: tuple[Stem, ...] = ("imagenet", "cifar")
    stride: int = 1
    """What the side of an image must be a multiple of."""
    pretrained: tuple[str, str] | None = None
    """Where torchvision's weights fit a part of the model only: (name of torchvision's model, name
    of the part). None: it is torchvision's model of the same name, if any."""
    stage_ends: Callable[[nn.Module], tuple[str, ...]] | None = None
    """The built model to the dotted names of the modules that end its stages, in forward order; the
    output of the last one is what Grad-CAM explains. None: it cannot be explained so."""

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
