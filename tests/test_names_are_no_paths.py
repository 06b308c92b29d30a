"""The name of a sweep or a trial leads nowhere but into the working folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec.spaces import call

from sweep.errors import UserError
from sweep.tracking.pages import sweep_note, trial_note
from sweep.tracking.reading import RunRecord, study_record
from sweep.tracking.records import SweepRecord, TrialRecord
from tests.test_ledger import TRIAL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a neighbour that looks like a sweep and a trial."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work/studies").mkdir(parents=True)
    (tmp_path / "work/trials").mkdir()
    for name in ("victim", "work/victim"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text("{}")
        (tmp_path / name / "log.txt").write_text("secret")
    return tmp_path


PATHS = ["..", "../..", "../victim", "../../victim", "/etc", "victim/../../victim", "", "\n"]


@pytest.mark.parametrize("command", ["status", "logs", "rm", "retry", "profile", "report"])
@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_the_name_of_nothing(folder: Path, command: str, name: str) -> None:
    before = sorted(folder.rglob("*"))
    options = ["--yes"] if command == "rm" else []
    result = call(command, "--dir", str(folder / "work"), *options, "--", name)
    assert result.code == 2, result
    assert result.err.startswith("error: ")
    assert "secret" not in result.out + result.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("study", ["../../escape", "/tmp/escape", "..", "a/b", "small\n", ""])
def test_a_report_is_not_written_where_a_run_in_mlflow_says(study: str) -> None:
    tags = {"sweep.study": study, "sweep.refused": json.dumps({"count": 0, "items": []})}
    parent = RunRecord("ab" * 16, "1", "sweep", "FINISHED", {}, {}, tags)
    with pytest.raises(UserError, match=r"^run \w{32} is of a sweep .*, which is no sweep's name"):
        study_record(parent, ())


def test_a_description_in_mlflow_shows_what_was_written_and_makes_nothing_of_it() -> None:
    sweep = SweepRecord(
        study="small",
        question="<img src=x> ![x](http://evil.example/x) `a`",
        metric="top1",
        tags={},
        artifacts={},
        trials=(),
    )
    assert r"\<img src=x\> !\[x\](http://evil.example/x) \`a\`" in sweep_note(sweep, "1")
    note = trial_note(TrialRecord(TRIAL, "ELA", {}), "failed", "```\n<script>")
    assert note.endswith("```\n'''\n<script>\n```")
