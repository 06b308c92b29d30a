"""Two working folders on one store: one run of a trial, written by one, taken over by the other."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from sweep.ledger import Ledger
from sweep.tracking import adoption, delivery, names
from sweep.tracking.adoption import Elsewhere
from sweep.tracking.handover import STALE_SECONDS
from sweep.tracking.removal import remove_runs
from sweep.tracking.store import open_client
from tests.tracking.conftest import RESULT, TRIALS, Folder, runs, steps

TRIAL = TRIALS[0]
ID = TRIAL.trial_id


@pytest.fixture
def one(tmp_path: Path, uri: str) -> Folder:
    return Folder(tmp_path / "one", uri)


@pytest.fixture
def two(tmp_path: Path, uri: str) -> Folder:
    return Folder(tmp_path / "two", uri, study="other")


def looked(folder: Folder, *trial_ids: str) -> Elsewhere:
    """What a folder knows after one look at the store."""
    elsewhere = Elsewhere(folder.uri, folder.ledger)
    elsewhere._wanted.update(trial_ids)
    elsewhere._look()
    return elsewhere


def age(uri: str, seconds: float) -> None:
    """Let the heartbeat of the one run be so old."""
    (run,) = runs(uri)
    client = MlflowClient(tracking_uri=uri)
    client.set_tag(run.info.run_id, names.HEARTBEAT, str(time.time() - seconds))


def test_finished_trial_is_taken_over_whole_and_sent_by_nobody_again(
    one: Folder, two: Folder, uri: str
) -> None:
    one.train(1, 2)
    one.deliver()
    elsewhere = looked(two, ID)
    assert not elsewhere.has(ID)  # it is here already
    assert elsewhere.adopt(TRIAL)
    assert elsewhere.adopted == 1
    assert two.ledger.trial(ID) == TRIAL
    assert two.ledger.journal(ID) == one.ledger.journal(ID)
    assert two.ledger.result(ID) == RESULT
    entry, (event,) = two.ledger.entry(ID), two.ledger.history(ID)
    assert entry.settled
    assert entry.ended == one.ledger.entry(ID).ended
    before = runs(uri)[0]
    assert event["origin"] == before.info.run_id
    two.deliver()
    (after,) = runs(uri)
    assert after.data.metrics == before.data.metrics
    assert steps(uri, after.info.run_id) == [1, 2]
    assert steps(uri, after.info.run_id, "test_top1") == [0]
    member = [after.data.tags[names.per_sweep(names.MEMBER, s)] for s in ("small", "other")]
    assert member == ["yes", "yes"]


def test_what_a_folder_had_of_a_trial_gives_way(one: Folder, two: Folder) -> None:
    two.train(1)
    two.ledger.interrupt(ID)
    two.ledger.checkpoint_folder(ID).mkdir()
    one.train(1, 2)
    one.deliver()
    assert looked(two, ID).adopt(TRIAL)
    assert two.ledger.journal(ID) == one.ledger.journal(ID)
    assert not two.ledger.checkpoint_folder(ID).exists()


def test_trial_that_is_in_training_here_is_not_taken_over(one: Folder, two: Folder) -> None:
    one.train(1, 2)
    one.deliver()
    with_lock = two.ledger.training(ID)
    with_lock.take()
    assert not looked(two, ID).adopt(TRIAL)
    with_lock.release()
    assert looked(two, ID).adopt(TRIAL)


@pytest.mark.parametrize("damage", ["torn", "version", "other trial", "missing"])
def test_damaged_or_foreign_record_is_ignored(
    one: Folder, two: Folder, uri: str, tmp_path: Path, damage: str
) -> None:
    one.train(1, 2)
    one.train(1, 2, seed=1)
    one.deliver(0)
    one.deliver(1)
    artifacts = {
        run.data.tags[names.TRIAL_ID]: Path(run.info.artifact_uri.removeprefix("file://"))
        / names.FINISHED_RECORD
        for run in runs(uri)
    }
    path = artifacts[ID]
    text = path.read_text()
    match damage:
        case "torn":
            path.write_text(text[:-20])
        case "version":
            path.write_text(text.replace('"version": 1,', '"version": 99,', 1))
        case "other trial":
            path.write_text(artifacts[TRIALS[1].trial_id].read_text())
        case "missing":
            path.unlink()
    elsewhere = looked(two, ID)
    assert not elsewhere.has(ID)
    assert not elsewhere.adopt(TRIAL)
    assert two.ledger.entry(ID).state == "planned"


def test_trial_in_training_elsewhere_is_left_to_it_until_its_heart_stops(
    one: Folder, two: Folder, uri: str
) -> None:
    one.train(1)
    one.deliver()
    assert looked(two, ID).has(ID)
    assert not looked(one, ID).has(ID)  # its own
    age(uri, STALE_SECONDS + 1)
    assert not looked(two, ID).has(ID)


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_a_heart_that_beats_counts_whatever_the_clock_there_says(
    one: Folder, two: Folder, uri: str, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(adoption.time, "monotonic", lambda: now)
    one.train(1)
    one.deliver()
    age(uri, skew)
    elsewhere = looked(two, ID)
    now += 60
    age(uri, skew - 60)
    elsewhere._look()
    assert elsewhere.has(ID)
    now += STALE_SECONDS - 1
    elsewhere._look()
    assert elsewhere.has(ID)
    now += 2
    elsewhere._look()  # the same heartbeat still
    assert not elsewhere.has(ID)


def test_end_elsewhere_is_noticed_by_a_later_look(one: Folder, two: Folder) -> None:
    one.train(1)
    one.deliver()
    elsewhere = looked(two, ID)
    assert elsewhere.has(ID)
    one.train(2)
    one.deliver()
    elsewhere._look()
    assert elsewhere.adopt(TRIAL)
    one.train(1, seed=1)
    one.deliver(1)
    elsewhere._look()
    assert elsewhere.has(TRIALS[1].trial_id)
    one.ledger.interrupt(TRIALS[1].trial_id)
    one.deliver(1)
    elsewhere._look()
    assert not elsewhere.has(TRIALS[1].trial_id)


def test_heartbeat_is_renewed_while_a_process_trains(
    one: Folder, two: Folder, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = one.ledger.training(ID)
    one.train(1)
    one.deliver()
    age(uri, STALE_SECONDS + 1)
    monkeypatch.setattr("sweep.tracking.delivery.BEAT_SECONDS", 0.0)
    one.deliver()  # nobody trains it: as after a kill of the worker
    assert not looked(two, ID).has(ID)
    lock.take()
    one.delivery._notify_beats()  # no epoch has ended since
    one.delivery._deliver_pending(False)
    lock.release()
    assert looked(two, ID).has(ID)


def test_abandoned_run_gives_way_and_keeps_its_memberships(
    one: Folder, two: Folder, uri: str
) -> None:
    one.train(1)
    one.deliver()
    age(uri, STALE_SECONDS + 1)
    two.train(1, 2)
    two.deliver()
    (run,) = runs(uri)
    assert run.data.tags[names.FOLDER] == two.ledger.folder_id()
    assert run.data.tags[names.per_sweep(names.MEMBER, "small")] == "yes"
    assert run.info.status == "FINISHED"
    assert steps(uri, run.info.run_id) == [1, 2]
    one.train(2)  # it was only cut off, and comes back
    with pytest.raises(Exception, match="active"):
        one.deliver()
    one.deliver()
    (after,) = runs(uri)
    assert after.info.run_id == run.info.run_id
    assert steps(uri, run.info.run_id) == [1, 2]
    assert not one.delivery._pending


def test_result_waits_while_the_trial_is_in_training_where_it_was_begun(
    one: Folder, two: Folder, uri: str
) -> None:
    one.train(1)
    one.deliver()
    two.train(1, 2)
    with pytest.raises(TimeoutError, match=f"trial {ID} is in training on"):
        two.deliver()
    two.delivery._runs.clear()
    age(uri, STALE_SECONDS + 1)
    two.delivery._deliver_pending(False)  # it was not forgotten
    (run,) = runs(uri)
    assert run.data.tags[names.FOLDER] == two.ledger.folder_id()


def test_trial_that_waits_does_not_hold_up_the_others(one: Folder, two: Folder, uri: str) -> None:
    one.train(1)
    one.deliver()
    two.train(1, 2)
    two.train(1, 2, seed=1)
    two.delivery.notify(ID)
    with pytest.raises(TimeoutError):
        two.deliver(1, closing=True)
    finished = [run for run in runs(uri) if run.info.status == "FINISHED"]
    assert [run.data.tags[names.TRIAL_ID] for run in finished] == [TRIALS[1].trial_id]
    ended = {r.data.tags[names.STUDY]: r.info.status for r in runs(uri, "sweep")}
    assert ended["other"] != "RUNNING"


def test_both_make_the_run_in_the_same_moment(one: Folder, two: Folder, uri: str) -> None:
    """Each has looked before the other one made its run, which only the one begun first keeps."""
    one.train(1)
    two.train(1)
    made = threading.Barrier(2, timeout=60)
    for folder in (one, two):
        create = folder.delivery._create

        def together(*arguments, create=create) -> None:
            made.wait()
            create(*arguments)
            made.wait()

        folder.delivery._create = together
    folder_threads = [threading.Thread(target=f.deliver) for f in (one, two)]
    for thread in folder_threads:
        thread.start()
    for thread in folder_threads:
        thread.join()
    (run,) = runs(uri)
    assert run.data.tags[names.FOLDER] == one.ledger.folder_id()
    assert steps(uri, run.info.run_id) == [1]
    assert looked(two, ID).has(ID)
    assert not looked(one, ID).has(ID)
    for folder in (one, two):
        folder.train(2)
    one.deliver()
    two.deliver()
    (after,) = runs(uri)
    assert after.info.run_id == run.info.run_id
    assert after.info.status == "FINISHED"
    assert steps(uri, run.info.run_id) == [1, 2]


def test_second_run_that_a_killed_command_left_is_removed(one: Folder, uri: str) -> None:
    one.train(1, 2)
    one.deliver()
    (run,) = runs(uri)
    tags = {names.KIND: "trial", names.TRIAL_ID: ID}
    MlflowClient(tracking_uri=uri).create_run(run.info.experiment_id, tags=tags)
    one.anew()
    one.deliver()
    (left,) = runs(uri)
    assert left.info.run_id == run.info.run_id


def test_store_that_does_not_answer_holds_nothing_up(
    two: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    monkeypatch.setattr(adoption, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(adoption, "open_client", lambda uri: hang.wait())
    elsewhere = Elsewhere("http://nowhere", two.ledger)
    elsewhere.start([ID])
    assert not elsewhere.has(ID)
    assert not elsewhere.adopt(TRIAL)
    elsewhere.close()
    hang.set()


def test_folder_keeps_its_id_and_another_has_another(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "one").folder_id()
    assert Ledger(tmp_path / "one").folder_id() == first
    assert Ledger(tmp_path / "two").folder_id() != first


def opened(uri: str, outcomes: multiprocessing.Queue) -> None:
    try:
        outcomes.put(len(open_client(uri).search_experiments()))
    except Exception as error:
        outcomes.put(str(error))


def test_two_processes_make_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    outcomes = context.Queue()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    openers = [context.Process(target=opened, args=(uri, outcomes)) for _ in range(2)]
    for process in openers:
        process.start()
    assert [outcomes.get(timeout=120) for _ in openers] == [1, 1]  # MLflow's Default
    for process in openers:
        process.join()


def test_removing_a_sweep_leaves_the_runs_of_other_folders(
    one: Folder, two: Folder, uri: str
) -> None:
    one.train(1, 2)
    one.deliver()
    assert looked(two, ID).adopt(TRIAL)
    two.train(1, 2, seed=1)
    two.deliver(0)
    two.deliver(1)
    remove_runs(uri, "other", [ID, TRIALS[1].trial_id], two.ledger.folder_id())
    (left,) = runs(uri)
    assert left.data.tags[names.TRIAL_ID] == ID
    member = [left.data.tags[names.per_sweep(names.MEMBER, s)] for s in ("small", "other")]
    assert member == ["yes", "no"]


class ReadOnly:
    """A client of an account that may not write one run, as MLflow's basic-auth answers."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def __getattr__(self, name: str) -> Callable[..., object]:
        def request(*arguments: object, **named: object) -> object:
            writes = not name.startswith(("search", "get", "list", "download"))
            if writes and arguments[:1] == (self.run_id,):
                raise MlflowException("Permission denied", error_code=PERMISSION_DENIED)
            return getattr(self.client, name)(*arguments, **named)

        return request


