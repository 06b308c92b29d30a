"""A store that is slow, down, comes back, or answers too late: nothing lost, nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.tracking import delivery, names
from tests.tracking.conftest import TRIALS, Folder, runs, steps

ID = TRIALS[0].trial_id


class Flaky:
    """A client whose requests a test lets fail, before they reach the store or after.

    Args:
        client: of the store.
        fails: from what is asked to "before", "after" or "".
    """

    def __init__(self, client: MlflowClient, fails: Callable[[str], str]) -> None:
        self.client, self.fails = client, fails

    def __getattr__(self, name: str) -> Callable[..., object]:
        def request(*arguments: object, **named: object) -> object:
            what = [Path(str(argument)).name for argument in arguments[1:2]]
            fails = self.fails(f"{name} {what} {sorted(named)}")
            if fails == "before":
                raise ConnectionError("the server is down")
            answer = getattr(self.client, name)(*arguments, **named)
            if fails == "after":
                raise ConnectionError("the server answered too late")
            return answer

        return request


@pytest.fixture
def folder(tmp_path: Path, uri: str) -> Folder:
    return Folder(tmp_path / "one", uri)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.01)


def through(monkeypatch: pytest.MonkeyPatch, uri: str, fails: Callable[[str], str]) -> None:
    flaky = Flaky(MlflowClient(tracking_uri=uri), fails)
    monkeypatch.setattr(delivery, "open_client", lambda uri: flaky)


def assert_whole(uri: str) -> None:
    """The store has the trial and its sweep once, with every step once."""
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert steps(uri, run.info.run_id) == [1, 2]
    assert steps(uri, run.info.run_id, "test_top1") == [0]
    assert steps(uri, run.info.run_id, "macs") == [0]
    (parent,) = runs(uri, "sweep")
    assert parent.info.status != "RUNNING"


def test_store_that_hangs_costs_nothing(
    folder: Folder, uri: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang, asked = threading.Event(), threading.Event()

    def fails(request: str) -> str:
        asked.set()
        hang.wait()
        return ""

    through(monkeypatch, uri, fails)
    folder.delivery.start()
    assert asked.wait(60)
    folder.train(1)
    for _ in range(10_000):
        folder.delivery.notify(ID)  # would never return if it waited for the store
    assert len(folder.delivery._pending) == 1  # the journal is the queue
    folder.train(2)
    folder.delivery.notify(ID)
    assert not folder.delivery.close(0.05)
    assert not runs(uri)
    hang.set()
    folder.delivery._thread.join()
    monkeypatch.undo()
    folder.anew()
    folder.delivery.start()
    assert folder.delivery.close(60)
    assert_whole(uri)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_whichever_request_is_lost_all_arrives_once(
    folder: Folder, uri: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Every request fails the first time that it is made."""
    failed: set[str] = set()

    def fails(request: str) -> str:
        first = request not in failed
        failed.add(request)
        return lost if first else ""

    through(monkeypatch, uri, fails)
    folder.train(1, 2)
    folder.delivery.notify(ID)
    for _ in range(100):
        with suppress(ConnectionError):
            folder.delivery._deliver_pending(True)
            break
    made = {request.split()[0] for request in failed}
    assert made >= {"create_experiment", "create_run", "log_batch", "log_artifact", "log_inputs"}
    assert made >= {"set_terminated", "log_metric", "set_tag", "log_text", "search_runs"}
    assert_whole(uri)


