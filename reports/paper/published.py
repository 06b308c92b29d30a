"""What a published table is, as data: every cell as printed, and which trial each row is.

Nothing here is computed from a model. Adding a table is adding a file to ``reports.paper.tables``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from sweep.models.base import Stem
from sweep.registry import Registry

Kind = Literal["text", "params", "macs", "metric"]
Unit = Literal["", "%", "FPS", "M", "MiB", "G"]
ParamsConvention = Literal["true", "thop_like", "no_norm", "no_attention_norm"]
MacsConvention = Literal[
    "thop",
    "thop_pools",
    "thop_per_item",
    "thop_early",
    "thop_early_per_item",
    "products",
    "products_per_item",
]

NUMBER = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(M|G)?$")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        heading: as printed.
        kind: what its numbers are.
        unit: what the numbers are in, whatever the heading says; None is the letter that every cell
            ends with.
        metric: of a kind "metric", the name of what a trial measures on the test split.
    """

    heading: str
    kind: Kind
    unit: Unit | None = ""
    metric: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """What the trials of a row learn: data set and recipe, as search spaces name them."""

    task: str
    dataset: str
    recipe: str
    """A preset."""
    num_classes: int
    image_size: int
    deviation: str = ""
    """What of the paper's training is another here."""


@dataclass(frozen=True)
class Architecture:
    """A backbone on a benchmark, and where attention goes in it."""

    backbone: str
    placement: str
    benchmark: Benchmark
    stem: Stem = "imagenet"
    weights: str | None = None
    """torchvision's, that training starts from."""
    assumed: str = ""
    """What of it the paper does not print, or prints otherwise."""


Attention = Mapping[str, Any]
"""Name of a module, a preset of it where one fits, and the hyperparameters that differ from it."""

BASELINE: Attention = MappingProxyType({"name": "none"})


@dataclass(frozen=True)
class Row:
    """One row: its cells as printed, and the trial that the paper says it is."""

    cells: tuple[str, ...]
    architecture: Architecture | None = None
    """None for a row that is no trial."""
    attention: Attention = field(default_factory=lambda: BASELINE)
    params: ParamsConvention | None = None
    """How its parameters were counted, where it is not the table's convention."""
    assumed: str = ""
    """What of the attention the paper does not print."""

    @property
    def label(self) -> str:
        """The first cell."""
        return self.cells[0]


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper."""

    paper: Literal["ELA", "EMA"]
    number: int
    section: str
    """Where the paper puts it, and discusses it."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    params: ParamsConvention = "true"
    macs: MacsConvention = "thop"
    operations: int = 1
    """Counted for a multiply-accumulate."""
    question: str = ""
    """That its search space asks; empty if no row is a trial."""
    remark: str = ""
    """How its headings are to be read."""

    @property
    def name(self) -> str:
        """What commands call it: "ela-4"."""
        return f"{self.paper.lower()}-{self.number}"

    @property
    def reference(self) -> str:
        """Paper, table and section."""
        return f"{ARXIV[self.paper]}, Table {self.number}, {self.section}"


ARXIV = {"ELA": "ELA (arXiv:2403.01123)", "EMA": "EMA (arXiv:2305.13563)"}

TABLES: Registry[PublishedTable] = Registry("published table", "reports.paper.tables")


def register(table: PublishedTable) -> PublishedTable:
    """Enter a table under its name."""
    return TABLES.register(table.name)(table)


def printed_number(cell: str) -> Decimal:
    """Return the number that a cell prints, with its digits.

    Raises:
        ValueError: it prints none.
    """
    match = NUMBER.match(cell)
    if match is None:
        raise ValueError(f"{cell!r} is no number")
    return Decimal(match[1])


def printed_unit(cell: str, column: Column) -> Unit:
    """Return what the number in a cell is in."""
    if column.unit is not None:
        return column.unit
    match = NUMBER.match(cell)
    return "M" if match is not None and match[2] == "M" else "G"
