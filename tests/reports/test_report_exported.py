"""A report from CSV files, as MLflow's command and MLflow's page write them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from mlflow.experiments import generate_csv_with_runs
from spec.spaces import call

from reports.rows import study_rows, trials_frame
from sweep.errors import UserError
from sweep.tracking import names
from sweep.tracking.delivery import run_params
from sweep.tracking.exported import read_exported
from sweep.tracking.reading import read_study
from sweep.tracking.store import open_client
from tests.test_ledger import TRIAL

Export = Callable[[str, Path], None]


def by_command(store: str, path: Path) -> None:
    """Export as ``mlflow experiments csv`` does, which runs MLflow's own code."""
    options = ["--experiment-id", "1", "--filename", str(path)]
    ended = CliRunner(env={"MLFLOW_TRACKING_URI": store}).invoke(generate_csv_with_runs, options)
    assert ended.exit_code == 0, ended.output


def by_page(store: str, path: Path) -> None:
    """Export as "Download runs" on MLflow's page does: its JavaScript, written out in Python."""
    runs = open_client(store).search_runs(["1"])
    params = sorted({key for run in runs for key in run.data.params})
    metrics = sorted({key for run in runs for key in run.data.metrics})
    tags = {key for run in runs for key in run.data.tags if not key.startswith("mlflow.")}
    head = ["Start Time", "Duration", "Run ID", "Name", "Source Type", "Source Name", "User"]
    lines = [[*head, "Status", *params, *metrics, *tags]]
    for run in runs:
        told = ["2026-11-22 00:53:31", "30.3s", run.info.run_id, run.info.run_name, "", "", ""]
        cells = [run.data.params.get(key, "") for key in params]
        cells += [_number(run, key) for key in metrics]
        cells += [run.data.tags.get(key, "") for key in tags]
        lines.append([*told, run.info.status, *cells])
    lines = [[re.sub(r"^[=+\-@\t\r]", r"'\g<0>", cell) for cell in line] for line in lines]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(lines)


def _number(run: Run, key: str) -> str:
    value = run.data.metrics.get(key)
    if value is None:
        return ""
    return "NaN" if math.isnan(value) else f"{value:.17g}"


@pytest.fixture(params=[by_command, by_page])
def exported(request: pytest.FixtureRequest, store: str, tmp_path: Path) -> Path:
    """The experiment of the study "small", which lacks the run that another sweep made."""
    export: Export = request.param
    export(store, tmp_path / "runs.csv")
    return tmp_path / "runs.csv"


