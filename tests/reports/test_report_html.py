"""index.html as text: what it says, loads, allows and links to; tests/browser opens it."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from reports.configs import config_rows
from reports.html import Drawing, Page, inline_svg, render, sort_key
from reports.rows import StudyRows, TrialRow
from reports.summary import summarise
from reports.tables.base import MEANINGS, Cell, Column, Section, Table
from tests.reports.conftest import HOSTILE
from tests.reports.test_report_costs import COST

LOADED = {"src", "srcset", "data", "poster", "action"}
VOID = {"meta", "link", "br", "img", "hr", "input"}
SVG = """<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "http://www.w3.org/x.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="252pt" height="72pt" viewBox="0 0 252 72">
<metadata><rdf:RDF xmlns:cc="http://creativecommons.org/ns#"/></metadata>
<defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
<g id="patch_1" clip-path="url(#p1)" style="fill: #ffffff; stroke: #1a1a1a"/>
<use xlink:href="#glyph"/><clipPath id="p1"/>BODY</svg>"""


class Parsed(HTMLParser):
    """What a page loads, links to and says, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = [(name.rpartition(":")[2], value or "") for name, value in attrs]
        self.loaded += [value for name, value in values if name in LOADED]
        self.loaded += [v for name, v in values if name == "href" and tag not in ("a", "use")]
        self.links += [value for name, value in values if name == "href" and tag == "a"]
        self.ids += [value for name, value in values if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.words += data


@pytest.fixture
def page(trial: Callable[..., TrialRow], study: Callable[..., StudyRows]) -> Callable[..., Page]:
    """A page of trials that ended in every way."""

    def make(trials: list[TrialRow] | None = None, **changes: object) -> Page:
        if trials is None:
            trials = [trial("baseline", 0), trial("CA", 0, math.nan)]
            trials += [trial("SE", 0, status="failed", reason=HOSTILE, metrics={})]
        rows = study(trials)
        configs = config_rows(rows)
        fields: dict[str, object] = {
            "rows": rows,
            "configs": configs,
            "summary": summarise(rows, configs),
            "drawings": [Drawing(name="f", title="F", caption="It shows.", svg=SVG)],
            "server": "http://127.0.0.1:5000",
        }
        return Page(**{**fields, **changes})  # type: ignore[arg-type]

    return make


def test_the_page_loads_nothing_and_allows_its_own_script_alone(page: Callable[..., Page]) -> None:
    text = render(page())
    parsed = Parsed(text)
    assert parsed.open == []
    assert parsed.loaded == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not re.search(r"url\((?!#)|@import", text)
    [script] = parsed.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_lists_everything(page: Callable[..., Page]) -> None:
    made = page()
    parsed = Parsed(render(made))
    for trial in made.rows.trials:
        assert any(link.endswith(f"/runs/{trial.run_id}") for link in parsed.links)
        assert trial.trial_id in parsed.words
    assert HOSTILE in parsed.words  # as text
    assert "num_groups (=16) must divide 24" in parsed.words
    assert "not a finite number" in parsed.words
    for fact in ("abc123", "CPU x86_64, 1 threads", "2.9", "epochs 5", "digits", "Does it help?"):
        assert fact in parsed.words


def test_trials_without_a_result_are_listed_with_the_reason(
    trial: Callable[..., TrialRow], page: Callable[..., Page]
) -> None:
    reason = "asha: val_top1 0.31 after epoch 3 is not among the best third"
    stopped = trial("ELA", 1, status="stopped", reason=reason)
    parsed = Parsed(render(page([trial("ELA", 0), stopped])))
    assert reason in parsed.words
    assert "stopped early" in parsed.words
    assert "without-result" in parsed.ids
    assert "without-result" not in Parsed(render(page([trial("ELA", 0)]))).ids


def test_an_empty_study_says_so(page: Callable[..., Page]) -> None:
    parsed = Parsed(render(page([], drawings=())))
    assert "No trial of this study has started." in parsed.words
    assert "trials" not in parsed.ids


def test_a_table_has_its_marks_and_what_they_mean(page: Callable[..., Page]) -> None:
    rows = (
        (Cell(text="A"), Cell(text="98", sort=98.0, mark="best")),
        (Cell(text="B"), Cell(text="97", sort=97.0, mark="tied")),
    )
    columns = (Column(title="Method"), Column(title="Top-1", unit="%", kind="number"))
    section = Section(title="one", rows=rows)
    table = Table(
        name="t", study="s", title="T", columns=columns, sections=(section,), caption="Said."
    )
    text = render(page(tables=[table], files=["t.tex", "t.csv", "f.pdf", "other.md"]))
    assert "<strong>98</strong>" in text
    assert "<strong>97</strong>" not in text
    parsed = Parsed(text)
    assert f"★ and bold: {MEANINGS['best']}." in parsed.words
    assert f"†: {MEANINGS['tied']}." in parsed.words
    assert [link for link in parsed.links if "." in link and "/" not in link] == [
        "f.pdf",
        "t.tex",
        "t.csv",
    ]


def test_of_many_notes_most_are_folded_and_all_are_there(page: Callable[..., Page]) -> None:
    notes = tuple(f"note {number}." for number in range(12))
    table = Table(name="t", study="s", title="T", columns=(), sections=(), caption="", notes=notes)
    words = Parsed(render(page(tables=[table]))).words
    assert all(note in words for note in notes)
    assert words.index("note 7.") < words.index("4 more notes") < words.index("note 8.")


@pytest.mark.parametrize(
    ("cell", "kind", "key"),
    [
        (Cell(text="9.50 ± 0.10 (3)", sort=9.5), "spread", "9.5"),
        (Cell(text="1e-12", sort=1e-12), "number", "1e-12"),
        (Cell(text="7", sort=7), "number", "7"),
        (Cell(text="nan", sort=math.nan), "number", ""),
        (Cell(text="–"), "number", ""),
        (Cell(text="–"), "text", ""),
        (Cell(text="ELA"), "text", None),
        (Cell(text="ELA", sort="ELA"), "text", None),
        (Cell(text="C/8", sort="008"), "text", "008"),
    ],
)
def test_what_a_cell_is_sorted_by(cell: Cell, kind: str, key: str | None) -> None:
    assert sort_key(cell, kind) == key  # type: ignore[arg-type]


def test_links_to_one_run_to_several_and_to_more_than_can_be_compared(
    page: Callable[..., Page],
) -> None:
    made = page()
    assert made.link([]) is None
    assert made.link(["run-SE-0"]) == "http://127.0.0.1:5000/#/experiments/1/runs/run-SE-0"
    assert "/#/compare-runs?runs=" in (made.link(["run-SE-0", "a measurement"]) or "")
    assert "?searchFilter=" in (made.link([str(number) for number in range(101)]) or "")
    assert page(server=None).link(["run-SE-0"]) is None
    assert "Numbers link to no MLflow runs" in Parsed(render(page(server=None))).words


def test_a_measurement_of_another_sweep_is_in_its_experiment(
    page: Callable[..., Page], trial: Callable[..., TrialRow]
) -> None:
    own, others = COST, replace(COST, run_id="theirs", experiment_id="7")
    made = page([trial("baseline", 0, cost=own, costs=(others, own))])
    root = "http://127.0.0.1:5000/#/experiments"
    assert made.link(["theirs"]) == f"{root}/7/runs/theirs"
    assert made.link(["m"]) == f"{root}/1/runs/m"
    assert made.link(["parent"]) == f"{root}/1/runs/parent"


def test_an_svg_takes_the_colours_of_the_page_and_a_name_of_its_own() -> None:
    text = inline_svg(Drawing(name="f", title="F", caption="It shows.", svg=SVG))
    assert text.startswith("<svg")
    assert "--width: 504px" in text
    assert "fill: var(--paper); stroke: var(--ink)" in text
    assert 'id="f.patch_1" clip-path="url(#f.p1)"' in text
    assert '<use xlink:href="#f.glyph"/>' in text
    assert "<metadata" not in text
    assert "<style" not in text


def test_an_svg_whose_colours_are_values_keeps_them() -> None:
    svg = SVG.replace("BODY", '<image xlink:href="data:image/png;base64,#1a1a1a"/>')
    text = inline_svg(Drawing(name="f", title="F", caption="It shows.", svg=svg))
    assert "fill: #ffffff; stroke: #1a1a1a" in text
    assert 'href="data:image/png' in text
