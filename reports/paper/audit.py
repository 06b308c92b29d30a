"""Every published count beside ours: exact, truncated, explained by another model, or unexplained.

A cell that the model of its row does not reproduce is searched for: the same search over reduction,
groups, presets, site lists and conventions for every row, first with one of them changed, then with
two. What fits with the fewest changes is named, and of how many that were tried: a number of two
digits is often that of some other model by chance. A row is one model: what is to explain its
GFLOPs must have the parameters that the row prints, or be the model that the row names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import Literal, get_args

from reports.paper.counting import Configuration, count_macs, count_params, placements
from reports.paper.published import (
    TABLES,
    Column,
    MacsConvention,
    ParamsConvention,
    PublishedTable,
    Row,
    Unit,
    printed_number,
    printed_unit,
)
from sweep.models.build import attention_config

Verdict = Literal["exact", "truncated", "explained", "unexplained"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

SEARCHED: dict[str, tuple[int, ...]] = {
    "reduction": (4, 8, 16, 24, 32, 64),
    "min_channels": (1, 8),
    "groups": (2, 4, 8, 16, 32, 64),
    "factor": (2, 4, 8, 16, 32, 64),
}
"""Values of hyperparameters that the search tries, in every module that has them."""
NAMED = 3
"""How many of the models that fit an explanation names."""

PER_UNIT: dict[Unit, Decimal] = {
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "MiB": Decimal(2**20) / 4,  # of float32
}
CONVENTIONS = {
    "true": "all parameters",
    "thop_like": "all parameters but those of group norms, as thop counts",
    "no_norm": "all parameters but those of norms",
    "no_attention_norm": "all parameters but those of norms in attention modules",
    "thop": "as thop does",
    "thop_early": "as thop did until 2019",
    "thop_early_per_item": "as thop did until 2019, for one item of each layer's batch",
    "thop_pools": "as thop does where averages are pooling layers",
    "thop_per_item": "as thop does, for one item of each layer's batch",
    "products": "convolutions, linear layers and products of matrices alone",
    "products_per_item": "convolutions and linear layers alone, for one item of their batch",
}
"""What a count is, for people."""


@dataclass(frozen=True)
class Counted:
    """A model, and how it is counted."""

    configuration: Configuration
    convention: ParamsConvention | MacsConvention
    operations: int = 1
    """For a multiply-accumulate."""

    def count(self) -> int:
        """Return the number of parameters, or of operations of one image.

        Raises:
            IndivisibleError: (a ValueError) there is no such model.
        """
        if self.convention in get_args(ParamsConvention):
            return count_params(self.configuration, self.convention)  # type: ignore[arg-type]
        macs = count_macs(self.configuration, self.convention)  # type: ignore[arg-type]
        return self.operations * macs


@dataclass(frozen=True)
class AuditedCell:
    """One published count, and ours."""

    paper: str
    table: int
    row: str
    backbone: str
    """As it is registered."""
    column: str
    """"params" or "gflops"."""
    printed: str
    computed: float | None
    """Of the model that the row names, in ``unit``; None if there is no such model."""
    unit: Unit
    convention: ParamsConvention | MacsConvention
    verdict: Verdict
    explanation: str


def audit() -> list[AuditedCell]:
    """Return every parameter and GFLOPs cell of every table, in the order of the papers."""
    tables = [audit_table(TABLES[name]) for name in TABLES.names()]
    return [cell for rows in tables for row in rows for cell in row]


def audit_table(table: PublishedTable) -> list[list[AuditedCell]]:
    """Return the parameter and GFLOPs cells of every row of a table; none of a row without them."""
    return [_cells(table, row) for row in table.rows]


def _cells(table: PublishedTable, row: Row) -> list[AuditedCell]:
    if row.architecture is None:
        return []
    counted = [
        (column, cell)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.kind in ("params", "macs")
    ]
    return [_audited(table, row, column, cell) for column, cell in counted]


def claim(table: PublishedTable, row: Row, column: Column) -> Counted:
    """Return the model that a row names, counted as its table counts a column."""
    assert row.architecture is not None
    configuration = Configuration.of(row.architecture, row.attention)
    if column.kind == "params":
        return Counted(configuration, row.params or table.params)
    return Counted(configuration, table.macs, table.operations)


def scaled(count: int, unit: Unit) -> Decimal:
    """Return a count in a unit."""
    return Decimal(count) / PER_UNIT[unit]


def rounds_to(count: int, printed: Decimal, unit: Unit, rounding: str = ROUND_HALF_UP) -> bool:
    """Return whether a count is the printed number, to the printed digits."""
    return scaled(count, unit).quantize(printed, rounding) == printed


def _audited(table: PublishedTable, row: Row, column: Column, cell: str) -> AuditedCell:
    printed, unit = printed_number(cell), printed_unit(cell, column)
    claimed = claim(table, row, column)
    count, refusal = _counted(claimed)
    verdict: Verdict = "unexplained"
    explanation = refusal
    if count is not None and rounds_to(count, printed, unit):
        verdict = "exact"
    elif count is not None and rounds_to(count, printed, unit, ROUND_DOWN):
        verdict = "truncated"
    elif found := search(claimed, printed, unit, _keeps_parameters(table, row, column)):
        verdict, explanation = "explained", refusal + _named(found, printed, unit)
    return AuditedCell(
        paper=table.paper,
        table=table.number,
        row=row.label,
        backbone=claimed.configuration.architecture.backbone,
        column="params" if column.kind == "params" else "gflops",
        printed=cell,
        computed=None if count is None else float(scaled(count, unit)),
        unit=unit,
        convention=claimed.convention,
        verdict=verdict,
        explanation=explanation,
    )


def _counted(counted: Counted) -> tuple[int | None, str]:
    """Return a model's count, or None and why there is no such model."""
    try:
        return counted.count(), ""
    except ValueError as error:
        return None, f"no such model ({error}); "


