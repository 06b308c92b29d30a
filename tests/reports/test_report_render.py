from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from spec.spaces import call

from reports.configs import config_rows
from reports.figures.accuracy import PARAMETERS, score_against
from reports.figures.style import save
from reports.html import page
from reports.render import write_report
from reports.rows import StudyRows, TrialRow
from reports.summary import summarise
from reports.tables.scores import Table
from sweep.errors import UserError
from sweep.tracking.reading import read_study

LOADED = {"src", "href", "srcset", "data", "poster", "action"}
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a page loads, says, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.references += [v or "" for k, v in attrs if k.rpartition(":")[2] in LOADED]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def _page(table: Table, tmp_path: Path) -> tuple[str, Page]:
    (figure,) = score_against(table.rows, table.configs, PARAMETERS)
    svg = save(figure, tmp_path / "figure")[1].read_text(encoding="utf-8")
    text = page(table, summarise(table.rows, table.configs), svg)
    return text, Page(text)


def test_the_page_needs_no_network(mixed: Table, tmp_path: Path) -> None:
    text, parsed = _page(mixed, tmp_path)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert not re.search(r"url\((?!#)|@import", text)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_lists_everything(mixed: Table, tmp_path: Path) -> None:
    _, parsed = _page(mixed, tmp_path)
    for trial in mixed.rows.trials:
        assert trial.run_id in parsed.words
    assert "<script>alert('boom')</script> 50 % of $x_1$" in parsed.words  # as text
    assert "num_groups (=16) must divide 24" in parsed.words
    assert "not a finite number" in parsed.words
    for fact in ("abc123", "CPU x86_64, 1 threads", "2.9", "epochs 5", "digits", "Does it help?"):
        assert fact in parsed.words


def test_trials_that_were_stopped_are_listed_with_the_reason(
    trial: Callable[..., TrialRow], study: Callable[..., StudyRows], tmp_path: Path
) -> None:
    reason = "asha: val_top1 0.31 after epoch 3 is not among the best third"
    rows = study([trial("ELA", 0), trial("ELA", 1, status="stopped", reason=reason)])
    _, parsed = _page(Table(rows, config_rows(rows)), tmp_path)
    assert reason in parsed.words
    assert "stopped" in parsed.ids
    assert "failed" not in parsed.ids


def test_an_empty_study_says_so(study: Callable[..., StudyRows], tmp_path: Path) -> None:
    _, parsed = _page(Table(study([]), ()), tmp_path)
    assert "No trial of this study has started." in parsed.words


def test_a_report_from_mlflow(store: str, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "report"
    paths = list(write_report(read_study(store, "small"), target))
    names = ["accuracy_vs_params.pdf", "accuracy_vs_params.png", "accuracy_vs_params.svg"]
    assert sorted(path.name for path in paths) == [
        *names,
        "index.html",
        "table.csv",
        "table.md",
        "table.tex",
    ]
    assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in paths)
    assert "loss is nan" in (target / "index.html").read_text(encoding="utf-8")
    assert "| 91.00 ± 1.41 (2) |" in (target / "table.md").read_text(encoding="utf-8")


def test_a_report_without_trials(store: str, tmp_path: Path) -> None:
    list(write_report(read_study(store, "empty"), tmp_path))
    for name in ("table.md", "table.tex"):
        assert "No trial has run yet." in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="names places and errors of Linux")
def test_what_cannot_be_written_is_one_line(store: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    taken = tmp_path / "taken"
    (taken / "table.md").mkdir(parents=True)
    for folder, reason in [
        (tmp_path / "a file" / "report", "Not a directory"),
        (Path("/proc/self/report"), "No such file or directory"),
        (taken, "Is a directory"),
    ]:
        result = call("report", "small", "-o", folder, "--tracking-uri", store)
        assert (result.code, result.err) == (2, f"error: cannot write to {folder}: {reason}\n")
    # What was there is there, and no draft is left.
    assert {path.name for path in taken.iterdir() if path.name.startswith(".")} == set()
    assert (taken / "table.md").is_dir()
    with pytest.raises(UserError, match=r"^cannot write to .*: Is a directory$"):
        list(write_report(read_study(store, "small"), taken))


def test_a_full_disk_is_one_line(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", replace)
    result = call("report", "small", "-o", tmp_path / "report", "--tracking-uri", store)
    expected = f"error: cannot write to {tmp_path / 'report'}: No space left on device\n"
    assert (result.code, result.out, result.err) == (2, "", expected)
    assert list((tmp_path / "report").iterdir()) == []


def test_no_such_study_writes_nothing(store: str, tmp_path: Path) -> None:
    result = call("report", "other", "-o", tmp_path / "report", "--tracking-uri", store)
    assert (result.code, result.out) == (2, "")
    assert not (tmp_path / "report").exists()
