"""The ledger: where a trial stands after any history, and after any prefix of its writes."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sweep import durable
from sweep.devices import Stretch
from sweep.errors import UserError
from sweep.ledger import Entry, JournalLine, Ledger, Share
from sweep.lock import Lock
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Trial

TRIAL = Trial(
    task="classification",
    dataset="digits",
    dataset_settings={"root": None},
    dataset_content={},
    num_classes=10,
    backbone=BackboneChoice(name="resnet18", stem="cifar"),
    placement="none",
    sites=(),
    attention="none",
    preset=None,
    hyperparameters={},
    nondefault=(),
    plugins=(),
    on_indivisible="refuse",
    recipe=Recipe(epochs=4),
    patience=None,
    metric="top1",
    seed=0,
)
ID = TRIAL.trial_id
SHARE = Share(cpus=1, gpus=0.0)


def finish(ledger: Ledger, trial_id: str, result: dict[str, Any]) -> None:
    """Bring a trial to its end, as an attempt does."""
    ledger.store_result(trial_id, result)
    ledger.finish(trial_id)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def metrics(epoch: int) -> dict[str, float]:
    """The metrics of an epoch: the same whoever trains it."""
    return {"val_top1": 1 - 1 / epoch}


def test_life_of_a_trial(ledger: Ledger) -> None:
    assert ledger.entry(ID) == Entry("planned")
    ledger.begin(TRIAL, SHARE)
    assert ledger.trial(ID) == TRIAL
    entry = ledger.entry(ID)
    assert (entry.state, entry.attempts, entry.share, entry.settled) == ("running", 1, SHARE, False)
    ledger.record(ID, 1, metrics(1))
    ledger.record(ID, 1, {"val_top1": 9.0})
    assert [(line.epoch, line.metrics) for line in ledger.journal(ID)] == [(1, metrics(1))]
    ledger.fail(ID, "transient", "a worker died", "Traceback")
    assert ledger.failure_path(ID).read_text() == "Traceback"
    entry = ledger.entry(ID)
    assert (entry.state, entry.kind, entry.settled) == ("failed", "transient", False)
    ledger.begin(TRIAL, SHARE)
    finish(ledger, ID, {"metrics": {}})
    entry = ledger.entry(ID)
    assert (entry.state, entry.attempts, entry.reason, entry.settled) == ("done", 2, "", True)
    assert entry.ended >= entry.started > 0
    assert [event["event"] for event in ledger.history(ID)] == ["begin", "fail", "begin", "finish"]


def test_trial_from_elsewhere_is_done_only_with_the_last_write(ledger: Ledger) -> None:
    """After any prefix of the writes it can be taken over again, and nothing says it is done."""
    lines = [JournalLine(epoch, 1000 * epoch, metrics(epoch)) for epoch in (1, 2)]

    def adopt() -> None:
        ledger.adopt(TRIAL, lines, {"metrics": {}}, ended=3.0, origin="run")

    for write in ("write_record", "write_lines", "append_line"):
        with (
            patch(f"sweep.ledger.{write}", side_effect=OSError("full")),
            pytest.raises(OSError, match="full"),
        ):
            adopt()
        assert not ledger.is_done(ID)
    adopt()
    entry = ledger.entry(ID)
    assert (entry.state, entry.ended, entry.attempts) == ("done", 3.0, 0)
    assert ledger.journal(ID) == lines
    assert ledger.history(ID)[-1]["origin"] == "run"


def test_a_trial_that_moved_says_where_which_epochs_were_trained(ledger: Ledger) -> None:
    ledger.begin(TRIAL, SHARE, "A100, 40 GiB", "10.0.0.1")
    for epoch in (1, 2):
        ledger.record(ID, epoch, metrics(epoch), "A100, 40 GiB")
    with patch("platform.node", return_value="other"):
        ledger.begin(TRIAL, SHARE, "V100, 16 GiB", "10.0.0.2")
    for epoch in (1, 2, 3):  # what is gone on from is told again
        ledger.record(ID, epoch, metrics(epoch), "V100, 16 GiB")
    assert ledger.trained_on(ID) == (
        Stretch("A100, 40 GiB", 1, 2),
        Stretch("V100, 16 GiB", 3, 3),
    )
    assert ledger.nodes(ID) == (f"{platform.node()} (10.0.0.1)", "other (10.0.0.2)")
    begin = ledger.history(ID)[-1]
    assert [begin[key] for key in ("device", "host")] == ["V100, 16 GiB", "other"]


def test_a_ledger_of_before_knows_no_devices(ledger: Ledger) -> None:
    ledger.begin(TRIAL, SHARE)
    folder = ledger.trial_folder(ID)
    (folder / "history.jsonl").unlink()
    begin = {"event": "begin", "time": 1.0, "epochs": 0, "share": vars(SHARE), "pid": 3}
    durable.append_line(folder / "history.jsonl", begin)
    line = {"epoch": 1, "timestamp": 1000, "metrics": metrics(1)}
    durable.append_line(folder / "journal.jsonl", line)
    assert ledger.journal(ID) == [JournalLine(1, 1000, metrics(1))]
    assert (ledger.trained_on(ID), ledger.nodes(ID)) == ((), ())
    ledger.record(ID, 2, metrics(2), "A100, 40 GiB")
    assert ledger.trained_on(ID) == (Stretch("", 1, 1), Stretch("A100, 40 GiB", 2, 2))


def test_failures_count_until_there_is_one_more_epoch(ledger: Ledger) -> None:
    def attempt(epochs: int) -> int:
        ledger.begin(TRIAL, SHARE)
        for epoch in range(1, epochs + 1):
            ledger.record(ID, epoch, metrics(epoch))
        ledger.fail(ID, "transient", "lost", "")
        return ledger.entry(ID).fruitless

    assert [attempt(n) for n in (0, 0, 1, 1, 1, 3, 2)] == [1, 2, 1, 2, 3, 1, 2]
    ledger.retry(ID)
    assert ledger.entry(ID).fruitless == 0


def test_an_attempt_that_was_overtaken_changes_nothing(ledger: Ledger) -> None:
    """As where a network file system lost the lock of the first, which lives on."""
    first, second = (ledger.begin(TRIAL, SHARE) for _ in range(2))
    assert [ledger.is_last(ID, one) for one in (first, second)] == [False, True]
    ledger.fail(ID, "final", "its files are gone", "", first)
    ledger.stop(ID, "asha", first)
    assert ledger.entry(ID).state == "running"
    ledger.store_result(ID, {"metrics": {}})
    ledger.finish(ID, second)
    ledger.fail(ID, "final", "its files are gone", "", first)
    ledger.fail(ID, "transient", "the worker process died", "")
    ledger.begin(TRIAL, SHARE)
    entry = ledger.entry(ID)
    assert (entry.state, entry.kind, entry.attempts) == ("done", None, 2)
    ledger.retry(ID)
    assert ledger.entry(ID).state == "planned"


def test_history_of_before_attempts_had_ids_is_read(ledger: Ledger) -> None:
    path = ledger.trial_folder(ID) / "history.jsonl"
    path.parent.mkdir(parents=True)
    common = {"time": 1.0, "epochs": 0}
    durable.append_line(path, {"event": "begin", "share": vars(SHARE), **common})
    durable.append_line(path, {"event": "fail", "kind": "final", "reason": "why", **common})
    entry = ledger.entry(ID)
    assert (entry.state, entry.reason, entry.attempt) == ("failed", "why", "")


def test_what_settles_a_trial(ledger: Ledger) -> None:
    for kind, settled in {
        "transient": False,
        "memory": False,
        "disk": False,
        "final": True,
    }.items():
        ledger.fail(ID, kind, "why", "")
        assert ledger.entry(ID).settled == settled
    ledger.retry(ID)
    assert ledger.entry(ID).state == "planned"
    assert not ledger.entry(ID).full
    ledger.stop(ID, "asha: no")
    assert ledger.entry(ID).settled_for(scheduled=True)
    assert not ledger.entry(ID).settled_for(scheduled=False)  # it was not trained to its end
    assert ledger.entry(ID).reason == "asha: no"
    ledger.retry(ID)
    assert ledger.entry(ID).full  # asked for though a scheduler stopped it


def test_larger_share_is_kept_for_the_next_attempts(ledger: Ledger) -> None:
    ledger.begin(TRIAL, Share(1, 0.25))
    ledger.fail(ID, "memory", "CUDA out of memory", "")
    ledger.enlarge(ID, Share(1, 0.5))
    ledger.begin(TRIAL, Share(1, 0.5))
    assert ledger.entry(ID).larger == ledger.entry(ID).share == Share(1, 0.5)


def test_running_trial_of_a_dead_process_is_interrupted(ledger: Ledger) -> None:
    ledger.begin(TRIAL, SHARE)
    lock = ledger.training(ID)
    assert lock.take()
    assert list(ledger.settle([ID])) == []  # its process lives
    lock.release()
    assert list(ledger.settle([ID])) == [ID]
    assert ledger.entry(ID).state == "interrupted"
    assert list(ledger.settle([ID])) == []
    assert Lock(lock.path).is_free()


def test_history_of_a_newer_version_is_told(ledger: Ledger) -> None:
    ledger.begin(TRIAL, SHARE)
    durable.append_line(
        ledger.trial_folder(ID) / "history.jsonl", {"event": "teleport", "time": 0.0, "epochs": 0}
    )
    with pytest.raises(UserError, match="'teleport'"):
        ledger.entry(ID)


# Any prefix of the writes -------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """One write to a file, and what was in it before."""

    path: Path
    before: bytes | None
    after: bytes
    appended: bool


@contextmanager
def recorded(folder: Path) -> Iterator[list[Write]]:
    """Collect what the ledger writes."""
    writes: list[Write] = []

    def watch(write: Any, *, appended: bool) -> Any:
        def watched(path: Path, content: Any) -> None:
            before = path.read_bytes() if path.exists() else None
            write(path, content)
            writes.append(Write(path.relative_to(folder), before, path.read_bytes(), appended))

        return watched

    with (
        patch("sweep.ledger.append_line", watch(durable.append_line, appended=True)),
        patch("sweep.ledger.write_record", watch(durable.write_record, appended=False)),
        patch("sweep.ledger.write_text", watch(durable.write_text, appended=False)),
    ):
        yield writes


ENDS = st.sampled_from(["finish", "transient", "final", "interrupt", "crash", "stop", "memory"])
LIVES = st.lists(st.tuples(st.integers(0, 4), ENDS), min_size=1, max_size=5)
"""Attempts: how many epochs each comes to, and how it ends."""


def live(ledger: Ledger, attempts: list[tuple[int, str]]) -> None:
    """Let a trial have a life; after its end it has no more attempts."""
    for epochs, end in attempts:
        if ledger.entry(ID).settled_for(scheduled=True):
            ledger.retry(ID) if not ledger.is_done(ID) else None
        if ledger.is_done(ID):
            return
        ledger.begin(TRIAL, SHARE)
        for epoch in range(1, epochs + 1):
            ledger.record(ID, epoch, metrics(epoch))
        match end:
            case "finish":
                finish(ledger, ID, {"metrics": metrics(4)})
            case "interrupt":
                ledger.interrupt(ID)
            case "stop":
                ledger.stop(ID, "asha")
            case "transient" | "final" | "memory":
                ledger.fail(ID, end, "why", "Traceback")


def restored(folder: Path, writes: list[Write], torn: Write | None, length: int) -> Ledger:
    """A working folder after some writes, and a part of the next."""
    shutil.rmtree(folder, ignore_errors=True)
    for write in writes:
        (folder / write.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / write.path).write_bytes(write.after)
    if torn is not None:
        path = folder / torn.path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = len(torn.before or b"")
        cut = min(kept + length, len(torn.after) - 1)
        if torn.appended:
            path.write_bytes(torn.after[:cut])
        else:  # a file that is replaced is written beside itself first
            path.with_name(f".{path.name}.1.partial").write_bytes(torn.after[:length])
    return Ledger(folder)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(life=LIVES, length=st.integers(0, 60))
def test_any_prefix_of_the_writes_is_consistent(
    tmp_path_factory: pytest.TempPathFactory, life: list[tuple[int, str]], length: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    with patch("os.fsync"):  # thousands of writes
        with recorded(folder / "whole") as whole:
            live(Ledger(folder / "whole"), life)
        was_done = False
        for count in range(len(whole) + 1):
            torn = whole[count] if count < len(whole) else None
            ledger = restored(folder / "cut", whole[:count], torn, length)
            entry = ledger.entry(ID)
            assert not was_done or entry.state == "done"
            was_done = entry.state == "done"
            if was_done:
                assert ledger.result(ID) == {"metrics": metrics(4)}
            epochs = [line.epoch for line in ledger.journal(ID)]
            assert epochs == list(range(1, len(epochs) + 1))
            assert entry.attempts <= len(life)
            # Whatever was cut off, the trial can be brought to its end, once.
            if entry.settled and not was_done:
                ledger.retry(ID)
            live(ledger, [(4, "finish")])
            if ledger.result(ID) and not ledger.is_done(ID):
                ledger.finish(ID)
            assert ledger.is_done(ID)
            assert [e["event"] for e in ledger.history(ID)].count("finish") == 1
            journal = {line.epoch: line.metrics for line in ledger.journal(ID)}
            expected = len(epochs) if was_done else 4
            assert journal == {epoch: metrics(epoch) for epoch in range(1, expected + 1)}
