"""The invariants can break: each is shown what it is there to find."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from sweep.durable import append_line, write_text
from sweep.ledger import Ledger
from tests.faults.harness import Watcher
from tests.faults.verify import finishes, ledgers_agree, stores_agree, stray_files
from tests.test_ledger import finish

EPOCHS = [(1, 0.5), (2, 0.75)]
TABLES = """
CREATE TABLE runs (run_uuid, status, lifecycle_stage);
CREATE TABLE tags (run_uuid, key, value);
CREATE TABLE params (run_uuid, key, value);
CREATE TABLE metrics (run_uuid, key, step, value);
INSERT INTO runs VALUES ('p', 'FINISHED', 'active'), ('r', 'FINISHED', 'active');
INSERT INTO tags VALUES ('p', 'sweep.kind', 'sweep'), ('r', 'sweep.trial_id', 'one');
INSERT INTO params VALUES ('r', 'seed', '0');
INSERT INTO metrics VALUES ('r', 'val_top1', 1, 0.5), ('r', 'val_top1', 2, 0.75),
    ('r', 'epoch_seconds', 1, 3.0);
"""


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE metrics SET value = 9 WHERE key = 'epoch_seconds'", ""),
        ("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = 'p'", "not FINISHED: {'p'"),
        ("INSERT INTO metrics VALUES ('r', 'val_top1', 2, 0.75)", "too many {('val_top1', 2): 1}"),
        ("DELETE FROM metrics WHERE step = 2", "missing {('val_top1', 2): 1}"),
        ("UPDATE metrics SET value = 0.7500000001 WHERE step = 2", "values of one differ"),
        ("DELETE FROM params", "parameters of one differ"),
        (
            "DELETE FROM runs WHERE run_uuid = 'p'; DELETE FROM tags WHERE run_uuid = 'p'",
            "0 parent",
        ),
        (
            "INSERT INTO runs VALUES ('s', 'FINISHED', 'active');"
            "INSERT INTO tags VALUES ('s', 'sweep.trial_id', 'one')",
            "2 runs of one",
        ),
    ],
)
def test_stores(tmp_path: Path, change: str, finding: str) -> None:
    for name, script in (("reference", TABLES), ("own", TABLES + change)):
        connection = sqlite3.connect(tmp_path / name)
        connection.executescript(script)
        connection.close()
    found = list(stores_agree(tmp_path / "own", tmp_path / "reference"))
    assert bool(found) == bool(finding)
    assert finding in " ".join(found)


def test_ledgers(tmp_path: Path) -> None:
    write_trial(tmp_path / "reference", EPOCHS)
    write_trial(tmp_path / "same", EPOCHS, seconds=7.0)
    assert not list(ledgers_agree(tmp_path / "same", tmp_path / "reference"))
    write_trial(tmp_path / "other", [(1, 0.5), (2, 0.7500000001)])
    write_trial(tmp_path / "twice", [*EPOCHS, EPOCHS[-1]])
    write_trial(tmp_path / "less", EPOCHS[:1])
    for name in ("other", "twice", "less"):
        (finding,) = ledgers_agree(tmp_path / name, tmp_path / "reference")
        assert "epochs of one differ" in finding
    write_trial(tmp_path / "failed", EPOCHS, state="failed")
    (finding,) = ledgers_agree(tmp_path / "failed", tmp_path / "reference")
    assert "not done" in finding


def test_a_result_that_is_written_again_is_seen(tmp_path: Path) -> None:
    write_trial(tmp_path, EPOCHS)
    watcher = Watcher(tmp_path)
    result = tmp_path / "trials" / "one" / "result.json"
    for times in (1, 2):
        wait_until_seen(watcher, times)
        assert len(list(finishes(tmp_path / "trials" / "one", watcher))) == times - 1
        write_text(result, result.read_text())
    watcher.close()


def test_a_history_with_two_ends_is_seen(tmp_path: Path) -> None:
    write_trial(tmp_path, EPOCHS)
    Ledger(tmp_path).finish("one")
    watcher = Watcher(tmp_path)
    watcher.close()
    (finding,) = finishes(tmp_path / "trials" / "one", watcher)
    assert "2 ends" in finding


def test_stray_files(tmp_path: Path) -> None:
    write_trial(tmp_path, EPOCHS)
    assert not stray_files(tmp_path)
    for name in ("trials/one/.state.json.12.partial", "trials/one/checkpoints/epoch-0002.pt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert stray_files(tmp_path) == [name]
        path.unlink()


def write_trial(
    folder: Path, epochs: list[tuple[int, float]], state: str = "done", seconds: float = 1.0
) -> None:
    trial = folder / "trials" / "one"
    trial.mkdir(parents=True)
    for epoch, top1 in epochs:
        metrics = {"val_top1": top1, "epoch_seconds": seconds}
        line = {"epoch": epoch, "timestamp": epoch, "metrics": metrics}
        append_line(trial / "journal.jsonl", line)
    ledger = Ledger(folder)
    if state == "done":
        metrics = {"test_top1": 0.5, "train_seconds": seconds}
        finish(ledger, "one", {"metrics": metrics, "epochs": 2, "best_epoch": 2})
    else:
        ledger.fail("one", "final", "why", "")


def wait_until_seen(watcher: Watcher, times: int) -> None:
    deadline = time.monotonic() + 10
    while len(watcher.results["one"]) < times and time.monotonic() < deadline:
        time.sleep(0.01)