def edited(path: Path, change: Callable[[list[dict[str, str]]], None]) -> Path:
    """Change the rows of a file, by heading."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def heading(row: dict[str, str], name: str) -> str:
    """The heading of a column in either kind of file."""
    return next(key for key in row if key.removeprefix("tags.").removeprefix("params.") == name)


def test_a_file_says_what_the_store_says(store: str, exported: Path) -> None:
    read = study_rows(read_exported(exported))
    asked = study_rows(read_study(store, "small"))
    own = [trial for trial in asked.trials if trial.trial_id != "ela0"]  # of another experiment
    assert len(own) == 4
    frame, expected = (  # MLflow's page does not say which experiment a run is of
        trials_frame(trials).drop(columns="experiment_id") for trials in (read.trials, own)
    )
    assert frame.dtypes.to_dict().items() >= expected.dtypes.to_dict().items()
    assert frame[list(expected)].equals(expected)
    assert (read.question, read.metrics, read.refused) == (
        asked.question,
        asked.metrics,
        asked.refused,
    )
    assert (read.exported, asked.exported) == (True, False)
    assert "without the trials that the sweep shares and another one made" in read.notes[0]
    assert "no learning curves" in read.notes[0]


def test_the_report_of_a_file(exported: Path, tmp_path: Path) -> None:
    result = call("report", exported, "-o", tmp_path / "report")
    assert (result.code, result.err) == (0, "")
    assert "MLflow store" not in result.out
    assert "no learning curves" in (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "| 91.00 ± 1.41 (2) |" in (tmp_path / "report/table.md").read_text(encoding="utf-8")


def test_every_parameter_of_a_run_is_known_as_one(tmp_path: Path) -> None:
    headings = {"Run ID": "a", "Status": "FINISHED", **run_params(TRIAL)}
    tags = {"sweep.kind": "sweep", "sweep.study": "small", "sweep.metric": "top1"}
    tags["sweep.refused"] = json.dumps({"count": 0, "items": []})
    path = tmp_path / "runs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*headings, *tags], [*headings.values(), *tags.values()]])
    parent = read_exported(path).parent
    texts = {key: str(value) for key, value in run_params(TRIAL).items()}
    assert parent.params == {key: text for key, text in texts.items() if text}
    assert parent.metrics == {}


def test_formulas_and_unknown_columns_of_a_page(store: str, tmp_path: Path) -> None:
    by_page(store, tmp_path / "runs.csv")

    def change(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["sweep.reason"] = "'=1+1"
            row["gain"] = "'-0.5"
            row["reviewer"] = "'tis me"

    for trial in read_exported(edited(tmp_path / "runs.csv", change)).trials:
        assert trial.tags["sweep.reason"] == "=1+1"
        assert trial.metrics["gain"] == -0.5
        assert trial.tags["reviewer"] == "'tis me"


def _without_parent(rows: list[dict[str, str]]) -> None:
    kind = heading(rows[0], names.KIND)
    rows[:] = [row for row in rows if row[kind] != "sweep"]


def _two_parents(rows: list[dict[str, str]]) -> None:
    kind, study = heading(rows[0], names.KIND), heading(rows[0], names.STUDY)
    (parent,) = [row for row in rows if row[kind] == "sweep"]
    rows.append({**parent, study: "second"})


def _without(name: str) -> Callable[[list[dict[str, str]]], None]:
    def change(rows: list[dict[str, str]]) -> None:
        gone = heading(rows[0], name)
        for row in rows:
            del row[gone]

    return change


def _set(name: str, value: str) -> Callable[[list[dict[str, str]]], None]:
    def change(rows: list[dict[str, str]]) -> None:
        column = heading(rows[0], name)
        for row in rows:
            row[column] = value if row[column] else ""

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_parent, r"export its whole experiment, once\. Here: none"),
        (_two_parents, r"Here: small, second"),
        (_without("sweep.kind"), r"no column tags\.sweep\.kind;"),
        (_without("seed"), r"no column params\.seed; what is needed is written by"),
        (_without("sweep.order.small"), r"no column tags\.sweep\.order\.small"),
        (_set("seed", "one"), r"run \w{32}: params\.seed is no number: 'one'"),
        (_set("seed", ""), r"run \w{32} has no params\.seed"),
        (_set("sweep.refused", "{"), r"sweep\.refused of the parent run is no JSON"),
    ],
)
def test_a_file_that_will_not_do_is_named_and_so_is_the_column(
    exported: Path, change: Callable[[list[dict[str, str]]], None], message: str
) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(str(exported))}: .*{message}"):
        read_exported(edited(exported, change))


def test_a_metric_that_is_no_number_is_named(store: str, tmp_path: Path) -> None:
    by_command(store, tmp_path / "runs.csv")
    path = edited(tmp_path / "runs.csv", _set("metrics.test_top1", "97 %"))
    with pytest.raises(UserError, match=r"metrics\.test_top1 is no number: '97 %'"):
        read_exported(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^cannot read .*no\.csv: No such file or directory$"),
        (b"", r"no\.csv is empty"),
        (b"\xff\xfe", r"no\.csv is no CSV file: 'utf-8' codec"),
        (b"a,b\n1,2\n", r"no\.csv: no column run_id, status, tags\.sweep\.kind"),
        (b"a,b\n1\n", r"no\.csv: run 1 has 1 cells, and there are 2 columns"),
    ],
)
def test_what_is_no_export_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "no.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_exported(path)
