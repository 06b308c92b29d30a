"""The page of a report: one file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.configs import ConfigRow
from reports.figures.style import INK, PAPER
from reports.rows import Status, StudyRows, TrialRow
from reports.summary import Summary

TEMPLATES = Path(__file__).parent / "templates"


def page(table: Table, summary: Summary, svg: str, refresh: int | None = None) -> str:
    """Return index.html.

    Args:
        table: of the study.
        summary: of the study.
        svg: the figure, as matplotlib wrote it.
        refresh: seconds after which the page loads itself again.
    """
    rows = table.rows
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            rows=rows,
            table=table,
            summary=summary,
            refresh=refresh,
            svg=Markup(inline_svg(svg)),
            figure_text=figure_text(table),
            caption=caption(rows),
            notes=notes(table),
            score_title=rows.compared.label,
            trials=[
                (config, trial, _score(rows, trial))
                for config in table.configs
                for trial in config.trials
            ],
            cut_short=[
                ("failed", "Failed trials", _with_status(table, "failed")),
                ("stopped", "Trials that were stopped early", _with_status(table, "stopped")),
            ],
            incomplete=[t for c in table.configs if (t := incomplete_text(c, rows.compared.name))],
            facts=provenance(rows),
            recipe=_settings(rows, "recipe."),
        )
    )


def environment() -> Environment:
    """Return where templates come from, and how they are filled."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline_svg(svg: str) -> str:
    """Return an SVG as an element of a page: without prologue, in the page's colours.

    References to other places (a doctype, metadata) are dropped; the namespaces are only names.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = element.replace("<svg", '<svg role="img" aria-labelledby="figure-text"', 1)
    return element.replace(INK, "var(--ink)").replace(PAPER, "var(--paper)")


def figure_text(table: Table) -> str:
    """Return what the figure shows, for those who do not see it and for its caption."""
    rows = table.rows
    return (
        f"Test {metric_name(rows.compared)} against parameters (thop's convention), one panel per "
        "backbone. Marker: mean; bar: ± sample standard deviation over seeds; small dots: single "
        "seeds; dashed: mean of the baseline. The values are in the table."
    )


def provenance(rows: StudyRows) -> list[tuple[str, str]]:
    """Return where the numbers come from: (what, value), in the order that they are read."""
    versions: dict[str, dict[str, None]] = {}
    for trial in rows.trials:
        for key, value in trial.versions.items():
            if key != "device" and value not in ("None", ""):
                versions.setdefault(key, {})[value] = None
    return [
        ("device", devices(rows)),
        *((key, ", ".join(values)) for key, values in versions.items()),
        ("sweep", rows.version),
        ("commit", rows.commit),
        ("data set", _settings(rows, "dataset")),
        ("MLflow parent run", rows.parent_id),
    ]


def _settings(rows: StudyRows, prefix: str) -> str:
    """Return the settings with a prefix: "epochs 5, lr 0.05"; of different trials all values."""
    values: dict[str, dict[str, None]] = {}
    for trial in rows.trials:
        for key, value in trial.settings.items():
            if key.startswith(prefix):
                values.setdefault(key.removeprefix(prefix).removeprefix("."), {})[value] = None
    return ", ".join(f"{key} {' | '.join(found)}".strip() for key, found in values.items())


def _score(rows: StudyRows, trial: TrialRow) -> str:
    score = trial.score(rows.compared.name)
    if score is not None:
        return number(score, rows.compared)
    return "not a finite number" if trial.status == "done" else MISSING


def _with_status(table: Table, status: Status) -> list[tuple[str, TrialRow]]:
    """Return the trials of a status, and what they are called."""
    trials = [trial for trial in table.rows.trials if trial.status == status]
    return [(_name_of(table.configs, trial), trial) for trial in trials]


def _name_of(configs: Sequence[ConfigRow], trial: TrialRow) -> str:
    config = next(config for config in configs if trial in config.trials)
    return f"{config.group}, {config.name}, seed {trial.seed}"
