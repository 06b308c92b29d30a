"""The page of a report: one file that needs no network and no other file.

Without its script the page is complete; with it tables are sorted and filtered.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.configs import ConfigRow
from reports.facts import provenance
from reports.figures.style import INK, PAPER
from reports.printed import with_minus
from reports.rows import StudyRows
from reports.summary import Summary
from reports.tables.base import MEANINGS, MISSING, SIGNS, Cell, Kind, Table
from reports.tables.trials import all_trials, refused, without_result
from sweep.tracking.links import MOST_COMPARED, OWN_SERVER, comparison_page, run_page, sweep_page

TEMPLATES = Path(__file__).parent / "templates"
PIXELS_PER_POINT = 2.0
"""How large a figure is at most: 7.5 pt of a paper's column are 15 px of a screen."""
LONG = 40
"""Rows from which a table scrolls under its headings."""
THEMED = {INK: "ink", PAPER: "paper", "#e4e4e4": "grid", "#0072b2": "blue"}
"""Colours of figures, and the variables that a page has for them: others are dark."""
OPEN_NOTES = 8
"""Notes on a table from which the others are folded away: of many trials many are to be said."""
WIDE = 60
"""Characters from which a cell breaks into lines."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, drawn."""

    name: str
    """Of its files, and its anchor in the page."""
    title: str
    caption: str
    """What it shows, for those who do not see it too."""
    svg: str
    """As matplotlib wrote it."""
    folded: bool = False
    """Whether it is behind its title until it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What index.html shows, in its order; the trials and where they come from follow."""

    rows: StudyRows
    configs: Sequence[ConfigRow]
    summary: Summary
    effects: Sequence[str] = ()
    """Sentences on hyperparameters."""
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    files: Sequence[str] = ()
    """Names of the files that lie beside the page; those of a table or figure have its name."""
    space: str | None = None
    """The search space as it was run, as YAML."""
    server: str | None = None
    """Address of MLflow's pages; None links nothing (the report was made from an export)."""
    refresh: int | None = None
    """Seconds after which the page reloads itself, while its sweep runs."""

    def link(self, runs: Sequence[str]) -> str | None:
        """Return the address of the runs that a number was computed from.

        That is a run's page, MLflow's comparison of several, or all of the sweep's where they are
        more than it compares. None without a server.
        """
        if self.server is None or not runs:
            return None
        if len(runs) > MOST_COMPARED:
            return sweep_page(self.server, self.rows.experiment_id, self.rows.study)
        if len(runs) > 1:
            return comparison_page(self.server, {run: self._experiment(run) for run in runs})
        return run_page(self.server, self._experiment(runs[0]), runs[0])

    def files_of(self, name: str) -> Iterator[str]:
        """Yield the files of a table or figure."""
        return (file for file in self.files if Path(file).stem == name)

    def _experiment(self, run: str) -> str:
        """Return a run's experiment; of the parent run it is the sweep's."""
        return self._experiments.get(run, self.rows.experiment_id)

    @cached_property
    def _experiments(self) -> Mapping[str, str]:
        trials = self.rows.trials
        measured = {cost.run_id: cost.experiment_id for trial in trials for cost in trial.costs}
        return measured | {trial.run_id: trial.experiment_id for trial in trials}


def render(page: Page) -> str:
    """Return index.html."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            page=page,
            tables=(*page.tables, *_trials(page)),
            own_server=page.server == OWN_SERVER,
            script=Markup(script),
            script_hash=_hash(script),
            svgs={drawing.name: Markup(inline_svg(drawing)) for drawing in page.drawings},
            facts=provenance(page.rows),
            sort_key=sort_key,
            signs={**SIGNS, "best": "★"},
            meanings=MEANINGS,
            long=LONG,
            wide=WIDE,
            open_notes=OPEN_NOTES,
        )
    )


def environment() -> Environment:
    """Return where templates come from, and how they are filled."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["minus"] = with_minus
    return made


def sort_key(cell: Cell, kind: Kind) -> str | None:
    """Return what a cell is sorted by: empty comes last, None stands for the cell's own text."""
    if isinstance(cell.sort, float | int):
        return f"{cell.sort:.12g}" if math.isfinite(cell.sort) else ""
    if cell.sort is None:
        return "" if kind != "text" or cell.text == MISSING else None
    return cell.sort if cell.sort != cell.text else None


def inline_svg(drawing: Drawing) -> str:
    """Return an SVG as an element of a page, in the page's colours.

    Its prologue and what refers to other places (a doctype, metadata) are dropped; the namespaces
    are only names. Its ids begin with its name, since other figures have the same ones. Where
    colours are values (an image, a mesh) it keeps them all, and the white that they are seen on.
    """
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    width = float(head.partition(' width="')[2].partition("pt")[0])
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{drawing.name}.", body)
    kept = re.search(r"<image|QuadMesh", body)
    for colour, variable in () if kept else THEMED.items():
        body = body.replace(colour, f"var(--{variable})")
    attributes = f'class="{"printed" if kept else "themed"}" role="img"'
    attributes += f' aria-labelledby="figure-{drawing.name}-text"'
    return f'{head} {attributes} style="--width: {width * PIXELS_PER_POINT:.0f}px">{body}'


def _trials(page: Page) -> Iterator[Table]:
    """Yield the tables of single trials that have rows, what is amiss first."""
    tables = (
        without_result(page.rows, page.configs),
        refused(page.rows),
        all_trials(page.rows, page.configs),
    )
    return (table for table in tables if table is not None)


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy calls a script, so that it allows no other one."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
