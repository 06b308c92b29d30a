"""Sweeps on a Ray cluster that was there before: nodes that come short, are lost, or do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from sweep.data.base import MissingDatasetError
from sweep.ledger import Ledger, Share
from sweep.lock import Lock
from sweep.orchestration.attached import held_mark
from sweep.orchestration.cluster import ClusterError
from sweep.orchestration.connect import join
from sweep.orchestration.failures import failure_kind
from sweep.orchestration.machine import Machine, Needs, obstacles
from sweep.orchestration.packed import code_digest
from sweep.orchestration.resources import NoRoomError, allotment, share, slots
from sweep.orchestration.run import Where, _Room
from sweep.registry import DATASETS
from sweep.spec.schema import Resources
from sweep.study import Study
from sweep.training.loop import EpochReport
from tests.orchestration.conftest import Recorder, Run

STORE = {"object_store_memory": 80 * 2**20}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing, and a node for one trial."""
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE}
    )
    started.add_node(num_cpus=1, **STORE)
    yield started
    started.shutdown()


def test_a_node_that_goes_loses_no_trial_and_one_that_comes_goes_on_with_it(
    run: Callable[..., Run], folder: Path, cluster: Cluster
) -> None:
    lost: list[str] = []

    def lose(trial_id: str, report: EpochReport) -> None:
        if not lost:
            lost.append(trial_id)
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)

    def come() -> None:
        cluster.add_node(num_cpus=1, **STORE)

    done = run(
        "attention=[none, {name: eca, kernel_size: 3}]",
        "recipe.epochs=6",
        "resources={cpus: 1, gpus: 0}",
        where=Where("ray", cluster.address),
        recorder=Recorder(on_epoch=lose, on_shortage=come),
    )
    assert lost
    assert not done.summary.failures
    ledger = Ledger(folder)
    for planned in done.plan.trials:
        trial_id = planned.trial.trial_id
        events = [event["event"] for event in ledger.history(trial_id)]
        assert events.count("finish") == 1
        assert [line.epoch for line in ledger.journal(trial_id)] == [1, 2, 3, 4, 5, 6]
    assert lost[0] in [trial_id for trial_id, _ in done.recorder.retries]
    assert all(reason.startswith("the worker process died") for _, reason in done.recorder.retries)
    assert done.recorder.shortages == [Share(cpus=1, gpus=0)]
    assert not list(folder.rglob("node-check-*"))
    decided, sqlite = done.recorder.notices
    assert decided == "on 1 node: 1 CPU core a trial"
    assert sqlite.startswith(f"MLflow's store is an sqlite file in {folder}, which nodes share")


def test_no_cluster_at_an_address() -> None:
    with pytest.raises(ClusterError, match=r"no Ray answers at .*127\.0\.0\.1:1\)?: Connection"):
        join("127.0.0.1:1")


def needs(tmp_path: Path, **changed: object) -> Needs:
    settings = {"subset": 48}
    known = {
        "mark": tmp_path / "mark",
        "code": code_digest(),
        "dataset": "digits",
        "settings": settings,
        "content": DATASETS["digits"].of(settings).content(),
    }
    return Needs(**(known | changed))


@pytest.fixture
def _locked(tmp_path: Path) -> Iterator[None]:
    """The mark, as the command holds it."""
    lock = Lock(tmp_path / "mark")
    assert lock.take()
    yield
    lock.release()


@pytest.mark.usefixtures("_locked")
def test_a_machine_that_has_all_that_a_sweep_needs(tmp_path: Path) -> None:
    assert obstacles(needs(tmp_path)) == []


def test_locks_that_stay_on_their_machine_are_told(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()  # as a machine sees it that does not hear of the command's lock
    (locks,) = obstacles(needs(tmp_path))
    assert locks.startswith(f"locks in {tmp_path} do not hold between it and the command's node")
    assert "NFS without nolock and local_lock" in locks


def test_a_mark_is_locked_while_it_is_held_and_left_by_nobody(tmp_path: Path) -> None:
    study = Study(tmp_path, "small")
    study.path.mkdir(parents=True)
    (study.path / "node-check-of-a-command-that-was-killed").touch()
    with held_mark(study) as mark:
        assert [path.name for path in study.path.iterdir()] == [mark.name]
        assert not Lock(mark).is_free()
    assert not list(study.path.iterdir())


@pytest.mark.usefixtures("_locked")
def test_what_keeps_a_machine_from_running_trials_is_told(tmp_path: Path) -> None:
    nowhere = tmp_path / "gone" / "mark"
    (folder,) = obstacles(needs(tmp_path, mark=nowhere))
    assert folder.startswith(f"{nowhere.parent} is another folder there than here")
    (code,) = obstacles(needs(tmp_path, code="0"))
    assert "`sweep submit`, which brings its own" in code
    missing = {"root": str(tmp_path / "data")}
    (data,) = obstacles(needs(tmp_path, dataset="cifar10", settings=missing, content=None))
    assert data.startswith(f"cifar10: no files in {tmp_path / 'data'}")
    (files,) = obstacles(needs(tmp_path, content={"files": "of another folder"}))
    assert files == "its files of digits are not those that the plan was made from"


def test_a_trial_runs_on_one_node_and_not_on_parts_of_two() -> None:
    nodes = [Machine(2, 0), Machine(2, 0), Machine(1, 1)]
    with pytest.raises(NoRoomError, match=r"no node of the cluster has more than 2 CPU cores"):
        share(Resources(cpus=3, gpus=0), nodes)
    with pytest.raises(NoRoomError, match=r"no node with a GPU has more than 1 CPU cores"):
        share(Resources(cpus=2), nodes)
    assert slots(share(Resources(cpus=2, gpus=0), nodes), (), nodes) == 2
    assert slots(Share(1, 0.5), (), nodes) == 1
    assert slots(Share(1, 1.0), [0.25], [Machine(8, 2)]) == 8


@pytest.mark.parametrize(("gpus", "at_once"), [(0.6, 8), (0.4, 16), (1 / 49, 8 * 49), (2.0, 4)])
def test_a_part_of_a_gpu_is_on_one_gpu(gpus: float, at_once: int) -> None:
    assert slots(Share(1, gpus), (), [Machine(512, 8)]) == at_once


def test_a_data_set_that_is_missing_on_one_node_is_looked_for_on_another() -> None:
    assert failure_kind(MissingDatasetError("cifar10: no files")) == "transient"


def test_what_was_decided_for_trials_is_said() -> None:
    bare, gpus = [Machine(8, 0)], [Machine(8, 0), Machine(8, 2), Machine(4, 1)]
    auto = Resources(cpus=2)
    assert allotment(auto, share(auto, gpus), gpus) == "on 3 nodes: 2 CPU cores and 1 GPU a trial"
    none = "on 1 node, none of them with a GPU now: 2 CPU cores a trial; GPUs that come later"
    assert allotment(auto, share(auto, bare), bare).startswith(none)
    asked = Resources(cpus=1, gpus=0)
    assert allotment(asked, share(asked, gpus), gpus) == "on 3 nodes: 1 CPU core a trial"


def test_room_is_counted_anew_as_nodes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rooms = [0.0], [2]
    monkeypatch.setattr("sweep.orchestration.run.time.monotonic", lambda: now[0])
    room = _Room(lambda: rooms[0], 5)
    assert room() == 2
    rooms[0] = 9
    assert room() == 2
    now[0] = 6
    assert room() == 5
