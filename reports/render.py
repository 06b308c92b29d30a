"""The report of a study: read, compute, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.configs import ConfigRow, config_rows
from reports.figures.accuracy import PARAMETERS, score_against
from reports.figures.style import nothing, save_pages
from reports.html import page
from reports.rows import StudyRows, study_rows
from reports.summary import summarise
from reports.tables.scores import Table, comma_separated, latex, markdown
from reports.writing import writing_to
from sweep.tracking.reading import StudyRecord

FIGURE = "accuracy_vs_params"


def write_report(
    record: StudyRecord, target: Path, *, refresh: int | None = None
) -> Iterator[Path]:
    """Write the report of a study: table.md, .tex, .csv, accuracy_vs_params.* and index.html.

    Every file is whole, or the one that was there before.

    Args:
        record: the study, as a store or an export has it.
        target: folder to write to; created if it is not there.
        refresh: seconds after which the page loads itself again; None if it is the last one.

    Yields:
        The path of each file, once it is written.

    Raises:
        UserError: the folder cannot be written to.
    """
    rows = study_rows(record)
    configs = config_rows(rows)
    table = Table(rows, configs)
    with writing_to(target):
        yield from _written(rows, configs, table, target, refresh)


def _written(
    rows: StudyRows,
    configs: Sequence[ConfigRow],
    table: Table,
    target: Path,
    refresh: int | None,
) -> Iterator[Path]:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".report-") as scratch:
        draft = Path(scratch)
        drawn = score_against(rows, configs, PARAMETERS) or (nothing(),)
        figures = save_pages(drawn, draft / FIGURE)
        svg = next(p for p in figures if p.suffix == ".svg").read_text(encoding="utf-8")
        texts = {
            "table.md": markdown(table),
            "table.tex": latex(table),
            "table.csv": comma_separated(table),
            "index.html": page(table, summarise(rows, configs), svg, refresh),
        }
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8", newline="\n")
        for path in [*figures, *(draft / name for name in texts)]:
            yield path.replace(target / path.name)
