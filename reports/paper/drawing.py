"""ELA's Figure 1, drawn from the published points, and studies of ours beside them.

It is apart from the points, which are read without matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from reports.configs import config_rows
from reports.figures.overview import Facet, Mark, facet_of, overview
from reports.figures.style import save
from reports.paper.figure_1 import ABBREVIATED, Point, points
from reports.rows import BASELINE, study_rows
from reports.writing import writing_to
from sweep.errors import UserError
from sweep.spec.labels import display_name
from sweep.tracking.reading import read_study


def write_figure_1(studies: Sequence[str], uri: str, target: Path) -> Iterator[Path]:
    """Write figure_1.png, .svg and .pdf: a panel per published task, and one per study.

    Args:
        studies: names of sweeps; with none, the store is not opened.
        uri: of the MLflow store.
        target: folder to write to; created if it is not there.

    Yields:
        The path of each file.

    Raises:
        UserError: there is no such store or study, a study has no result, or the folder cannot be
            written to.
    """
    figure = overview([*published(), *(_measured(study, uri) for study in studies)])
    assert figure is not None  # the papers have points
    with writing_to(target):
        target.mkdir(parents=True, exist_ok=True)
        yield from save(figure, target / "figure_1")


def published() -> list[Facet]:
    """Return the panels of the paper, from left to right."""
    return [
        Facet(
            title=table.upper().replace("-", ", Table "),
            axis=f"{panel[0].upper()}{panel[1:]} (%)",
            marks=tuple(map(_mark, marks)),
        )
        for (table, panel), marks in groupby(points(), key=lambda point: (point.table, point.panel))
    ]


def _mark(point: Point) -> Mark:
    own = point.row.removeprefix("+").removesuffix("(Ours)")
    label = display_name(BASELINE) if point.module == BASELINE else own
    return Mark(point.backbone, point.module, label, float(point.score))


def _measured(study: str, uri: str) -> Facet:
    rows = study_rows(read_study(uri, study))
    facet = facet_of(rows, config_rows(rows), ABBREVIATED)
    if not facet.marks:
        raise UserError(f"{study} has no result yet: there is nothing to draw of it")
    return facet
