"""What every attention module has: a frozen Config, and a forward pass that keeps the shape.

A Config holds hyperparameters as a paper writes them ("groups = in_channels/8"). ``fit`` turns it
into the numbers of one site with ``C`` channels, and is where a combination that cannot exist is
refused, or adjusted where the search space allows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

OnIndivisible = Literal["refuse", "nearest"]


KernelSize = Annotated[int, Field(ge=1, le=255)]
Channels = Annotated[int, Field(ge=1, le=65536)]
"""Of a convolution, in pixels."""


class IndivisibleError(ValueError):
    """A hyperparameter that does not divide the number of channels it has to divide."""


@dataclass(frozen=True)
class Adjustment:
    """One value that was changed so that the module exists at a site."""

    hyperparameter: str
    channels: int
    wanted: int
    used: int

    def __str__(self) -> str:
        return f"{self.hyperparameter} {self.wanted} -> {self.used} at C={self.channels}"


@dataclass
class Fit:
    """How the hyperparameters of one module become the numbers of a site, and what that changed.

    Args:
        on_indivisible: "refuse" raises; "nearest" takes the largest divisor not above the value.
    """

    on_indivisible: OnIndivisible = "refuse"
    adjustments: list[Adjustment] = field(default_factory=list)

    def divisor(self, hyperparameter: str, wanted: int, of: int, *, channels: int) -> int:
        """Return ``wanted`` if it divides ``of``, else what ``on_indivisible`` says.

        Raises:
            IndivisibleError: ``wanted`` does not divide ``of`` and adjusting is not allowed.
        """
        if wanted >= 1 and of % wanted == 0:
            return wanted
        if self.on_indivisible == "refuse":
            subject = f"C={channels}" if of == channels else f"{of} (at C={channels})"
            raise IndivisibleError(f"{hyperparameter} (={wanted}) must divide {subject}")
        used = next(d for d in range(max(1, min(wanted, of)), 0, -1) if of % d == 0)
        self.adjustments.append(Adjustment(hyperparameter, channels, wanted, used))
        return used


class AttentionConfig(BaseModel):
    """Base of the hyperparameters of one module: frozen, keyword-only, strictly typed.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown name, a wrong type or value.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Named settings of the papers; a preset sets some fields, the others keep their default."""

    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """What the module can be without, named as a table's row: the fields that take a part away.
    Fields that have no effect without it go back to their defaults, whatever a preset says."""

    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Of a part that a module may not have: the fields of one that has it."""

    def check_default(self, *fields: str, only_with: str) -> None:
        """Check that fields without effect have their default: no two settings are one module.

        Raises:
            ValueError: one has another value; the text begins with its name.
        """
        for name in fields:
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f"{name} (={value!r}) has an effect only with {only_with}")

    def fit(self, channels: int, fit: Fit) -> Self:
        """Return the config with the numbers of a site of ``channels`` channels.

        Raises:
            IndivisibleError: no such module exists at that site.
        """
        return self


class AttentionModule(nn.Module):
    """Base of all attention modules: (B, C, H, W) in, the same shape out.

    Args:
        channels: C of the input.
        config: hyperparameters; fitted to ``channels`` by the module itself.

    Raises:
        IndivisibleError: the hyperparameters do not fit ``channels``.
    """

    Config: ClassVar[type[AttentionConfig]]

    def __init__(self, channels: int, config: AttentionConfig) -> None:
        super().__init__()
        self.channels = channels
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError
