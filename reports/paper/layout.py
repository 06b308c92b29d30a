"""A published table beside ours, as text in cells: what the renderers share.

Every column of numbers has two parts or more: as the paper prints it, and here. "Here" is a count
of this package's model by the table's convention, or the mean of what was measured on a data set.
Nothing is filled in that was not counted or measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.paper.audit import CONVENTIONS, AuditedCell, Verdict
from reports.paper.measured import Measured
from reports.paper.published import (
    Architecture,
    Column,
    PublishedTable,
    Row,
    printed_number,
)
from reports.printed import spread_text
from reports.stats import Spread
from sweep.registry import TASKS
from sweep.tasks.base import Metric

PAPER, HERE = "paper", "here"
MARKS: dict[Verdict, str] = {"exact": "", "truncated": "‡", "explained": "†", "unexplained": "*"}
MEANING: dict[Verdict, str] = {
    "exact": "",
    "truncated": "the printed number is ours, cut off and not rounded",
    "explained": "the printed number is that of another model or counter",
    "unexplained": "no model that was searched has the printed number",
}


@dataclass(frozen=True)
class Group:
    """One column of the paper, and what stands under it."""

    heading: str
    parts: tuple[str, ...]
    """Empty for text, which stands under the heading itself."""


@dataclass(frozen=True)
class Layout:
    """A table as it is rendered."""

    table: PublishedTable
    groups: tuple[Group, ...]
    rows: tuple[tuple[str, ...], ...]
    breaks: tuple[int, ...]
    """Numbers of the rows that a new architecture begins with, but the first."""
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """(heading, part) of every column of text in cells."""
        return tuple((g.heading, part) for g in self.groups for part in g.parts or ("",))

    @property
    def has_parts(self) -> bool:
        """Whether any heading stands over parts."""
        return any(group.parts for group in self.groups)


def lay_out(
    table: PublishedTable,
    audited: Sequence[Sequence[AuditedCell]],
    settings: Sequence[Measured],
) -> Layout:
    """Return a table with what was counted and what was measured filled in."""
    groups = tuple(_group(column, settings) for column in table.columns)
    rows = tuple(
        _row(table, number, row, audited[number], settings) for number, row in enumerate(table.rows)
    )
    return Layout(table, groups, rows, _breaks(table), tuple(_notes(table, audited, settings)))


def _group(column: Column, settings: Sequence[Measured]) -> Group:
    match column.kind:
        case "text":
            return Group(column.heading, ())
        case "metric":
            measured = [setting.title or HERE for setting in _with(column, settings)]
            return Group(column.heading, (PAPER, *(measured or [HERE])))
        case _:
            return Group(column.heading, (PAPER, HERE))


def _with(column: Column, settings: Sequence[Measured]) -> list[Measured]:
    """Return the settings under which a column's metric was measured for any row."""
    return [s for s in settings if any(metric == column.metric for _, metric in s.spreads)]


def _row(
    table: PublishedTable,
    number: int,
    row: Row,
    audited: Sequence[AuditedCell],
    settings: Sequence[Measured],
) -> tuple[str, ...]:
    counted = iter(audited)
    texts: list[str] = []
    for column, cell in zip(table.columns, row.cells, strict=True):
        texts.append(cell)
        if column.kind == "metric":
            found = _with(column, settings)
            texts += [_score(row, column, s, number) for s in found] or [""]
        elif column.kind != "text":
            texts.append(_count(next(counted)) if row.architecture is not None else "")
    return tuple(texts)


def _count(cell: AuditedCell) -> str:
    if cell.computed is None:
        return "none" + MARKS[cell.verdict]
    digits = -int(printed_number(cell.printed).as_tuple().exponent)
    unit = cell.unit if cell.printed[-1].isalpha() else ""
    return f"{cell.computed:.{digits}f}{unit}{MARKS[cell.verdict]}"


def _score(row: Row, column: Column, setting: Measured, number: int) -> str:
    assert row.architecture is not None
    assert column.metric is not None
    spread: Spread | None = setting.spreads.get((number, column.metric))
    return spread_text(spread, _metric(row, column.metric)) if spread else ""


def _metric(row: Row, name: str) -> Metric:
    assert row.architecture is not None
    task = TASKS[row.architecture.benchmark.task]
    return task.metric(name)


def _breaks(table: PublishedTable) -> tuple[int, ...]:
    """Return where a baseline begins a new group of rows."""
    return tuple(
        number
        for number, row in enumerate(table.rows)
        if number and row.architecture is not None and row.attention["name"] == "none"
    )


def _notes(
    table: PublishedTable, audited: Sequence[Sequence[AuditedCell]], settings: Sequence[Measured]
) -> list[str]:
    flat = [cell for row in audited for cell in row]
    if not flat:
        return ["No row is a trial: there is nothing to count or to measure."]
    lines = [*([f"{table.remark}."] if table.remark else []), _counting(table)]
    lines += [
        f"{MARKS[verdict]} {MEANING[verdict]}."
        for verdict in MARKS
        if MARKS[verdict] and any(cell.verdict == verdict for cell in flat)
    ]
    lines += [
        f"{cell.row} on {cell.backbone}, {cell.printed}: {cell.explanation}."
        for cell in flat
        if cell.explanation
    ]
    for row in table.rows:
        if row.architecture is not None:
            lines += _assumptions(row, row.architecture)
    return [*dict.fromkeys(lines), _measuring(settings)]


def _assumptions(row: Row, architecture: Architecture) -> list[str]:
    lines = []
    if row.assumed:
        lines.append(f"{row.label} on {architecture.backbone}: assumed is {row.assumed}.")
    if architecture.assumed:
        lines.append(f"{architecture.backbone}: assumed is {architecture.assumed}.")
    if architecture.benchmark.deviation:
        deviation = architecture.benchmark.deviation
        lines.append(f"Trained here otherwise than in the paper: {deviation}.")
    return lines


def _counting(table: PublishedTable) -> str:
    conventions = {row.params or table.params: None for row in table.rows if row.architecture}
    params = " or ".join(CONVENTIONS[convention] for convention in conventions)
    sizes = {c.unit for c in table.columns if c.kind == "params"}
    text = f"Parameters: {params}" + (", in MiB of float32" if "MiB" in sizes else "") + "."
    if any(column.kind == "macs" for column in table.columns):
        twice = "" if table.operations == 1 else "two for each of the "
        text += f" FLOPs: {twice}multiply-accumulates, {CONVENTIONS[table.macs]}."
    return text


def _measuring(settings: Sequence[Measured]) -> str:
    if not settings:
        return "Nothing of this table has been measured here."
    others = [setting.title for setting in settings if setting.title]
    text = "Measured: mean ± sample standard deviation over seeds (number of seeds), test split."
    return text + (f" Not the paper's training: {'; '.join(others)}." if others else "")
