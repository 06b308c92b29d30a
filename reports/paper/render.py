"""A published table beside ours in Markdown, LaTeX, CSV and HTML, and all of them in a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args

from reports.formats.latex import FITTED, escape
from reports.formats.markdown import markdown_row, markdown_text
from reports.html import environment
from reports.paper.audit import VERDICTS, AuditedCell, Verdict, audit_table
from reports.paper.figure_1 import Point, points
from reports.paper.layout import MARKS, MEANING, Layout, lay_out
from reports.paper.measured import measured
from reports.paper.published import TABLES
from reports.paper.statements import Statement, statements
from reports.writing import writing_to
from sweep.tracking.reading import RunRecord

Format = Literal["md", "tex", "csv", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)
LATEX_MARKS = {
    "†": r"\rlap{\textsuperscript{\dag}}",  # beside the number, which stays aligned
    "‡": r"\rlap{\textsuperscript{\ddag}}",
    "*": r"\rlap{*}",
    "✓": r"\checkmark",
}


LATEX_LEGEND: Mapping[Verdict, str] = {
    "truncated": r"\ddag",
    "explained": r"\dag",
    "unexplained": "*",
}


def render(layout: Layout, form: Format) -> str:
    """Return a table in a format."""
    return RENDERERS[form](layout)


def write_all(runs: Sequence[RunRecord], target: Path) -> Iterator[Path]:
    """Write every table in every format, audit.json, the points of Figure 1, and index.html.

    Yields:
        The path of each file, once it is written.

    Raises:
        UserError: the folder cannot be written to.
    """
    audited = {name: audit_table(TABLES[name]) for name in TABLES.names()}
    layouts = [lay_out(TABLES[n], audited[n], measured(TABLES[n], runs)) for n in TABLES.names()]
    cells = [cell for rows in audited.values() for row in rows for cell in row]
    stated = statements()
    texts = {
        f"{layout.table.name}.{form}": render(layout, form)
        for layout in layouts
        for form in FORMATS
    }
    texts["figure-1.csv"] = _figure_1()
    texts["audit.json"] = json.dumps(audit_record(cells, stated), indent=1) + "\n"
    texts["index.html"] = _index(layouts, cells, stated)
    with writing_to(target):
        target.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = target / name
            path.write_text(text, encoding="utf-8", newline="\n")
            yield path


def audit_record(cells: Sequence[AuditedCell], stated: Sequence[Statement]) -> dict[str, Any]:
    """Return the audit as plain data: summary, cells, statements."""
    return {
        "summary": {"cells": len(cells), **verdicts(cells)},
        "cells": [asdict(cell) for cell in cells],
        "statements": [asdict(statement) for statement in stated],
    }


def verdicts(cells: Sequence[AuditedCell]) -> dict[str, int]:
    """Return how many cells have each verdict."""
    return {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in VERDICTS}


def _title(layout: Layout) -> str:
    return f"{layout.table.reference}: {layout.table.title}"


def _heading(heading: str, part: str) -> str:
    return f"{heading}, {part}" if part else heading


# Markdown ----------------------------------------------------------------------------------------


def _markdown(layout: Layout) -> str:
    align = ["---:" if part else "---" for _, part in layout.columns]
    header = [markdown_text(_heading(*column)) for column in layout.columns]
    lines = [markdown_row(header), markdown_row(align)]
    lines += [markdown_row(map(markdown_text, row)) for row in layout.rows]
    notes = [f"- {markdown_text(note)}" for note in layout.notes]
    return "\n".join([f"# {markdown_text(_title(layout))}", "", *lines, "", *notes]) + "\n"


# LaTeX -------------------------------------------------------------------------------------------


def _latex(layout: Layout) -> str:
    """Return a table float that needs booktabs, graphicx and amssymb, and the article class."""
    body = []
    for number, row in enumerate(layout.rows):
        if number in layout.breaks:
            body.append(r"\midrule")
        body.append(" & ".join(map(_latex_text, row)) + r" \\")
    kinds = "".join("r" if part else "l" for _, part in layout.columns)
    lines = [
        r"% \usepackage{booktabs,graphicx,amssymb}",
        *(f"% {note}" for note in layout.notes),
        r"\begin{table}",
        r"\centering",
        r"\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex_text(_title(layout))}}}\smallskip",
        rf"\label{{tab:{layout.table.name}}}",
        FITTED,
        rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}",
        r"\toprule",
        *_latex_header(layout),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        "}",
        *_latex_legend(layout),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_header(layout: Layout) -> list[str]:
    """Return the headings, each over its parts, a line between, and the parts."""
    headings, rules, column = [], [], 1
    for group in layout.groups:
        heading, span = _latex_text(group.heading), len(group.parts)
        headings.append(rf"\multicolumn{{{span}}}{{c}}{{{heading}}}" if span else heading)
        if span:
            rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span or 1
    lines = [" & ".join(headings) + r" \\"]
    if rules:
        lines += ["".join(rules), " & ".join(_latex_text(p) for _, p in layout.columns) + r" \\"]
    return lines


def _latex_legend(layout: Layout) -> list[str]:
    """Return what the marks in the table mean, in a line below it."""
    used = [verdict for verdict, mark in MARKS.items() if mark and _marked(layout, mark)]
    if not used:
        return []
    legend = "; ".join(f"{LATEX_LEGEND[verdict]} {MEANING[verdict]}" for verdict in used)
    return ["", r"\smallskip", rf"\scriptsize {legend}."]


def _marked(layout: Layout, mark: str) -> bool:
    return any(text.endswith(mark) for row in layout.rows for text in row)


def _latex_text(text: str) -> str:
    text = escape(text)
    for mark, command in LATEX_MARKS.items():
        text = text.replace(mark, command)
    return text


# CSV ---------------------------------------------------------------------------------------------


def _comma_separated(layout: Layout) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_heading(*column) for column in layout.columns])
    marks = "".join(MARKS.values())
    writer.writerows([text.rstrip(marks) for text in row] for row in layout.rows)
    return out.getvalue()


def _figure_1() -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points())
    return out.getvalue()


# HTML --------------------------------------------------------------------------------------------


def _html(layout: Layout) -> str:
    template = environment().get_template("paper_table.html.j2")
    return template.render(layout=layout, title=_title(layout))


def _index(
    layouts: Sequence[Layout], cells: Sequence[AuditedCell], stated: Sequence[Statement]
) -> str:
    counts = {
        what: verdicts([cell for cell in cells if cell.column == column])
        for what, column in (("parameters", "params"), ("FLOPs", "gflops"))
    }
    template = environment().get_template("paper.html.j2")
    return template.render(
        layouts=layouts, counts=counts, statements=stated, formats=FORMATS, verdicts=VERDICTS
    )


RENDERERS: Mapping[Format, Callable[[Layout], str]] = {
    "md": _markdown,
    "tex": _latex,
    "csv": _comma_separated,
    "html": _html,
}