def _keeps_parameters(table: PublishedTable, row: Row, column: Column) -> Keep:
    """Return whether a configuration can be the one that a row's GFLOPs are of.

    It has the parameters that the row prints, or is the one that the row names.
    """
    if column.kind == "params":
        return lambda _: True
    place = next(i for i, other in enumerate(table.columns) if other.kind == "params")
    printed = printed_number(row.cells[place])
    unit = printed_unit(row.cells[place], table.columns[place])
    claimed = claim(table, row, table.columns[place])

    def keep(configuration: Configuration) -> bool:
        count, _ = _counted(replace(claimed, configuration=configuration))
        named = configuration == claimed.configuration
        return named or (
            count is not None
            and (rounds_to(count, printed, unit) or rounds_to(count, printed, unit, ROUND_DOWN))
        )

    return keep


# The search --------------------------------------------------------------------------------------

Keep = Callable[[Configuration], bool]


@dataclass(frozen=True)
class Fit:
    """A model with the printed count, and what makes it another one than the row names."""

    changes: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Found:
    """What a search found: the models that fit, of those that exist with as many changes."""

    fits: tuple[Fit, ...]
    tried: int


def search(claimed: Counted, printed: Decimal, unit: Unit, keep: Keep) -> Found | None:
    """Return the models with the printed count that differ least from the one claimed."""
    axes = _axes(claimed)
    for changed in (1, 2):
        tried = [
            Fit(changes, count)
            for chosen in combinations(axes, changed)
            for changes, counted in _changed(claimed, chosen)
            if keep(counted.configuration) and (count := _counted(counted)[0]) is not None
        ]
        fits = tuple(fit for fit in tried if rounds_to(fit.count, printed, unit))
        if fits:
            return Found(fits, len(tried))
    return None


def _axes(claimed: Counted) -> list[str]:
    config = claimed.configuration.config
    fields = [name for name in SEARCHED if isinstance(getattr(config, name, None), int)]
    return [*fields, *(["preset"] if config.presets else []), "convention", "placement"]


def _changed(claimed: Counted, axes: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Counted]]:
    """Yield every model that differs from the one claimed in all of some axes."""
    first, *others = axes
    for change, counted in _along(claimed, first):
        if not others:
            yield (change,), counted
        for changes, further in _changed(counted, tuple(others)) if others else ():
            yield (change, *changes), further


def _along(counted: Counted, axis: str) -> Iterator[tuple[str, Counted]]:
    """Yield every model that differs from one along one axis, with what changed."""
    configuration = counted.configuration
    if axis == "placement":
        places = placements(configuration.architecture)
        here = set(places[configuration.architecture.placement])
        if configuration.attention != "none":
            for name, sites in places.items():
                if set(sites) != here:
                    moved = replace(counted, configuration=configuration.at(name))
                    yield f"placement {name}", moved
    elif axis == "convention":
        params = counted.convention in get_args(ParamsConvention)
        for convention in get_args(ParamsConvention if params else MacsConvention):
            if convention != counted.convention:
                yield f"counting {CONVENTIONS[convention]}", replace(counted, convention=convention)
    else:
        yield from _reconfigured(counted, axis)


def _reconfigured(counted: Counted, axis: str) -> Iterator[tuple[str, Counted]]:
    configuration = counted.configuration
    config, name = configuration.config, configuration.attention
    settings = config.presets if axis == "preset" else {v: {axis: v} for v in SEARCHED[axis]}
    for value, fields in settings.items():
        try:
            other = attention_config(name, **{**config.model_dump(), **fields})
        except ValueError:
            continue  # hyperparameters that exclude each other
        if other != config:
            yield (
                f"{axis} {value}",
                replace(counted, configuration=replace(configuration, config=other)),
            )


def _named(found: Found, printed: Decimal, unit: Unit) -> str:
    names = [" and ".join(fit.changes) for fit in found.fits[:NAMED]]
    count = len(found.fits)
    more = f" or {count - NAMED} more" if count > NAMED else ""
    value = scaled(found.fits[0].count, unit).quantize(printed.scaleb(-2))  # two digits more
    return f"fits {' or '.join(names)}{more}: {value} {unit} ({count} of {found.tried} tried)"
