from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from reports.configs import config_rows
from reports.effects import effects
from reports.formats.comma_separated import comma_separated
from reports.formats.latex import latex
from reports.formats.markdown import markdown
from reports.printed import with_minus
from reports.rows import StudyRows, TrialRow
from reports.tables.base import Cell, Column, Section, Table
from reports.tables.comparisons import comparisons
from reports.tables.cost import cost_table
from reports.tables.effects import effects_table
from reports.tables.scores import scores
from reports.tables.trials import all_trials, refused, without_result
from tests.reports.conftest import Example
from tests.tracking.test_measurements import COST as MEASURED

DOCUMENT = (
    r"\documentclass{article}\usepackage{booktabs,graphicx,siunitx}"
    r"\begin{document}%s\end{document}"
)


@pytest.fixture(scope="module")
def table(mixed: Example) -> Table:
    return scores(mixed.rows, mixed.configs)


def test_markdown_has_the_papers_columns(table: Table) -> None:
    lines = markdown(table).splitlines()
    header = next(line for line in lines if line.startswith("| Method"))
    assert header == (
        "| Method | Backbone | Params (thop) (M) | Params (M) | MACs (G) "
        "| Top-1 (%) | Top-5 (%) | ΔTop-1 (points) |"
    )
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert "| baseline | ResNet-18 | 11.180 | 11.200 | 0.035 | 90.10 ± 0.10 (3) |" in rows[3]


def test_one_seed_has_no_spread_and_no_result_no_number(table: Table) -> None:
    text = markdown(table)
    assert "| 91.00 (1)" in text
    assert re.search(r"\| SE \|.*\| failed \| – \| – \|", text)
    assert re.search(r"\| CA \|.*\| no score \|", text)


def test_what_is_not_in_a_mean_is_listed(table: Table) -> None:
    for text in (markdown(table), latex(table)):
        assert "ResNet-18, SE: 1 failed of 1 trials" in text
        assert "ResNet-18, CA: 1 finished without a finite number of 1 trials" in text


def test_a_cell_knows_the_runs_of_its_mean(table: Table) -> None:
    place = next(i for i, column in enumerate(table.columns) if column.title == "Top-1")
    cells = {row[0].text: row[place] for row in table.sections[0].rows}
    assert cells["ELA-B_50%"].runs == tuple(f"run-ELA-B_50%-{seed}" for seed in range(3))
    assert cells["SE"].runs == cells["CA"].runs == ()


def test_latex_rows_have_as_many_cells_as_the_columns(table: Table, mixed: Example) -> None:
    text = latex(table)
    spec = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", text)
    assert spec is not None
    columns = re.findall(r"S\[[^]]*\]|[lcr]", re.sub(r"@\{[^}]*\}", "", spec[1]))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    titles = [row for row in rows if r"\emph" in row]
    assert [re.findall(r"\\emph\{(.*?)\}", row) for row in titles] == [["ResNet-18"], ["ResNet-50"]]
    assert all(rf"\multicolumn{{{len(columns)}}}" in row for row in titles)
    rows = [row for row in rows if row not in titles]
    assert len(rows) == 2 + len(mixed.configs)
    for row in rows:
        spans = 2 * row.count(r"\multicolumn{3}")
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + spans == len(columns)
    assert r"ELA-B\_50\%" in body


def test_latex_has_words_where_there_is_more_than_a_number() -> None:
    columns = (Column(title="p", kind="number"), Column(title="q", kind="number"))
    rows = ((Cell(text="<0.001"), Cell(text="0.5")), (Cell(text="0.2"), Cell(text="0.25")))
    made = Table(
        name="t",
        study="s",
        title="T",
        columns=columns,
        sections=(Section(title="", rows=rows),),
        caption="c",
    )
    text = latex(made)
    assert r"\begin{tabular}{@{}rS[table-format=1.2]@{}}" in text
    assert r"\textless{}0.001 & 0.5 \\" in text


COST = replace(MEASURED, device="CPU Y", versions={"torch": "2.9"}, run_id="cost-run")


def validated(make: Callable[..., TrialRow], label: str, scores: Sequence[float]) -> list[TrialRow]:
    """Trials whose validation scores are their test scores."""
    metrics = [{"test_top1": score, "best_val_top1": score} for score in scores]
    return [
        make(label, seed, metrics=found, cost=COST, costs=(COST,))
        for seed, found in enumerate(metrics)
    ]


@pytest.fixture(scope="module")
def judged(trial: Callable[..., TrialRow], study: Callable[..., StudyRows]) -> Example:
    """One backbone where CA is the best, one where EMA and SE cannot be distinguished."""
    noise = [0.000, 0.001, 0.003, 0.002, 0.004]
    clear = validated(trial, "baseline", [0.90 + e for e in noise])
    clear += validated(trial, "CA", [0.95 + 1.1 * e for e in noise])
    other = partial(trial, backbone="resnet50")
    open_ = validated(other, "baseline", [0.80 + e for e in noise])
    open_ += validated(other, "EMA", [0.91 + 1.1 * e for e in noise])
    open_ += validated(other, "SE", [0.908 + e for e in reversed(noise)][:4])
    rows = study([*clear, *open_])
    return Example(rows, config_rows(rows))


