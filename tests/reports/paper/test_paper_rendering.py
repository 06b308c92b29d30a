"""Tables beside ours: the four formats, and cells that are filled from runs and nothing else."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev

import pytest
from paper_runs import Runs, run_record, trials
from spec.spaces import call

from reports.paper.audit import AuditedCell, audit_table
from reports.paper.figure_1 import points
from reports.paper.layout import Layout, lay_out
from reports.paper.measured import Measured, measured
from reports.paper.published import TABLES
from reports.paper.render import FORMATS, render
from sweep.tracking.reading import RunRecord, read_finished

NAMES = TABLES.names()
LOADED = {"src", "href", "srcset", "data", "poster", "action"}
VOID = {"meta", "link", "br", "img", "hr", "input"}
MARKS = {"exact": "", "truncated": "‡", "explained": "†", "unexplained": "*"}


class Page(HTMLParser):
    """What a page loads and says, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.spans: list[int] = []
        """Columns that the cells of each row cover."""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        values = {key: value or "" for key, value in attrs}
        self.references += [v for k, v in values.items() if k.rpartition(":")[2] in LOADED]
        self.ids += [v for k, v in values.items() if k == "id"]
        if tag == "tr":
            self.rows.append([])
            self.spans.append(0)
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.spans[-1] += int(values.get("colspan", "1"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@cache
def counted(name: str) -> list[list[AuditedCell]]:
    return audit_table(TABLES[name])


def layout_of(name: str, settings: Sequence[Measured] = ()) -> Layout:
    return lay_out(TABLES[name], counted(name), settings)


def titles(layout: Layout) -> list[str]:
    return [f"{heading}, {part}" if part else heading for heading, part in layout.columns]


# What is in a table ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_the_cells_of_the_paper_in_its_order(name: str) -> None:
    layout = layout_of(name)
    printed = [place for place, (_, part) in enumerate(layout.columns) if part in ("", "paper")]
    assert [tuple(row[place] for place in printed) for row in layout.rows] == [
        row.cells for row in TABLES[name].rows
    ]
    headings = [layout.columns[place][0] for place in printed]
    assert headings == [column.heading for column in TABLES[name].columns]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ela-1"])
def test_what_was_counted_stands_beside_what_is_printed(
    name: str, audited: list[AuditedCell]
) -> None:
    layout, table = layout_of(name), TABLES[name]
    headings = {c.heading for c in table.columns if c.kind in ("params", "macs")}
    here = [
        place
        for place, (heading, part) in enumerate(layout.columns)
        if heading in headings and part == "here"
    ]
    found = [row[place] for row in layout.rows for place in here]
    ours = [c for c in audited if (c.paper, c.table) == (table.paper, table.number)]
    assert len(found) == len(ours)
    for text, cell in zip(found, ours, strict=True):
        number = text.rstrip("†‡*")
        assert text.removeprefix(number) == MARKS[cell.verdict]
        if cell.computed is not None and cell.printed[-1] in "MG":  # a letter, and ours is right
            assert number.endswith(cell.unit)
            number = number.removesuffix(cell.unit)
        if cell.computed is None:
            assert number == "none"
        else:
            digits = len(cell.printed.rstrip("MG").partition(".")[2])
            assert len(number.partition(".")[2]) == digits
            assert abs(float(number) - cell.computed) <= 0.5 * 10**-digits + 1e-9
    for cell in ours:
        assert not cell.explanation or any(cell.explanation in note for note in layout.notes)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ela-1"])
def test_nothing_measured_is_nothing_shown(name: str) -> None:
    layout = layout_of(name)
    metrics = {column.heading for column in TABLES[name].columns if column.kind == "metric"}
    here = [
        place
        for place, (heading, part) in enumerate(layout.columns)
        if heading in metrics and part != "paper"
    ]
    assert len(here) == len(metrics)
    assert {row[place] for row in layout.rows for place in here} == {""}
    assert layout.notes[-1] == "Nothing of this table has been measured here."


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ela-1"])
def test_notes_say_what_is_assumed_and_what_is_trained_otherwise(name: str) -> None:
    notes = layout_of(name).notes
    assert len(notes) == len(set(notes))
    said = {note for note in notes if "assumed is" in note or note.startswith("Trained here")}
    expected = set()
    for row in TABLES[name].rows:
        assert row.architecture is not None
        backbone, benchmark = row.architecture.backbone, row.architecture.benchmark
        if row.assumed:
            expected.add(f"{row.cells[0]} on {backbone}: assumed is {row.assumed}.")
        if row.architecture.assumed:
            expected.add(f"{backbone}: assumed is {row.architecture.assumed}.")
        if benchmark.deviation:
            expected.add(f"Trained here otherwise than in the paper: {benchmark.deviation}.")
    assert said == expected
    task = {row.architecture.benchmark.task for row in TABLES[name].rows if row.architecture}
    if task != {"classification"}:  # boxes and masks are not trained as their papers do
        assert any(note.startswith("Trained here") for note in said)


# Formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_csv_read_back_is_the_table_without_marks(name: str) -> None:
    layout = layout_of(name)
    header, *rows = csv.reader(io.StringIO(render(layout, "csv")))
    assert header == titles(layout)
    assert rows == [[text.rstrip("†‡*") for text in row] for row in layout.rows]
    for row in rows:
        for (_, part), text in zip(layout.columns, row, strict=True):
            if part == "here" and text not in ("", "none"):
                assert float(text.rstrip("MG")) > 0


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_all_columns_in_every_line(name: str) -> None:
    layout = layout_of(name)
    lines = [line for line in render(layout, "md").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(layout.rows)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {len(layout.columns)}
    assert all(re.fullmatch(r"---:?", cell.strip()) for cell in cells[1])
    plain = [[cell.strip().replace("\\", "") for cell in row] for row in (cells[0], *cells[2:])]
    assert plain == [titles(layout), *map(list, layout.rows)]


@pytest.mark.parametrize("name", NAMES)
def test_html_is_whole_and_needs_no_network(name: str) -> None:
    layout, text = layout_of(name), render(layout_of(name), "html")
    page = Page(text)
    assert page.open == []
    assert page.references == []
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.ids) == len(set(page.ids))
    parts = [part for _, part in layout.columns if part]
    header = [[group.heading for group in layout.groups], *([parts] if parts else [])]
    assert page.rows == [*header, *map(list, layout.rows)]
    assert page.spans[0] == len(layout.columns)
    assert set(page.spans[len(header) :]) == {len(layout.columns)}


LATEX = shutil.which("pdflatex")
DOCUMENT = r"""\documentclass{{article}}
\usepackage[margin=2cm]{{geometry}}
\usepackage{{booktabs,graphicx,amssymb}}
\begin{{document}}
{inputs}
\end{{document}}
"""


def compiled(folder: Path, texts: Mapping[str, str]) -> str:
    """Return pdflatex's log of a document with tables, each on a page of its own."""
    for name, text in texts.items():
        (folder / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in texts)
    (folder / "all.tex").write_text(DOCUMENT.format(inputs=inputs), encoding="utf-8")
    command = [str(LATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout.decode("utf-8", "replace")[-2000:]
    return (folder / "all.log").read_text(encoding="latin-1")


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_latex_compiles_and_fits_the_page(tmp_path: Path) -> None:
    log = compiled(tmp_path, {name: render(layout_of(name), "tex") for name in NAMES})
    assert f"({len(NAMES)} pages" in log
    assert re.findall(r"^Overfull.*", log, re.MULTILINE) == []
    assert "Missing character" not in log


@pytest.mark.parametrize("name", NAMES)
def test_latex_has_a_line_per_row_and_all_columns(name: str) -> None:
    layout, text = layout_of(name), render(layout_of(name), "tex")
    assert text.count(r"\midrule") == 1 + len(layout.breaks)
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    rows = lines[-len(layout.rows) :]
    assert {len(re.split(r"(?<!\\)&", line)) for line in rows} == {len(layout.columns)}


# Measured cells ----------------------------------------------------------------------------------

RESNET18 = "[{name: resnet18, stem: imagenet, placement: stage3}]"
IMAGENET = {"dataset": "{name: imagenet}", "recipe": "{preset: he2016_resnet}"}
L, B, S = (
    f"[{{name: ela, kernel_size: {kernel_size}, groups: {groups}, num_groups: 16}}]"
    for kernel_size, groups in ((7, "in_channels/8"), (7, "in_channels"), (5, "in_channels/8"))
)
SCORES = {"k7-g8-ng16": (0.90, 0.92), "k7-g-ng16": (0.81, 0.84)}
DIGITS, PAPERS = "Top-1, digits 8 px, 2 epochs", "Top-1, here"
CIFAR_STEM = f"{DIGITS}, stem cifar"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Rows of ELA's Table 4 on digits and ImageNet, and what resembles them and is none."""
    store = Runs(tmp_path_factory.mktemp("paper_runs"))
    common = {"backbones": RESNET18}
    for module, scores in ((L, SCORES["k7-g8-ng16"]), (B, SCORES["k7-g-ng16"])):
        for seed, top1 in enumerate(scores):
            store.add({"test_top1": top1}, attention=module, seeds=f"[{seed}]", **common)
    store.add({"test_top1": 0.706, "val_top1": 0.5}, attention=L, **IMAGENET, **common)
    store.add({"test_top1": math.nan}, **common)  # the baseline
    # The model of a row but for the stem, which digits have by themselves.
    store.add({"test_top1": 0.444}, attention=S, backbones=RESNET18.replace("imagenet", "cifar"))
    # None of these is of a row: each would show in k5-g8-ng16(S).
    wrong = {"test_top1": 0.123}
    store.add(wrong, attention=S, adjusted="num_groups 16 -> 12 at C=24", **common)
    store.add(wrong, attention=S.replace("16}", "16, shared: false}"), **common)
    store.add(wrong, attention=S.replace("16}", "8}"), **common)
    store.add(wrong, attention=S, backbones=RESNET18.replace("stage3", "block_last_bn"))
    store.add(wrong, attention=S, status="FAILED", **common)
    store.add({"val_top1": 0.123}, attention=S, **common)  # never tested
    return store


@pytest.fixture(scope="module")
def ela_4(runs: Runs) -> Layout:
    return layout_of("ela-4", measured(TABLES["ela-4"], read_finished(runs.uri)))


def filled(layout: Layout, title: str) -> dict[str, str]:
    """Return the cells of a column that are not empty, by the row's label."""
    place = titles(layout).index(title)
    return {row[0]: row[place] for row in layout.rows if row[place]}


def test_a_cell_is_the_mean_of_the_seeds_with_its_spread_and_number(ela_4: Layout) -> None:
    def text(name: str) -> str:
        percent = [100 * score for score in SCORES[name]]
        return f"{mean(percent):.2f} ± {stdev(percent):.2f} ({len(percent)})"

    assert text("k7-g8-ng16") == "91.00 ± 1.41 (2)"
    assert filled(ela_4, DIGITS) == {
        "+ELA-k7-g8-ng16(L)": text("k7-g8-ng16"),
        "+ELA-k7-g-ng16(B)": text("k7-g-ng16"),
    }


def test_what_the_paper_trained_on_stands_apart(ela_4: Layout) -> None:
    assert filled(ela_4, PAPERS) == {"+ELA-k7-g8-ng16(L)": "70.60 (1)"}
    scores = [title for title in titles(ela_4) if title.startswith("Top-1")]
    assert scores == ["Top-1, paper", PAPERS, DIGITS, CIFAR_STEM]


def test_another_stem_stands_apart(ela_4: Layout) -> None:
    assert filled(ela_4, CIFAR_STEM) == {"+ELA-k5-g8-ng16(S)": "44.40 (1)"}


def test_notes_say_what_was_not_trained_like_the_paper(ela_4: Layout) -> None:
    assert ela_4.notes[-1] == (
        "Measured: mean ± sample standard deviation over seeds (number of seeds), test split. "
        "Not the paper's training: digits 8 px, 2 epochs; digits 8 px, 2 epochs, stem cifar."
    )


def test_a_run_is_of_every_row_that_has_its_model(runs: Runs) -> None:
    """Table 5 has the same ELA-B on ResNet-18, and top-5, which was not measured."""
    layout = layout_of("ela-5", measured(TABLES["ela-5"], read_finished(runs.uri)))
    assert filled(layout, "Top-1(%), digits 8 px, 2 epochs") == {"+ELA-B(Ours)": "82.50 ± 2.12 (2)"}
    assert filled(layout, "Top-5(%), here") == {}


@pytest.mark.parametrize("name", ["ela-2", "ela-7", "ema-1"])
def test_runs_of_other_models_fill_nothing(name: str, runs: Runs) -> None:
    assert measured(TABLES[name], read_finished(runs.uri)) == []


def test_settings_that_share_a_data_set_are_told_apart(tmp_path: Path) -> None:
    found = [
        run_record(trial, test_top1=0.5)
        for lr in ("0.1", "0.05")
        for trial in trials(tmp_path, backbones=RESNET18, recipe=f"{{epochs: 2, lr: {lr}}}")
    ]
    layout = layout_of("ela-4", measured(TABLES["ela-4"], found))
    assert [title for title in titles(layout) if title.startswith("Top-1, digits")] == [
        f"{DIGITS}, recipe.lr 0.05",
        f"{DIGITS}, recipe.lr 0.1",
    ]


def test_settings_of_one_title_keep_their_scores_apart(tmp_path: Path) -> None:
    """Both are 90 epochs of ImageNet at 224 pixels, and neither is the paper's training."""
    common = {"attention": L, "backbones": RESNET18, "dataset": "{name: imagenet}"}
    scores = {"ela_resnet": 0.706, "he2016_resnet, lr: 0.05": 0.123}
    found = [
        run_record(trial, test_top1=top1)
        for preset, top1 in scores.items()
        for trial in trials(tmp_path, recipe=f"{{preset: {preset}}}", **common)
    ]
    layout = layout_of("ela-4", measured(TABLES["ela-4"], found))
    title = "Top-1, imagenet 224 px, 90 epochs"
    of_momentum = f"{title}, recipe.lr 0.1, recipe.momentum 0.99"
    of_rate = f"{title}, recipe.lr 0.05, recipe.momentum 0.9"
    columns = [title for title in titles(layout) if title.startswith("Top-1")]
    assert sorted(columns) == sorted(["Top-1, paper", of_momentum, of_rate])
    assert filled(layout, of_momentum) == {"+ELA-k7-g8-ng16(L)": "70.60 (1)"}
    assert filled(layout, of_rate) == {"+ELA-k7-g8-ng16(L)": "12.30 (1)"}


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "{name: imagenet, image_size: 160}"},
        {"dataset": "{name: imagenet, subset: 5000}"},
        {"dataset": "{name: imagenet, val_size: 0.5}"},
        {"recipe": "{preset: he2016_resnet, epochs: 30}"},
        {"recipe": "{preset: ela_resnet}"},
        {"stopping": "{patience: 3}"},
    ],
    ids=["image size", "subset", "half of training held out", "epochs", "recipe", "early stopping"],
)
def test_another_training_is_not_shown_as_the_papers(
    change: dict[str, str], tmp_path: Path
) -> None:
    common = {"attention": L, "backbones": RESNET18, **IMAGENET}
    [own] = trials(tmp_path, **common)
    [other] = trials(tmp_path, **{**common, **change})
    found = [run_record(own, test_top1=0.706), run_record(other, test_top1=0.123)]
    layout = layout_of("ela-4", measured(TABLES["ela-4"], found))
    assert len(titles(layout)) == len(set(titles(layout)))  # columns can be told apart
    assert filled(layout, PAPERS) == {"+ELA-k7-g8-ng16(L)": "70.60 (1)"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_left_out(value: float, tmp_path: Path) -> None:
    store = Runs(tmp_path)
    for seed, top1 in enumerate((0.9, value, 0.92)):
        store.add({"test_top1": top1}, attention=L, backbones=RESNET18, seeds=f"[{seed}]")
    layout = layout_of("ela-4", measured(TABLES["ela-4"], read_finished(store.uri)))
    assert filled(layout, DIGITS) == {"+ELA-k7-g8-ng16(L)": "91.00 ± 1.41 (2)"}


def record(**params: str) -> RunRecord:
    return RunRecord("id", "1", "name", "FINISHED", params, {"test_top1": 0.5}, {})


def test_a_run_that_says_too_little_is_of_no_row() -> None:
    runs = [record(), record(backbone="resnet18"), record(backbone="resnet18", attention="ela")]
    for name in NAMES:
        assert measured(TABLES[name], runs) == []


# Commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_prints_a_table_with_what_was_measured(
    form: str, runs: Runs, ela_4: Layout
) -> None:
    result = call("paper", "table", "ela-4", "--format", form, "--tracking-uri", runs.uri)
    assert (result.code, result.err) == (0, "")
    assert result.out == render(ela_4, form)  # type: ignore[arg-type]
    assert ("91.00 ± 1.41 (2)" if form != "tex" else r"91.00 $\pm$ 1.41 (2)") in result.out


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_latex_with_measured_cells_fits_the_page(tmp_path: Path, ela_4: Layout) -> None:
    log = compiled(tmp_path, {"ela-4": render(ela_4, "tex")})
    assert re.findall(r"^Overfull.*", log, re.MULTILINE) == []


def test_no_store_is_no_error_and_none_is_made(tmp_path: Path) -> None:
    result = call("paper", "table", "ela-4", "--dir", tmp_path / "sweeps")
    assert (result.code, result.err) == (0, "")
    assert result.out == render(layout_of("ela-4"), "md")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    result = call("paper", "table", "ela-4", "--dir", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert str(tmp_path / "mlflow.db") in result.err
    assert len(result.err.splitlines()) == 1


def test_all_writes_every_table_in_every_format(
    tmp_path: Path, runs: Runs, ela_4: Layout, audited: list[AuditedCell]
) -> None:
    target = tmp_path / "deep" / "paper"
    result = call("paper", "all", "-o", target, "--tracking-uri", runs.uri)
    assert (result.code, result.err) == (0, "")
    files = {f"{name}.{form}" for name in NAMES for form in FORMATS}
    files |= {"figure-1.csv", "audit.json", "index.html"}
    assert {path.name for path in target.iterdir()} == files
    assert sorted(result.out.splitlines()) == sorted(str(target / name) for name in files)
    assert (target / "ela-4.md").read_text(encoding="utf-8") == render(ela_4, "md")
    record = json.loads((target / "audit.json").read_text(encoding="utf-8"))
    assert record["cells"] == [asdict(cell) for cell in audited]
    with (target / "figure-1.csv").open(encoding="utf-8", newline="") as file:
        marks = list(csv.DictReader(file))
    assert marks == [{key: str(value) for key, value in asdict(p).items()} for p in points()]
    _check_index(target, files)


@pytest.mark.skipif(sys.platform != "linux", reason="names places and errors of Linux")
def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Folders on a disk without room, below a file, where none can be, and a folder for a file."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "audit.json").symlink_to("/dev/full")
    (tmp_path / "a file").touch()
    taken = tmp_path / "taken"
    (taken / "ela-4.md").mkdir(parents=True)
    for folder, reason in [
        (full, "No space left on device"),
        (tmp_path / "a file" / "paper", "Not a directory"),
        (Path("/proc/self/paper"), "No such file or directory"),
        (taken, "Is a directory"),
    ]:
        result = call("paper", "all", "-o", folder, "--dir", tmp_path / "none")
        assert (result.code, result.err) == (2, f"error: cannot write to {folder}: {reason}\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    folder = tmp_path / "locked" / "paper"
    result = call("paper", "all", "-o", folder, "--dir", tmp_path / "none")
    expected = f"error: cannot write to {folder}: Permission denied\n"
    assert (result.code, result.out, result.err) == (2, "", expected)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    result = call("paper", "all", "-o", tmp_path / "a file", "--dir", tmp_path / "none")
    assert (result.code, result.out) == (2, "")
    assert f"'{tmp_path / 'a file'}' is a file" in result.err
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "reports").touch()
    target = tmp_path / "sweeps" / "reports" / "paper"
    result = call("paper", "all", "--dir", tmp_path / "sweeps")
    expected = f"error: cannot write to {target}: Not a directory\n"
    assert (result.code, result.out, result.err) == (2, "", expected)


def _check_index(target: Path, files: set[str]) -> None:
    text = (target / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert set(page.references) == files - {"figure-1.csv", "audit.json", "index.html"}
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.ids) == len(set(page.ids))
    verdicts, params, flops = page.rows[:3]
    assert verdicts == ["Cells of", "exact", "truncated", "explained", "unexplained", "all"]
    assert params == ["parameters", "78", "7", "13", "5", "103"]
    assert flops[0] == "FLOPs"
    assert flops[-1] == "93"
    for name in NAMES:
        for row in layout_of(name).rows:
            assert any(found[:1] == list(row[:1]) for found in page.rows)


def test_two_folders_of_images_are_no_two_seeds(tmp_path: Path) -> None:
    """What a folder of one's own holds is a parameter of the run, and so of its setting."""
    (trial,) = trials(tmp_path)
    folders = [
        trial.model_copy(update={"dataset_content": {"files": digest * 30}})
        for digest in ("ab", "cd")
    ]
    runs = [run_record(folder, test_top1=0.5) for folder in folders]
    assert [run.params["dataset.files"] for run in runs] == ["ab" * 6, "cd" * 6]
    groups = measured(TABLES["ela-4"], runs)
    assert [group.spreads[0, "top1"].n for group in groups] == [1, 1]
    assert len({group.title for group in groups}) == 2
