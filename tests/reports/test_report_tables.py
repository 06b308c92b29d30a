from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.formats.comma_separated import comma_separated
from reports.formats.latex import latex
from reports.formats.markdown import markdown
from reports.printed import with_minus
from reports.tables.base import Cell, Column, Section, Table
from reports.tables.scores import scores
from tests.reports.conftest import Example

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
    assert "| baseline | ResNet-18 | 11.180 | 11.200 | 0.035 | 90.10 ± 0.10 (3) |" in rows[2]


def test_one_seed_has_no_spread_and_no_result_no_number(table: Table) -> None:
    text = markdown(table)
    assert "| 91.00 (1)" in text
    assert re.search(r"\| SE \|.*\| failed \| – \| – \|", text)
    assert re.search(r"\| CA \|.*\| not finite \|", text)


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


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_a_plain_article(table: Table, tmp_path: Path) -> None:
    (tmp_path / "t.tex").write_text(DOCUMENT % f"\n{latex(table)}\n", encoding="utf-8")
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
