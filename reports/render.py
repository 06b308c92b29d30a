"""The report of a study: read, compute, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.configs import ConfigRow, by_group, config_rows
from reports.figures import accuracy_against_parameters, save
from reports.html import Drawing, Page, render
from reports.rows import StudyRows, study_rows
from reports.summary import summarise
from reports.tables import base
from reports.tables.scores import (
    Cell,
    Table,
    caption,
    comma_separated,
    latex,
    markdown,
    metric_name,
    notes,
)
from reports.writing import writing_to
from sweep.tracking.pages import server_of
from sweep.tracking.reading import read_study

FIGURE = "accuracy_vs_params"


def write_report(study: str, tracking_uri: str, target: Path) -> Iterator[Path]:
    """Write the report of a study: table.md, .tex, .csv, accuracy_vs_params.* and index.html.

    Every file is whole, or the one that was there before.

    Args:
        study: name of the sweep.
        tracking_uri: of the MLflow store.
        target: folder to write to; created if it is not there.

    Yields:
        The path of each file, once it is written.

    Raises:
        UserError: there is no such store or study, or the folder cannot be written to.
    """
    rows = study_rows(read_study(tracking_uri, study))
    configs = config_rows(rows)
    table = Table(rows, configs)
    with writing_to(target):
        yield from _written(rows, configs, table, server_of(tracking_uri), target)


def _written(
    rows: StudyRows, configs: Sequence[ConfigRow], table: Table, server: str, target: Path
) -> Iterator[Path]:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".report-") as scratch:
        draft = Path(scratch)
        figures = save(accuracy_against_parameters(rows, configs), draft / FIGURE)
        svg = (draft / FIGURE).with_suffix(".svg").read_text(encoding="utf-8")
        texts = {
            "table.md": markdown(table),
            "table.tex": latex(table),
            "table.csv": comma_separated(table),
            "index.html": render(
                Page(
                    rows=rows,
                    configs=configs,
                    summary=summarise(rows, configs),
                    drawings=[
                        Drawing(
                            name=FIGURE,
                            title=f"{metric_name(rows.compared)} against parameters",
                            caption=_figure_text(rows),
                            svg=svg,
                        )
                    ],
                    tables=[_as_base(table)] if table.configs else [],
                    files=[f"{FIGURE}.pdf", f"{FIGURE}.png", "table.md", "table.tex", "table.csv"],
                    server=server,
                )
            ),
        }
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8", newline="\n")
        for path in [*figures, *(draft / name for name in texts)]:
            yield path.replace(target / path.name)


def _figure_text(rows: StudyRows) -> str:
    """Return what the figure shows, for those who do not see it and for its caption."""
    return (
        f"Test {metric_name(rows.compared)} against parameters (thop's convention), one panel per "
        "backbone. Marker: mean; bar: ± sample standard deviation over seeds; small dots: single "
        "seeds; dashed: mean of the baseline. The values are in the table."
    )


def _as_base(table: Table) -> base.Table:
    """Return the table in the form that the page shows."""
    kinds: list[base.Kind] = ["text", "text"]
    kinds += ["number"] * 3
    kinds += ["spread"] * (len(table.header) - len(kinds))
    sections = zip(by_group(table.configs).values(), table.sections, strict=True)
    return base.Table(
        name="table",
        title="Configurations",
        columns=tuple(
            base.Column(title=title, kind=kind)
            for title, kind in zip(table.header, kinds, strict=True)
        ),
        sections=tuple(
            base.Section(
                title=section.title,
                rows=tuple(
                    tuple(_as_cells(config, row))
                    for config, row in zip(configs, section.rows, strict=True)
                ),
            )
            for configs, section in sections
        ),
        caption=caption(table.rows),
        notes=tuple(notes(table)),
    )


def _as_cells(config: ConfigRow, row: Sequence[Cell]) -> Iterator[base.Cell]:
    runs = tuple(trial.run_id for trial in config.trials if trial.status == "done")
    for place, cell in enumerate(row):
        number = cell.text.partition(" ")[0]
        sort = float(number) if place > 1 and cell.text != base.MISSING else None
        yield base.Cell(
            text=cell.text,
            sort=sort,
            mark="best" if cell.bold else "",
            runs=runs if place > 4 and sort is not None else (),
        )