@pytest.fixture
def forbid(uri: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Let the store's one run be another account's from now on; return its id."""

    def forbid() -> str:
        (run,) = runs(uri)
        client = ReadOnly(MlflowClient(tracking_uri=uri), run.info.run_id)
        for module in (adoption, delivery):
            monkeypatch.setattr(module, "open_client", lambda _: client)
        return str(run.info.run_id)

    return forbid


@pytest.mark.parametrize("epochs", [(1,), (1, 2)], ids=["in training", "finished"])
def test_what_another_account_has_counts_as_not_there(
    one: Folder, two: Folder, forbid: Callable[[], str], epochs: tuple[int, ...]
) -> None:
    """It holds no trial up, and is no result of this folder's."""
    one.train(*epochs)
    one.deliver()
    forbid()
    elsewhere = looked(two, ID)
    assert not elsewhere.has(ID)
    assert not elsewhere.adopt(TRIAL)


@pytest.mark.parametrize("state", ["finished", "given up"])
def test_a_run_of_another_account_keeps_none_from_the_store(
    one: Folder, two: Folder, uri: str, forbid: Callable[[], str], state: str
) -> None:
    one.train(*((1, 2) if state == "finished" else (1,)))
    one.deliver()
    if state == "given up":
        age(uri, STALE_SECONDS + 1)
    theirs = forbid()
    two.train(1, 2)
    for _ in range(2):  # a second command finds both runs, and deletes neither
        with suppress(MlflowException):
            two.deliver()  # is refused, once
        two.deliver()
        two.anew()
        found = {run.info.run_id: run for run in runs(uri)}
        ours = found.pop(next(i for i in found if i != theirs))
        assert list(found) == [theirs]
        assert ours.info.status == "FINISHED"
        assert ours.data.tags[names.per_sweep(names.MEMBER, "other")] == "yes"
        assert steps(uri, ours.info.run_id) == [1, 2]
    assert len({run.info.run_id for run in runs(uri)}) == 2
