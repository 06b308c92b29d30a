"""What trials are called in tables, plots and run names: as in the papers, and not longer.

"ELA-k7-g8-ng16", "ELA-B", "CA-r32", "baseline".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

SHORT = {"kernel_size": "k", "num_groups": "ng", "reduction": "r", "factor": "G"}
"""The papers' own letters; "groups" has its own form: g for in_channels, g8 for in_channels/8."""


def module_labels(
    modules: Iterable[tuple[str, str | None, Mapping[str, Any]]],
) -> dict[tuple[str, str | None, str], str]:
    """Return a label for each (attention, preset, hyperparameters) of one study.

    A module that the study names by a preset keeps that name; otherwise it is told apart by the
    hyperparameters that vary within the study among the settings of the same module.
    """
    named = {module_key(*module): module for module in modules}
    varying: dict[str, list[str]] = defaultdict(list)
    for attention, _, hyperparameters in named.values():
        for name in hyperparameters:
            values = {str(m[2].get(name)) for m in named.values() if m[0] == attention}
            if len(values) > 1 and name not in varying[attention]:
                varying[attention].append(name)
    return {
        key: _label(attention, preset, {n: values[n] for n in varying[attention]})
        for key, (attention, preset, values) in named.items()
    }


def module_key(
    attention: str, preset: str | None, hyperparameters: Mapping[str, Any]
) -> tuple[str, str | None, str]:
    """Return what a module's settings are looked up by."""
    return attention, preset, repr(sorted(hyperparameters.items()))


def display_name(attention: str) -> str:
    """Return a module's name as a table prints it."""
    return "baseline" if attention == "none" else attention.upper()


def _label(attention: str, preset: str | None, varying: Mapping[str, Any]) -> str:
    name = display_name(attention)
    if preset is not None:
        return f"{name}-{preset}"
    return "-".join([name, *(_short(field, value) for field, value in varying.items())])


def _short(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return field if value else f"no_{field}"
    if field == "groups":
        return "g" + str(value).removeprefix("in_channels").removeprefix("/")
    return f"{SHORT.get(field, field)}{value}"
