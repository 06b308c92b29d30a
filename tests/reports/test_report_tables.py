from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.tables.scores import Table, comma_separated, latex, markdown

DOCUMENT = r"\documentclass{article}\usepackage{booktabs,siunitx}\begin{document}%s\end{document}"


def test_markdown_has_the_papers_columns(mixed: Table) -> None:
    lines = markdown(mixed).splitlines()
    header = next(line for line in lines if line.startswith("| Method"))
    assert header == (
        "| Method | Backbone | Params (M) | true (M) | MACs (G) "
        "| Top-1 (%) | Top-5 (%) | ΔTop-1 (points) |"
    )
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert "| baseline | ResNet-18 | 11.180 | 11.200 | 0.035 | 90.10 ± 0.10 (3) |" in rows[2]


def test_one_seed_has_no_spread_and_no_result_no_number(mixed: Table) -> None:
    text = markdown(mixed)
    assert "| 91.00 (1) |" in text
    assert re.search(r"\| SE \|.*\| – \| – \| – \|", text)


def test_only_what_beats_the_noise_is_bold(mixed: Table) -> None:
    assert re.findall(r"\*\*(.+?)\*\*", markdown(mixed)) == ["95.10 ± 0.10 (3)"]
    assert re.findall(r"\\bfseries (\S+)", latex(mixed)) == ["95.10"]


def test_what_is_not_in_a_mean_is_listed(mixed: Table) -> None:
    for text in (markdown(mixed), latex(mixed)):
        assert "ResNet-18, SE: 1 failed of 1 trials" in text
        assert "ResNet-18, CA: 1 finished without a finite number of 1 trials" in text


def test_latex_rows_have_as_many_cells_as_the_columns(mixed: Table) -> None:
    text = latex(mixed)
    spec = re.search(r"\\begin\{tabular\}\{@\{\}(.*)@\{\}\}", text)
    assert spec is not None
    columns = re.findall(r"S\[[^]]*\]|[lc]", re.sub(r"@\{[^}]*\}", "", spec[1]))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + len(mixed.configs)
    for row in rows:
        spans = 2 * row.count(r"\multicolumn{3}")
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + spans == len(columns)
    assert r"ELA-B\_50\%" in body


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_a_plain_article(mixed: Table, tmp_path: Path) -> None:
    (tmp_path / "t.tex").write_text(DOCUMENT % f"\n{latex(mixed)}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "siunitx.sty' not found" in done.stdout:
        pytest.skip("siunitx is not installed")
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_round_trips(mixed: Table) -> None:
    records = list(csv.DictReader(io.StringIO(comma_separated(mixed))))
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
