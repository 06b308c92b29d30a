r"""Tables in LaTeX: booktabs, numbers in siunitx columns, the plain article class.

A spread is three columns, mean, ± and std, and a fourth with the number of seeds where that differs
from the spread before. Not one number with an uncertainty: siunitx leaves out an uncertainty of
zero, as if there were none. Groups have a line of their own and not a column, for the width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.printed import with_minus
from reports.tables.base import EMPTY, MISSING, SIGNS, Cell, Column, Section, Table

PREAMBLE = r"\usepackage{booktabs,graphicx,siunitx}"
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Before a tabular: makes it as narrow as the text, where it is wider."""
NO_NUMBER = "{--}"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": r"$-$",
    "†": r"\dag{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
PAGE = 45
"""Rows that a page of the article class has room for."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def latex(table: Table) -> str:
    """Return a table float, or several where the rows would not fit on a page."""
    pieces = _pieces(table)
    lines = [f"% {PREAMBLE}", *(f"% {note}" for note in table.notes)]
    for number, piece in enumerate(pieces, start=1):
        part = f" (Part {number} of {len(pieces)}.)" if len(pieces) > 1 else ""
        lines += [
            r"\begin{table}",
            r"\centering",
            r"\footnotesize\setlength{\tabcolsep}{3pt}",
            r"\sisetup{detect-weight=true, retain-explicit-plus=true}",
            rf"\caption{{{escape(table.caption + part)}}}\smallskip",
            *([rf"\label{{tab:{table.label}}}"] if number == 1 else []),
            *([FITTED, *_tabular(piece), "}"] if piece.sections else [EMPTY]),
            *_under(piece if number < len(pieces) else replace(piece, limits=table.limits)),
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _pieces(table: Table) -> list[Table]:
    """Return tables of at most ``PAGE`` rows; a section that goes on has its title again."""
    pieces: list[list[Section]] = [[]]
    room = PAGE
    for section in table.sections:
        rows = section.rows
        while rows:
            if not room:
                pieces.append([])
                room = PAGE
            pieces[-1].append(replace(section, rows=rows[:room]))
            rows, room = rows[room:], room - len(rows[:room])
    return [replace(table, sections=tuple(sections), limits=()) for sections in pieces]


def _under(table: Table) -> list[str]:
    """Return the lines below a table: what its signs mean, and what limits its rows."""
    lines = [*([table.legend] if table.legend else []), *table.limits]
    if not lines:
        return []
    words = " ".join(escape(line) for line in lines)
    return ["", r"\smallskip", rf"\parbox{{\linewidth}}{{\scriptsize {words}}}"]


def escape(text: str) -> str:
    """Return text as LaTeX prints it literally."""
    return "".join(SPECIAL.get(character, character) for character in text)


@dataclass(frozen=True)
class _Block:
    """One column of a table as the columns that LaTeX needs for it."""

    kinds: tuple[str, ...]
    heading: tuple[str, str]
    """Two lines: title and unit, so that narrow columns stay narrow."""
    cells: tuple[str, ...]
    """Of every row, with the ampersands between them."""


def _tabular(table: Table) -> list[str]:
    blocks = _blocks(table)
    rows = iter(zip(*(block.cells for block in blocks), strict=True))
    width = sum(len(block.kinds) for block in blocks)
    lines = [
        rf"\begin{{tabular}}{{@{{}}{''.join(kind for b in blocks for kind in b.kinds)}@{{}}}}",
        r"\toprule",
        *(_line([block.heading[part] for block in blocks]) for part in _parts(table)),
    ]
    for section in table.sections:
        title = rf"\multicolumn{{{width}}}{{@{{}}l@{{}}}}{{\emph{{{escape(section.title)}}}}}"
        lines += [r"\midrule", *([_line([title])] if section.title else [])]
        lines += [_line(next(rows)) for _ in section.rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _parts(table: Table) -> tuple[int, ...]:
    """Return the lines of the heading: titles, and units where there are any."""
    return (0, 1) if any(column.unit for column in table.columns) else (0,)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _blocks(table: Table) -> list[_Block]:
    """Return the columns; seeds are counted again only where they differ from those before."""
    blocks, counted = [], None
    for place, column in enumerate(table.columns):
        if column.names_group:
            continue
        cells = [row[place] for section in table.sections for row in section.rows]
        if column.kind == "text":
            blocks.append(_words(column, cells, "l"))
        elif column.kind == "number":
            blocks.append(_numbers(column, cells))
        else:
            counts = [cell.parts[2] if cell.parts else None for cell in cells]
            blocks.append(_spreads(column, cells, counted=counts != counted))
            counted = counts
    return blocks


def _words(column: Column, cells: Sequence[Cell], kind: str) -> _Block:
    texts = tuple(escape(with_minus(cell.text)) + _sign(cell) for cell in cells)
    return _Block((kind,), (escape(column.title), _unit(column)), texts)


def _numbers(column: Column, cells: Sequence[Cell]) -> _Block:
    """Return an S column, or one of words where there is more than a number in a cell."""
    texts = [cell.text for cell in cells if cell.text != MISSING]
    if not all(NUMBER.fullmatch(text) for text in texts):
        return _words(column, cells, "r")
    shown = tuple(
        (_bold(cell) + cell.text if cell.text != MISSING else NO_NUMBER) + _sign(cell)
        for cell in cells
    )
    heading = (f"{{{escape(column.title)}}}", f"{{{_unit(column)}}}")
    return _Block((f"S[{_format(texts)}]",), heading, shown)


def _spreads(column: Column, cells: Sequence[Cell], *, counted: bool) -> _Block:
    means, stds = ([cell.parts[i] for cell in cells if cell.parts] for i in (0, 1))
    kinds = (
        f"S[{_format(means)}]",
        r"@{\,}c@{\,}",
        f"S[{_format(stds)}, table-number-alignment=left]",
        *([r"@{\hspace{9pt}}c"] if counted else []),  # the sign of a mark hangs over
    )
    title = rf"\multicolumn{{3}}{{c}}{{{escape(column.title)}}}" + r" & $n$" * counted
    under = rf"\multicolumn{{3}}{{c}}{{{_unit(column)}}}" + " &" * counted
    return _Block(kinds, (title, under), tuple(_spread(cell, counted=counted) for cell in cells))


def _spread(cell: Cell, *, counted: bool) -> str:
    mean, std, n = cell.parts or (NO_NUMBER, "", "")
    shown = [_bold(cell) + mean, r"$\pm$" if std else "", std + _sign(cell)]
    return " & ".join([*shown, n] if counted else shown)


def _bold(cell: Cell) -> str:
    return r"\bfseries " if cell.mark == "best" else ""


def _sign(cell: Cell) -> str:
    """Return the sign of a mark, and a device's letter; without room, so that numbers align."""
    sign = SIGNS[cell.mark] + cell.device
    return rf"{{\rlap{{\textsuperscript{{{escape(sign)}}}}}}}" if sign else ""


def _unit(column: Column) -> str:
    return f"({escape(column.unit)})" if column.unit else ""


def _format(texts: Sequence[str]) -> str:
    """Return the option of an S column that makes room for the widest of its numbers."""
    numbers = [text for text in texts if text]
    whole = max((len(text.lstrip("+-").partition(".")[0]) for text in numbers), default=1)
    fraction = max((len(text.partition(".")[2]) for text in numbers), default=0)
    sign = "+" if any(text[0] in "+-" for text in numbers) else ""
    return f"table-format={sign}{whole}.{fraction}"
