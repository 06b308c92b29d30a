"""A study from a CSV file that MLflow exported, where there is no store to ask.

There are two kinds: that of ``mlflow experiments csv`` names what each column holds
("params.seed"); that of MLflow's page of runs ("Download runs") does not ("seed"), puts an
apostrophe before what a spreadsheet would take for a formula, and has only the runs that the page
showed. A column of the latter is known by its name; one that is not is a metric if it holds numbers
alone, else a tag. An empty cell is no value, in either.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Literal

from sweep.errors import UserError
from sweep.tracking import names
from sweep.tracking.reading import RunRecord, StudyRecord, study_record, unclipped

Kind = Literal["run", "params", "metrics", "tags"]
Column = tuple[Kind, str]
"""What a column holds, and the name that it has in MLflow."""
Row = dict[Column, str]

OF_RUN: dict[str, Column] = {
    "run_id": ("run", "run_id"),
    "status": ("run", "status"),
    "Run ID": ("run", "run_id"),
    "Status": ("run", "status"),
    "Name": ("tags", names.NAME),
}
"""Columns of a run itself, by either kind's heading."""
IGNORED = {"Start Time", "Duration", "Source Type", "Source Name", "User"}
PARAMS = {"task", "dataset", "backbone", "stem", "weights", "sites", "attention", "patience"}
PARAMS |= {"metric", "seed"}
PARAM_PREFIXES = ("dataset.", names.HYPERPARAMETER, "recipe.", names.SEGMENT)
TAGS = {names.MODULE, names.MODEL}
FORMULA = tuple(f"'{sign}" for sign in "=+-@\t\r")

OF_STUDY: tuple[Column, ...] = (
    ("run", "run_id"),
    ("run", "status"),
    ("tags", names.KIND),
    ("tags", names.STUDY),
    ("tags", names.METRIC),
    ("tags", names.REFUSED),
)
"""What a parent run must have."""
OF_TRIAL = ("task", "backbone", "stem", "weights", "attention", "seed", "recipe.epochs")
"""Parameters that a trial must have, once it has any."""
LISTS = (names.REFUSED, names.ANSWERS, names.SEARCHED)
"""Tags of a parent run that hold JSON."""


def read_exported(path: Path) -> StudyRecord:
    """Read the study of a CSV file.

    Raises:
        UserError: the file cannot be read, is no export of MLflow's, lacks a column, or has no
            parent run or several.
    """
    headings, lines = _cells(path)
    columns = {heading: _column(heading, headings, lines) for heading in headings}
    rows = [
        {columns[heading]: cell for heading, cell in line.items() if cell != ""} for line in lines
    ]
    _require(OF_STUDY, set(columns.values()), f"{path}: no column")
    parent = _parent(path, rows)
    study = parent["tags", names.STUDY]
    own: Column = ("tags", names.per_sweep(names.MEMBER, study))
    trials = [row for row in rows if row.get(own) == "yes"]
    needed: list[Column] = [("params", name) for name in OF_TRIAL]
    needed.append(("tags", names.per_sweep(names.ORDER, study)))
    if trials:
        _require(needed, set(columns.values()), f"{path}: no column")
    for row in trials:
        if ("params", "attention") in row:
            _require(needed, row, f"{path}: run {row['run', 'run_id']} has no")
    measured = [row for row in rows if row.get(("tags", names.KIND)) == "cost"]
    return study_record(
        _run(path, parent),
        [_run(path, row) for row in trials],
        [_run(path, row) for row in measured if row.get(("run", "status")) == "FINISHED"],
        (_limits(path),),
    )


def _parent(path: Path, rows: list[Row]) -> Row:
    """Return the one parent run."""
    parents = [row for row in rows if row.get(("tags", names.KIND)) == "sweep"]
    if len(parents) != 1:
        found = ", ".join(row.get(("tags", names.STUDY), "?") for row in parents) or "none"
        raise UserError(
            f"{path}: a report needs the one run of its sweep itself ({names.KIND} is 'sweep') "
            f"beside those of the trials; export its whole experiment, once. Here: {found}"
        )
    (parent,) = parents
    _require(OF_STUDY, parent, f"{path}: the parent run has no")
    for tag in LISTS:
        try:
            json.loads(parent.get(("tags", tag), "[]"))
        except ValueError as error:
            raise UserError(f"{path}: {tag} of the parent run is no JSON: {error}") from None
    return parent


def _limits(path: Path) -> str:
    return (
        f"read from {path.name}, an export of MLflow's: it has one experiment, without the trials "
        "that the sweep shares and another one made; it has the last value of each metric and no "
        "artifacts, so that there are no learning curves and no images; a number that is not "
        "finite is missing"
    )


def _cells(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the headings of a file, and its lines by heading."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            headings, lines = next(reader, []), [line for line in reader if line]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file: {error}") from None
    if not headings:
        raise UserError(f"{path} is empty")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(headings):
            raise UserError(
                f"{path}: run {number} has {len(line)} cells, and there are {len(headings)} columns"
            )
    plain = [[cell[1:] if cell.startswith(FORMULA) else cell for cell in line] for line in lines]
    return headings, [dict(zip(headings, line, strict=True)) for line in plain]


def _column(heading: str, headings: list[str], lines: list[dict[str, str]]) -> Column:
    if heading in OF_RUN:
        return OF_RUN[heading]
    if "run_id" in headings:  # of `mlflow experiments csv`
        for kind in ("params", "metrics", "tags"):
            if heading.startswith(f"{kind}."):
                return kind, heading.removeprefix(f"{kind}.")
        return "run", heading
    if heading in IGNORED:
        return "run", heading
    if heading in PARAMS or heading.startswith(PARAM_PREFIXES):
        return "params", heading
    if heading in TAGS or heading.startswith("sweep."):
        return "tags", heading
    numbers = all(_is_number(line[heading]) for line in lines if line[heading])
    return ("metrics" if numbers else "tags"), heading


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require(needed: Iterable[Column], known: Container[Column], problem: str) -> None:
    """Refuse what lacks columns; the message begins with ``problem``."""
    missing = [
        name if kind == "run" else f"{kind}.{name}"
        for kind, name in needed
        if (kind, name) not in known
    ]
    if missing:
        raise UserError(
            f"{problem} {', '.join(missing)}; what is needed is written by "
            "`mlflow experiments csv`, and by 'Download runs' on MLflow's page of runs"
        )


def _run(path: Path, row: Row) -> RunRecord:
    """Return a run, its numbers checked."""
    run_id = row["run", "run_id"]
    for column, cell in row.items():
        whole = column == ("params", "seed") or column[1].startswith(f"{names.ORDER}.")
        if (whole and not cell.isdecimal()) or (column[0] == "metrics" and not _is_number(cell)):
            raise UserError(f"{path}: run {run_id}: {'.'.join(column)} is no number: {cell!r}")
    tags = _of_kind(row, "tags")
    return RunRecord(
        run_id=run_id,
        experiment_id=row.get(("run", "experiment_id"), ""),
        name=tags.get(names.NAME, ""),
        status=row.get(("run", "status"), ""),
        params=_of_kind(row, "params"),
        metrics={name: unclipped(float(cell)) for name, cell in _of_kind(row, "metrics").items()},
        tags=tags,
    )


def _of_kind(row: Row, kind: Kind) -> dict[str, str]:
    return {name: cell for (of, name), cell in row.items() if of == kind}
