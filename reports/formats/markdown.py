"""Tables in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from reports.printed import with_minus
from reports.tables.base import EMPTY, SIGNS, Cell, Table


def markdown(table: Table) -> str:
    """Return a table with its title, caption and notes."""
    align = ["---" if column.kind == "text" else "---:" for column in table.columns]
    header = [markdown_text(column.heading) for column in table.columns]
    lines = [markdown_row(header), markdown_row(align)]
    for section in table.sections:
        if table.is_grouped:
            title = f"**{markdown_text(section.title)}**"
            lines.append(markdown_row([title, *[""] * (len(table.columns) - 1)]))
        lines += [markdown_row(map(_cell, row)) for row in section.rows]
    text = [f"# {markdown_text(table.study)}: {markdown_text(table.title)}", ""]
    text += [*(lines if table.sections else [EMPTY]), ""]
    text += [f"{markdown_text(line)}\n" for line in (table.legend, table.caption) if line]
    text += [f"- {markdown_text(note)}" for note in (*table.limits, *table.notes)]
    return "\n".join(text).rstrip() + "\n"


def markdown_row(cells: Iterable[str]) -> str:
    """Return a line of a table, of cells that are Markdown."""
    return f"| {' | '.join(cells)} |"


def markdown_text(text: str) -> str:
    """Return text as Markdown shows it literally."""
    for character in "\\|*_<`":
        text = text.replace(character, "\\" + character)
    return text


def _cell(cell: Cell) -> str:
    text = markdown_text(with_minus(cell.text))
    device = f" [{cell.device}]" if cell.device else ""
    if cell.mark == "best":
        return f"**{text}**{device}"
    return text + markdown_text(SIGNS[cell.mark]) + device
