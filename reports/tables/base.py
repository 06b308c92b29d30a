"""What a table is before it is rendered: columns, sections of rows, cells, a caption and notes.

One table is one file beside this one, which says what its cells are; how a table looks in Markdown,
LaTeX, CSV or HTML, a renderer says for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

MISSING = "–"
"""Where there is no value."""
EMPTY = "There is no trial to show yet."
"""Instead of a table without rows."""

Kind = Literal["text", "number", "spread"]
"""Of a column: words, one number, or mean ± std (number of seeds)."""
Mark = Literal["", "best", "chosen", "tied"]
"""Of a cell."""
SIGNS: Mapping[Mark, str] = {"": "", "best": "", "chosen": "*", "tied": "†"}
"""Behind a cell; the best is bold."""
MEANINGS: Mapping[Mark, str] = {
    "best": "chosen on validation, and better on test than every other of its group",
    "chosen": "chosen on validation",
    "tied": "cannot be distinguished on test from the one that validation chose",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value as it is read, and what it is sorted and linked by."""

    text: str
    """In Markdown and HTML ("97.10 ± 0.20 (3)")."""
    parts: tuple[str, ...] = ()
    """Of a spread: mean, std and n as printed; std is empty for one seed. Empty if missing."""
    sort: float | str | None = None
    """None comes last."""
    mark: Mark = ""
    device: str = ""
    """A letter for what it was measured on, where its column has numbers of several devices."""
    runs: tuple[str, ...] = ()
    """Ids of the MLflow runs that it was computed from."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, by its heading."""

    title: str
    unit: str = ""
    kind: Kind = "text"
    names_group: bool = False
    """Whether it says what the title of a section says; a renderer may leave it out."""

    @property
    def heading(self) -> str:
        """Title and unit in one line ("Top-1 (%)")."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, kw_only=True)
class Section:
    """The rows of one group: one backbone under one recipe."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a study."""

    name: str
    """Of its files, and its anchor in the page."""
    study: str
    """That it is of."""
    title: str
    """Its heading in the page ("Configurations")."""
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    caption: str
    limits: tuple[str, ...] = ()
    """What a reader must know of single rows; printed with it in every format."""
    notes: tuple[str, ...] = ()
    """How its numbers were come by."""
    records: Sequence[Mapping[str, object]] = field(default=())
    """The rows for machines, one by one: plain numbers, None where there is none."""

    @property
    def label(self) -> str:
        """What a paper refers to it by."""
        return f"{self.study}-{self.name}"

    @property
    def is_grouped(self) -> bool:
        """Whether the titles of its sections say what its rows do not."""
        named = any(column.names_group for column in self.columns)
        return len(self.sections) > 1 or (not named and any(s.title for s in self.sections))

    @property
    def marks(self) -> list[Mark]:
        """The marks that its cells have, in the order of ``MEANINGS``."""
        found = {cell.mark for section in self.sections for row in section.rows for cell in row}
        return [mark for mark in MEANINGS if mark in found]

    @property
    def legend(self) -> str:
        """What its signs mean, to be printed right under it."""
        return " ".join(f"{SIGNS[mark] or 'Bold'}: {MEANINGS[mark]}." for mark in self.marks)
