"""What trials are called in tables, plots and run names: as in the papers, and not longer.

"ELA-k7-g8-ng16", "ELA-B", "ELA-B no GN", "CA-r32", "baseline".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SHORT = {"kernel_size": "k", "num_groups": "ng", "reduction": "r", "factor": "G"}
"""The papers' own letters; "groups" has its own form: g for in_channels, g8 for in_channels/8,
groups8 for the number 8."""

Module = tuple[str, str | None, str | None, Mapping[str, Any]]
"""Attention, preset, the part that it is without, hyperparameters."""
ModuleKey = tuple[str, str | None, str | None, str]


def module_labels(modules: Iterable[Module]) -> dict[ModuleKey, str]:
    """Return a label for each (attention, preset, part, hyperparameters) of one study.

    A setting that the study names by a preset keeps that name. Otherwise, and where one preset has
    several settings, they are told apart by the hyperparameters that vary among them. A module
    without a part is named as the whole one, and after the part.
    """
    named = {module_key(*module): module for module in modules}
    return {key: module_label(module, list(named.values())) for key, module in named.items()}


def module_label(module: Module, study: list[Module]) -> str:
    """Return the label of one module among all of its study."""
    attention, preset, part, hyperparameters = module
    name = display_name(attention)
    alike = [values for other, _, less, values in study if (other, less) == (attention, part)]
    if preset is not None:
        name = f"{name}-{preset}"
        alike = [values for *kind, values in study if kind == [attention, preset, part]]
    varying = [
        field
        for field in dict.fromkeys(field for values in alike for field in values)
        if len({str(values.get(field)) for values in alike}) > 1 and field in hyperparameters
    ]
    label = "-".join([name, *(_short(field, hyperparameters[field]) for field in varying)])
    return label if part is None else f"{label} {part}"


def module_key(
    attention: str, preset: str | None, part: str | None, hyperparameters: Mapping[str, Any]
) -> ModuleKey:
    """Return what a module's settings are looked up by."""
    return attention, preset, part, repr(sorted(hyperparameters.items()))


def display_name(attention: str) -> str:
    """Return a module's name as a table prints it."""
    return "baseline" if attention == "none" else attention.upper()


def _short(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return field if value else f"no_{field}"
    if field == "groups" and isinstance(value, str):
        return "g" + value.removeprefix("in_channels").removeprefix("/")
    return f"{SHORT.get(field, field)}{value}"
