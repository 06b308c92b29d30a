"""A report that is written again when there is news, until nothing more is to come."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from spec.spaces import call

from reports import watching
from reports.watching import is_over, keep_up
from sweep.errors import UserError
from sweep.tracking import names
from sweep.tracking.handover import STALE_SECONDS
from sweep.tracking.reading import RunRecord, StudyRecord
from sweep.tracking.store import find_runs, open_client


def run(status: str, seconds_ago: float | None = 0.0, **metrics: float) -> RunRecord:
    """A run whose last heartbeat is so old."""
    beat = {} if seconds_ago is None else {names.HEARTBEAT: str(time.time() - seconds_ago)}
    return RunRecord("id", "1", "a run", status, {}, metrics, beat)


def record(parent: RunRecord, *trials: RunRecord) -> StudyRecord:
    return StudyRecord("small", parent, trials, (), True)


@pytest.mark.parametrize(
    ("study", "over"),
    [
        (record(run("RUNNING")), False),
        (record(run("FINISHED"), run("FINISHED")), True),
        (record(run("FAILED"), run("KILLED")), True),
        (record(run("FINISHED"), run("RUNNING")), False),  # another folder trains it
        (record(run("RUNNING", 2 * STALE_SECONDS), run("RUNNING")), False),  # delivery is slow
        (record(run("RUNNING", 2 * STALE_SECONDS), run("RUNNING", 2 * STALE_SECONDS)), True),
        (record(run("RUNNING", None), run("RUNNING", None)), True),  # of an earlier version
        (record(run("RUNNING", None), run("RUNNING")), False),
    ],
)
def test_a_sweep_is_over_when_nobody_says_that_it_is_run(study: StudyRecord, over: bool) -> None:
    assert is_over(study) == over


class Watched:
    """A watch over what a store says time after time; an error is raised."""

    def __init__(self, *answers: StudyRecord | BaseException) -> None:
        self.answers: Iterator[StudyRecord | BaseException] = iter(answers)
        self.written: list[StudyRecord] = []
        self.told: list[str] = []
        self.refusals: list[UserError] = []
        """Raised by the next writes, after the first one."""

    def write(self, study: StudyRecord) -> None:
        if self.written and self.refusals:
            raise self.refusals.pop()
        self.written.append(study)

    def read(self) -> StudyRecord:
        answer = next(self.answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def watch(self) -> StudyRecord:
        return keep_up(self.read, self.write, 0.001, self.told.append)


def test_a_store_that_is_away_while_a_report_is_written_is_asked_again() -> None:
    begun = record(run("RUNNING"))
    measured = record(run("RUNNING"), run("RUNNING", 0, val_top1=0.5))
    ended = record(run("FINISHED"), run("FINISHED", 0, val_top1=0.6))
    watched = Watched(begun, measured, ended)
    watched.refusals = [UserError("cannot read store: no answer")]
    assert watched.watch() is ended
    assert watched.written == [begun, measured]
    assert "cannot read store: no answer; asked again in 0.001 s" in watched.told


def test_a_report_is_written_when_there_is_news_and_not_for_a_heartbeat() -> None:
    begun = record(run("RUNNING"))
    measured = record(run("RUNNING"), run("RUNNING", 0, val_top1=0.5, loss=math.nan))
    again = record(run("RUNNING", 9), run("RUNNING", 9, val_top1=0.5, loss=math.nan))
    ended = record(run("FINISHED"), run("FINISHED", 0, val_top1=0.6))
    watched = Watched(begun, measured, again, ended)
    assert watched.watch() is ended  # whose report is the caller's
    assert watched.written == [begun, measured]
    assert [line[10:] for line in watched.told] == [
        "0 trials begun, 0 ended",
        "1 trials begun, 0 ended",
        "has ended",
    ]


def test_a_store_that_is_away_for_a_while_ends_no_watch() -> None:
    begun, ended = record(run("RUNNING")), record(run("FINISHED"))
    watched = Watched(begun, UserError("no answer"), UserError("no answer"), ended)
    assert watched.watch() is ended
    assert watched.told[1:3] == ["no answer; asked again in 0.001 s"] * 2


def test_a_store_that_never_answered_is_an_error() -> None:
    with pytest.raises(UserError, match="no such study"):
        Watched(UserError("no such study")).watch()


def test_a_sweep_whose_command_was_killed_is_not_waited_for() -> None:
    watched = Watched(record(run("RUNNING", 2 * STALE_SECONDS)))
    watched.watch()
    assert watched.told == [watching.ABANDONED]


def test_ctrl_c_ends_a_watch_with_a_last_report() -> None:
    begun = record(run("RUNNING"))
    watched = Watched(begun, KeyboardInterrupt())
    assert watched.watch() is begun
    assert watched.told[-1] == "no longer watched: the last report follows"


def test_the_command_watches_until_the_sweep_has_ended(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(store)
    (parent,) = find_runs(client, f"tags.`{names.STUDY}` = 'empty'")
    parent_id = parent.info.run_id
    client.update_run(parent_id, status="RUNNING")
    client.set_tag(parent_id, names.HEARTBEAT, str(time.time()))
    refreshed = []

    def sleep(seconds: float) -> None:
        refreshed.append(seconds)
        client.set_terminated(parent_id, "FINISHED")

    monkeypatch.setattr(watching.time, "sleep", sleep)
    arguments = (
        "report",
        "empty",
        "--watch",
        "--every",
        "7",
        "-o",
        tmp_path,
        "--tracking-uri",
        store,
    )
    result = call(*arguments)
    assert (result.code, result.err) == (0, "")
    assert refreshed == [7]
    first, second, *paths = result.out.splitlines()
    assert first.endswith("0 trials begun, 0 ended")
    assert second == "the sweep has ended"
    assert f"report: {tmp_path / 'index.html'}" in paths
    uploaded = {found.path for found in client.list_artifacts(parent_id, "report")}
    assert uploaded == {f"report/{path.name}" for path in tmp_path.glob("[!.]*")}


def test_a_file_is_not_watched(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    result = call("report", path, "--watch")
    assert (result.code, result.err) == (
        2,
        f"error: --watch looks for news in a store; {path} is a file\n",
    )


def test_a_record_is_compared_by_all_that_it_says() -> None:
    one = record(run("RUNNING", 0, loss=1.0))
    other = replace(one, parent=replace(one.parent, metrics={"loss": 2.0}))
    assert watching._fingerprint(one) != watching._fingerprint(other)
