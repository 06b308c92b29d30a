"""Two working folders on one store: what one has trained, or trains, the other does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sweep.ledger import Ledger
from sweep.orchestration.agenda import LOOK_SECONDS, Agenda, Listed
from sweep.orchestration.attempt import Job
from sweep.spec.trial import Trial
from sweep.training.loop import EpochReport
from tests.orchestration.conftest import Recorder, Run
from tests.orchestration.test_agenda import SHARE, planned
from tests.orchestration.test_inline import client_of, runs_of


@dataclass
class Other:
    """Another folder, as the store shows it."""

    ledger: Ledger
    trains: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def has(self, trial_id: str) -> bool:
        return trial_id in self.trains

    def adopt(self, trial: Trial) -> bool:
        if trial.trial_id not in self.done:
            return False
        result = {"metrics": {"test_top1": 0.5}}
        self.ledger.adopt(trial, [], result, ended=1.0, origin="run")
        return True


class Bench:
    """An agenda over two trials beside another folder; its clock is moved by looking."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 0.0
        self.trials = [planned(seed) for seed in range(2)]
        self.ids = [p.trial.trial_id for p in self.trials]
        self.ledger, self.recorder = Ledger(folder), Recorder()
        self.other = Other(self.ledger)
        self.agenda = Agenda(
            Listed(self.trials),
            self.ledger,
            lambda p, larger: Job(p.trial, str(folder), larger or SHARE, workers=0, keep="none"),
            self.recorder,
            elsewhere=self.other,
            clock=lambda: self.now,
        )

    def next_id(self) -> str | None:
        self.now += LOOK_SECONDS
        job = self.agenda.next()
        return job.trial.trial_id if job else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_trial_that_another_folder_trains_is_waited_for_and_taken_over(bench: Bench) -> None:
    first, second = bench.ids
    bench.other.trains = {first}
    assert bench.next_id() == second
    assert bench.next_id() is None
    assert not bench.agenda.over
    assert Ledger(bench.folder).claim(first).is_free()
    bench.other.trains, bench.other.done = set(), {first}
    assert bench.next_id() is None
    assert bench.recorder.outcomes[first].metrics == {"test_top1": 0.5}
    assert bench.ledger.entry(first).state == "done"
    assert bench.agenda.handed_out == 1
    bench.agenda.release()


def test_trial_that_another_folder_gave_up_is_trained(bench: Bench) -> None:
    first, second = bench.ids
    bench.other.trains = {first}
    assert bench.next_id() == second
    bench.other.trains = set()
    assert bench.next_id() == first
    bench.agenda.release()


def test_trial_that_another_folder_began_first_is_left_to_it(bench: Bench) -> None:
    first, _ = bench.ids
    assert bench.next_id() == first
    bench.ledger.begin(bench.trials[0].trial, SHARE)
    assert not bench.agenda.epoch(first, EpochReport(1, {}))
    bench.other.trains = {first}
    assert bench.agenda.epoch(first, EpochReport(2, {}))
    assert bench.ledger.entry(first).state == "interrupted"
    assert [trial_id for trial_id, _ in bench.recorder.retries] == [first]
    assert bench.next_id() == bench.ids[1]
    bench.other.trains = set()  # it died
    assert bench.next_id() == first
    bench.agenda.release()


def test_last_epoch_is_not_given_up(bench: Bench) -> None:
    first, _ = bench.ids
    assert bench.next_id() == first
    bench.other.trains = {first}
    last = bench.trials[0].trial.recipe.epochs
    assert not bench.agenda.epoch(first, EpochReport(last, {}))
    bench.agenda.release()


def test_second_folder_trains_only_what_the_first_has_not(
    run: Callable[..., Run], folder: Path, tmp_path: Path, empty_store: Path
) -> None:
    server = tmp_path / "server"
    server.mkdir()
    shutil.copy(empty_store, server / "mlflow.db")
    store = f"tracking={{uri: 'sqlite:///{server / 'mlflow.db'}'}}"
    one = run("attention=[none]", "recipe.epochs=1", store)
    both = "attention=[none, {name: ca, reduction: 16}]"
    other = run(both, "recipe.epochs=1", store, study="other", into=tmp_path / "two")
    (trial_id,) = one.recorder.outcomes
    assert one.summary.adopted == 0
    assert (other.summary.adopted, other.summary.ran, other.summary.done) == (1, 1, 2)
    assert other.recorder.starts == [other.plan.trials[1].trial.trial_id]
    assert other.recorder.outcomes[trial_id] == one.recorder.outcomes[trial_id]
    assert not other.summary.undelivered
    assert len(runs_of(server, "trial")) == 2
    assert {run.info.status for run in runs_of(server, "trial")} == {"FINISHED"}
    for run_ in runs_of(server, "trial"):
        history = client_of(server).get_metric_history(run_.info.run_id, "test_top1")
        assert [m.step for m in history] == [0]
