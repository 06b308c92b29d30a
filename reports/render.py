"""The report of a study: read, compute, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from reports.configs import ConfigRow, config_rows
from reports.drawing import Figures, draw
from reports.effect_words import sentences
from reports.effects import Effects, effects
from reports.figures.style import save_pages
from reports.formats.comma_separated import comma_separated
from reports.formats.latex import latex
from reports.formats.markdown import markdown
from reports.html import Drawing, Page, render
from reports.importance import importances
from reports.rows import StudyRows, study_rows
from reports.sources import Source
from reports.summary import summarise
from reports.tables.base import Table
from reports.tables.comparisons import comparisons
from reports.tables.cost import cost_table
from reports.tables.effects import effects_table, interactions_table
from reports.tables.importance import importance_table
from reports.tables.scores import scores
from reports.writing import writing_to

FORMATS = {".md": markdown, ".tex": latex, ".csv": comma_separated}
PAGE = "index.html"
MANIFEST = ".report-files"
"""Lists the files of the last report, so that the next one knows which are its own."""


def write_report(source: Source, target: Path, *, refresh: int | None = None) -> Iterator[Path]:
    """Write the report of a study: its tables and figures, each in every format, and index.html.

    Every file is whole, or the one that was there before; what an earlier report had, and this one
    has not, goes last.

    Args:
        source: of the study.
        target: folder to write to; created if it is not there.
        refresh: seconds after which the page loads itself again; None if it is the last one.

    Yields:
        The path of each file, once it is written.

    Raises:
        UserError: the folder cannot be written to, or the store does not answer.
    """
    rows = study_rows(source.record)
    configs = config_rows(rows)
    found = effects(rows, configs)
    figures = draw(source, rows, configs, found)
    summary = summarise(rows, configs)
    tables = _tables(rows, configs, found)
    with writing_to(target):
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".report-") as scratch:
            draft = Path(scratch)
            drawings = [d for figure in figures for d in _save(figure, draft)]
            for table in tables:
                for suffix, text in FORMATS.items():
                    _write(draft / f"{table.name}{suffix}", text(table))
            page = Page(
                rows=rows,
                configs=configs,
                summary=replace(summary, warnings=(*summary.warnings, *source.notes)),
                effects=sentences(found, rows.compared),
                drawings=drawings,
                tables=tables,
                files=sorted(path.name for path in draft.iterdir()),
                space=source.space,
                server=source.server,
                refresh=refresh,
            )
            _write(draft / PAGE, render(page))
            written = [path.replace(target / path.name) for path in sorted(draft.iterdir())]
            yield from written
        _remove_stale(target, written)


def _tables(rows: StudyRows, configs: Sequence[ConfigRow], found: Effects) -> list[Table]:
    """Return the tables that have something to show, the main one always."""
    tables = (
        scores(rows, configs),
        comparisons(rows, configs),
        effects_table(rows, found),
        interactions_table(rows, found),
        importance_table(rows, importances(rows, configs)),
        cost_table(rows, configs),
    )
    return [table for table in tables if table is not None]


def _save(figures: Figures, folder: Path) -> Iterator[Drawing]:
    """Write the pages of a figure; yield them as the report's page shows them."""
    paths = save_pages(figures.pages, folder / figures.name)
    for number, path in enumerate((p for p in paths if p.suffix == ".svg"), start=1):
        several = f", {number} of {len(figures.pages)}" if len(figures.pages) > 1 else ""
        yield Drawing(
            name=path.stem,
            title=figures.title + several,
            caption=figures.caption,
            svg=path.read_text(encoding="utf-8"),
            folded=figures.folded,
        )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _remove_stale(target: Path, written: Sequence[Path]) -> None:
    """Remove what an earlier report wrote, and this one has not; other files are not ours."""
    manifest = target / MANIFEST
    names = [path.name for path in written]
    before = manifest.read_text(encoding="utf-8").splitlines() if manifest.exists() else []
    for name in before:
        if name == Path(name).name and name not in names:
            (target / name).unlink(missing_ok=True)
    _write(manifest, "\n".join([*names, ""]))
