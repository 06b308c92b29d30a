"""The papers' text and an audit of their parameters, where they are at hand, as plain rows."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

DATA = Path(os.environ.get("SWEEP_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
PAPERS = DATA.parent / "papers"
AUDIT = PAPERS / "params_audit.csv"

needs_papers = pytest.mark.skipif(
    not PAPERS.is_dir(), reason="the papers' text is not in ../shared/papers"
)

LATEX = re.compile(r"\\(?:mathrm|operatorname)|</?b>|\[[0-9]+\]|[${}_\\\s]")


class AuditedRow(NamedTuple):
    """One parameter cell of params_audit.csv."""

    table: str
    label: str
    hyperparameters: str
    printed: float
    match: str
    """"Y", "Y(relabel)", "Y(fit-...)", "Y(trunc)" or "N"."""
    true: int
    counted: int


def printed_tables(paper: str) -> list[list[list[str]]]:
    """Return the rows of every table of "ELA" or "EMA", headings first, cells as ``plain`` ones.

    In the text only rows of tables have tabs. A cell that is empty has the text above it.
    """
    lines = (PAPERS / f"{paper.lower()}.txt").read_text(encoding="utf-8").splitlines()
    blocks = groupby(lines, lambda line: "\t" in line)
    return [list(_filled(block)) for is_table, block in blocks if is_table]


def section(paper: str, name: str) -> str:
    """Return the text of a section ("section 4.2") of "ELA" or "EMA"; of the paper for "Eq. 1"."""
    text = (PAPERS / f"{paper.lower()}.txt").read_text(encoding="utf-8")
    if not name.startswith("section "):
        return text
    heading = r"^(?:#+ )?(\d(?:\.\d)*)\.? ?(?=[A-Z])"
    # The text before the first heading, then numbers and texts in turn.
    _, *parts = re.split(heading, text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))[name.removeprefix("section ")]


def plain(cell: str) -> str:
    """Return a cell without LaTeX, emphasis, citations, underscores and spaces."""
    marks = cell.replace(r"\checkmark", "✓").replace("Х", "×")  # a Cyrillic letter for ×
    return LATEX.sub("", marks)


def audited_rows() -> list[AuditedRow]:
    """Return the rows of params_audit.csv, in the order of the papers."""
    with AUDIT.open(encoding="utf-8", newline="") as file:
        return [_audited_row(record) for record in csv.DictReader(file)]


def _filled(block: Iterator[str]) -> Iterator[list[str]]:
    above: list[str] = []
    for line in block:
        cells = [plain(cell) for cell in line.split("\t")]
        above = [cell or old for cell, old in zip(cells, above or cells, strict=True)]
        yield above


def _audited_row(record: dict[str, str]) -> AuditedRow:
    counts = dict(re.findall(r"(true|counted)=(\d+)", record["reading"]))
    return AuditedRow(
        table=f"{record['paper'].lower()}-{record['table']}",
        label=record["row_label"],
        hyperparameters=record["hyperparams"],
        printed=float(record["paper_params_m"]),
        match=record["match"],
        true=int(counts["true"]),
        counted=int(counts["counted"]),
    )