def test_store_that_goes_down_in_the_middle_and_comes_back(
    folder: Folder, uri: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = False
    through(monkeypatch, uri, lambda request: "before" if down else "")
    folder.train(1)
    folder.delivery.start()
    wait_for(lambda: runs(uri) and steps(uri, runs(uri)[0].info.run_id) == [1])
    down = True
    folder.train(2)
    folder.delivery.notify(ID)
    wait_for(lambda: folder.delivery.problem)
    assert folder.delivery.problem == "ConnectionError: the server is down"
    down = False
    assert folder.delivery.close(60)
    assert_whole(uri)


def test_a_problem_that_lasts_is_told_once_and_its_end_once(
    folder: Folder, uri: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 0.2)
    down, attempts, said = False, [], folder.said

    def fails(request: str) -> str:
        attempts.append(request)
        return "before" if down else ""

    through(monkeypatch, uri, fails)
    folder.train(1)
    folder.delivery.start()
    wait_for(lambda: runs(uri))
    assert said == []
    down = True
    folder.delivery.notify(ID)
    wait_for(lambda: said)
    before = len(attempts)
    folder.delivery.notify(ID)
    wait_for(lambda: len(attempts) > before + 5)  # it is not given up
    assert said == ["ConnectionError: the server is down"]
    down = False
    wait_for(lambda: not folder.delivery.problem)
    folder.train(2)
    folder.delivery.notify(ID)
    assert folder.delivery.close(60)
    assert said == ["ConnectionError: the server is down", ""]
    assert_whole(uri)


def test_a_problem_that_is_soon_over_is_not_told(folder: Folder) -> None:
    for problem in ("down", "down", "", "down", ""):
        folder.delivery._note(problem)
    assert folder.said == []


def test_store_that_was_down_gets_all_in_a_later_run(
    folder: Folder, uri: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    through(monkeypatch, uri, lambda request: "before")
    folder.delivery.start()
    folder.train(1, 2)
    folder.delivery.notify(ID)
    assert not folder.delivery.close(60)
    monkeypatch.undo()
    folder.anew()
    folder.delivery.start()
    assert folder.delivery.close(60)
    assert_whole(uri)
    assert delivery.is_delivered(folder.ledger, ID, uri, "small")


def test_nothing_stays_running_after_a_crash_and_the_next_run(folder: Folder, uri: str) -> None:
    folder.train(1)
    folder.deliver()  # and the command is killed
    assert [run.info.status for run in (*runs(uri), *runs(uri, "sweep"))] == ["RUNNING"] * 2
    assert list(folder.ledger.settle([ID])) == [ID]
    folder.anew()
    folder.delivery.start()
    assert folder.delivery.close(60)
    assert [run.info.status for run in runs(uri)] == ["KILLED"]
    assert [run.info.status for run in runs(uri, "sweep")] == ["FAILED"]
    folder.train(2)
    folder.anew()
    folder.delivery.start()
    assert folder.delivery.close(60)
    assert_whole(uri)
    assert [run.info.status for run in runs(uri, "sweep")] == ["FINISHED"]


def test_run_that_vanished_in_the_middle_is_made_again_whole(folder: Folder, uri: str) -> None:
    folder.train(1)
    folder.deliver()
    (run,) = runs(uri)
    MlflowClient(tracking_uri=uri).delete_run(run.info.run_id)
    folder.train(2)
    with pytest.raises(Exception, match="active"):
        folder.deliver()
    folder.delivery._deliver_pending(True)
    assert_whole(uri)


def test_parent_run_that_vanished_in_the_middle_is_made_again(
    folder: Folder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BEAT_SECONDS", 0.0)
    folder.train(1)
    folder.deliver()
    (parent,) = runs(uri, "sweep")
    MlflowClient(tracking_uri=uri).delete_run(parent.info.run_id)
    folder.train(2)
    with pytest.raises(Exception, match="active"):
        folder.deliver()
    folder.delivery._deliver_pending(True)
    assert_whole(uri)


def test_trial_that_was_handed_out_has_its_run_once_it_is_begun(folder: Folder, uri: str) -> None:
    folder.deliver()  # its worker is still starting
    assert not runs(uri)
    folder.train(1)
    folder.delivery._deliver_pending(False)  # nobody says so again
    (run,) = runs(uri)
    assert run.data.tags[names.TRIAL_ID] == ID
    assert run.info.start_time == int(folder.ledger.history(ID)[0]["time"] * 1000)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds; a minute is for ever."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
