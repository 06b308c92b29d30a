from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from spec.spaces import call

from reports.render import MANIFEST
from reports.render import write_report as write
from reports.sources import Source
from sweep.errors import UserError
from sweep.tracking.reading import read_study


def write_report(study: str, store: str, target: Path) -> list[Path]:
    return list(write(Source(read_study(store, study), store), target))


def test_a_report_from_mlflow(store: str, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "report"
    paths = write_report("small", store, target)
    figures = ("accuracy_vs_macs", "accuracy_vs_params", "seeds")
    tables = ("comparisons", "table")
    names = [f"{name}.{kind}" for name in figures for kind in ("pdf", "png", "svg")]
    names += [f"{name}.{kind}" for name in tables for kind in ("csv", "md", "tex")]
    assert sorted(path.name for path in paths) == sorted([*names, "index.html"])
    assert {path.name for path in target.iterdir()} == {MANIFEST, *(path.name for path in paths)}
    assert "loss is nan" in (target / "index.html").read_text(encoding="utf-8")
    assert "| 91.00 ± 1.41 (2) |" in (target / "table.md").read_text(encoding="utf-8")


def test_what_an_earlier_report_left_goes_and_other_files_stay(store: str, tmp_path: Path) -> None:
    others = ("cost.tex", "gradcam.pdf", "notes.md")  # of the user
    for name in others:
        (tmp_path / name).touch()
    first = {path.name for path in write_report("small", store, tmp_path)}
    second = {path.name for path in write_report("empty", store, tmp_path)}
    assert first - second
    assert {path.name for path in tmp_path.iterdir()} == {*others, *second, MANIFEST}


def test_a_report_without_trials(store: str, tmp_path: Path) -> None:
    write_report("empty", store, tmp_path)
    for name in ("table.md", "table.tex"):
        assert "There is no trial to show yet." in (tmp_path / name).read_text(encoding="utf-8")


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
        write_report("small", store, taken)


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
    with pytest.raises(UserError):
        write_report("other", store, tmp_path / "report")
    assert not (tmp_path / "report").exists()