def test_marks_differences_and_costs_in_every_format(judged: Example) -> None:
    table = scores(judged.rows, judged.configs)
    marks = {
        (section.title, row[0].text): cell.mark
        for section in table.sections
        for row in section.rows
        for column, cell in zip(table.columns, row, strict=True)
        if column.title == "Top-1"
    }
    assert marks == {
        ("ResNet-18", "baseline"): "",
        ("ResNet-18", "CA"): "best",
        ("ResNet-50", "baseline"): "",
        ("ResNet-50", "EMA"): "chosen",
        ("ResNet-50", "SE"): "tied",
    }
    text = markdown(table)
    best = next(line for line in text.splitlines() if line.startswith("| CA "))
    assert "| **95.22 ± 0.17 (5)** |" in best
    assert "| +5.02 ± 0.02 (5) |" in best
    assert best.endswith("| 1.25 | 2000 |")
    assert "91.22 ± 0.17 (5)\\* |" in text
    assert re.search(r"\| SE .* \d\d\.\d\d ± \d\.\d\d \(4\)† \|", text)
    assert "in batches of 32; CPU Y, fp32, torch 2.9." in text
    printed = latex(table)
    assert r"\bfseries 95.22" in printed
    assert printed.count(r"\rlap{\textsuperscript{*}}") == 1
    record = next(r for r in table.records if r["method"] == "CA")
    assert (record["group"], record["latency_ms"], record["device"]) == ("ResNet-18", 1.25, "CPU Y")


def test_a_group_is_named_in_every_format(judged: Example) -> None:
    table = replace(scores(judged.rows, judged.configs), columns=(Column(title="Method"),))
    sections = tuple(
        replace(section, rows=tuple(row[:1] for row in section.rows)) for section in table.sections
    )
    table = replace(table, sections=sections[1:])
    assert "| **ResNet-50** |" in markdown(table)
    assert r"\emph{ResNet-50}" in latex(table)


def test_no_row_of_a_long_table_is_lost_in_latex() -> None:
    rows = tuple((Cell(text=f"row {number}."),) for number in range(100))
    sections = (Section(title="a", rows=rows[:30]), Section(title="b", rows=rows[30:]))
    columns = (Column(title="Method"),)
    made = Table(
        name="t",
        study="s",
        title="T",
        columns=columns,
        sections=sections,
        caption="c",
        limits=("l",),
    )
    text = latex(made)
    assert re.findall(r"row \d+\.", text) == [row[0].text for row in rows]
    assert text.count(r"\begin{table}") == 3
    assert re.findall(r"\(Part (\d) of (\d)\.\)", text) == [("1", "3"), ("2", "3"), ("3", "3")]
    assert re.findall(r"\\emph\{(.)\}", text) == ["a", "b", "b", "b"]
    assert (text.count(r"\label"), text.count(r"\scriptsize l")) == (1, 1)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_a_plain_article(
    table: Table, mixed: Example, judged: Example, tmp_path: Path
) -> None:
    tables = [table]
    for example in (mixed, judged):
        found = effects(example.rows, example.configs)
        tables += [
            made
            for made in (
                scores(*example),
                comparisons(*example),
                effects_table(example.rows, found),
                cost_table(*example),
                all_trials(*example),
                without_result(*example),
                refused(example.rows),
            )
            if made is not None
        ]
    assert {made.name for made in tables} >= {"table", "comparisons", "cost", "trials", "refused"}
    text = "\n".join(map(latex, tables))
    (tmp_path / "t.tex").write_text(DOCUMENT % f"\n{text}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "siunitx.sty' not found" in done.stdout:
        pytest.skip("siunitx is not installed")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.13 to -1.98", "−0.13 to −1.98"),
        ("(-2.5)", "(−2.5)"),
        ("ELA-k7-g8-ng16", "ELA-k7-g8-ng16"),
        ("2026-11-22", "2026-11-22"),
        ("1e-4", "1e-4"),
    ],
)
def test_a_minus_is_no_hyphen(text: str, shown: str) -> None:
    assert with_minus(text) == shown


def test_a_heading_without_units_is_one_line() -> None:
    columns = (Column(title="Module"), Column(title="F", kind="number"))
    section = Section(title="", rows=((Cell(text="ELA"), Cell(text="4.20")),))
    made = Table(name="t", study="s", title="T", columns=columns, sections=(section,), caption="c")
    body = latex(made).partition(r"\toprule")[2].partition(r"\midrule")[0]
    assert body.count(r"\\") == 1


def test_csv_round_trips(table: Table, mixed: Example) -> None:
    records = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert len(records) == len(mixed.configs)
    best = next(record for record in records if record["method"] == "ELA-B_50%")
    config = next(config for config in mixed.configs if config.name == "ELA-B_50%")
    assert float(best["test_top1_pct_mean"]) == pytest.approx(100 * config.spreads["top1"].mean)
    assert float(best["test_top1_pct_minus_baseline_mean"]) == pytest.approx(5)
    assert int(best["params_true"]) == config.params_true
    failed = next(record for record in records if record["method"] == "SE")
    assert (failed["failed"], failed["test_top1_pct_n"], failed["test_top1_pct_mean"]) == (
        "1",
        "0",
        "",
    )
