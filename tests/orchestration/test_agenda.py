"""What runs next: retries, larger shares, other commands' trials, early ends, a full disk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sweep.ledger import Ledger, Share
from sweep.lock import Lock
from sweep.orchestration import agenda as agenda_module
from sweep.orchestration.agenda import LOOK_SECONDS, Agenda, Listed
from sweep.orchestration.attempt import Job, Outcome
from sweep.orchestration.failures import BACKOFF_SECONDS
from sweep.plan import PlannedTrial
from sweep.spec.trial import Trial
from sweep.training.loop import EpochReport
from tests.orchestration.conftest import Recorder
from tests.test_ledger import TRIAL, finish

SHARE = Share(cpus=1, gpus=0.25)


def planned(seed: int) -> PlannedTrial:
    trial = TRIAL.model_copy(update={"seed": seed})
    return PlannedTrial(trial=trial, label="baseline", status="planned", reason="", cost=None)


@dataclass
class Bench:
    """An agenda over some trials, with a clock that the test moves."""

    folder: Path
    trials: list[PlannedTrial]
    now: float = 0.0
    recorder: Recorder = field(default_factory=Recorder)
    limit: int | None = None
    early_stop: object = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)
        self.agenda = Agenda(
            Listed(self.trials),
            self.ledger,
            self.job,
            self.recorder,
            limit=lambda: self.limit,
            early_stop=self.early_stop,
            clock=lambda: self.now,
        )

    def job(self, trial: PlannedTrial, larger: Share | None) -> Job:
        return Job(trial.trial, str(self.folder), larger or SHARE, workers=0, keep="none")

    def next_id(self) -> str | None:
        job = self.agenda.next()
        return job.trial.trial_id if job else None

    def fails(self, job: Job, kind: str, reason: str = "why") -> None:
        """Let a job begin and fail as ``attempt`` has it."""
        self.ledger.begin(job.trial, job.share)
        self.ledger.fail(job.trial.trial_id, kind, reason, "Traceback")
        self.agenda.ended(job.trial.trial_id, Outcome({}, reason, kind))

    def finishes(self, job: Job) -> None:
        self.ledger.begin(job.trial, job.share)
        finish(self.ledger, job.trial.trial_id, {"metrics": {"test_top1": 0.5}})
        self.agenda.ended(job.trial.trial_id, Outcome({"test_top1": 0.5}))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(count: int = 1, **more: object) -> Bench:
        made.append(Bench(tmp_path, [planned(seed) for seed in range(count)], **more))
        return made[-1]

    yield make
    for one in made:
        one.agenda.release()


def test_trials_come_in_their_order_each_once(bench: Callable[..., Bench]) -> None:
    at = bench(3)
    ids = [p.trial.trial_id for p in at.trials]
    jobs = [at.agenda.next() for _ in ids]
    assert [job.trial.trial_id for job in jobs] == ids
    assert at.agenda.next() is None
    assert not at.agenda.over  # they run
    for job in jobs:
        at.finishes(job)
    assert at.agenda.over
    assert list(at.recorder.outcomes) == ids


def test_settled_trials_are_not_run(bench: Callable[..., Bench]) -> None:
    at = bench(3)
    done, dead, left = (p.trial for p in at.trials)
    at.ledger.begin(done, SHARE)
    finish(at.ledger, done.trial_id, {"metrics": {"test_top1": 1.0}})
    at.ledger.begin(dead, SHARE)
    at.ledger.fail(dead.trial_id, "final", "NonFiniteLossError", "")
    assert at.next_id() == left.trial_id
    assert at.recorder.outcomes[done.trial_id] == Outcome({"test_top1": 1.0})
    assert at.recorder.outcomes[dead.trial_id].reason == "NonFiniteLossError"


def test_what_was_lost_is_tried_again_ever_later_and_then_left(bench: Callable[..., Bench]) -> None:
    at = bench()
    (trial_id,) = (p.trial.trial_id for p in at.trials)
    for seconds in BACKOFF_SECONDS:
        at.fails(at.agenda.next(), "transient")
        at.now += seconds - 0.1
        assert at.next_id() is None
        assert not at.agenda.over
        at.now += 0.2
    assert at.recorder.outcomes == {}
    at.fails(at.agenda.next(), "transient")
    assert at.agenda.over
    assert at.recorder.outcomes[trial_id].reason == "why"
    assert not at.ledger.entry(trial_id).settled  # the next run of the sweep tries again


def test_final_failure_is_not_tried_again(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.fails(at.agenda.next(), "final")
    assert at.agenda.over
    assert at.recorder.retries == []


def test_trial_that_does_not_fit_gets_more_and_then_smaller_pieces(
    bench: Callable[..., Bench],
) -> None:
    at = bench()  # a batch of 128
    shares = []
    while job := at.agenda.next():
        shares.append((job.share.gpus, job.share.accumulate))
        at.fails(job, "memory", "OutOfMemoryError: CUDA out of memory")
    assert shares == [(0.25, 1), (0.5, 1), *((1.0, 2**n) for n in range(7))]
    entry = at.ledger.entry(at.trials[0].trial.trial_id)
    assert entry.settled
    assert entry.reason.endswith("(on a whole GPU, in the smallest pieces)")
    assert at.agenda.over


def test_larger_share_outlives_the_command(bench: Callable[..., Bench]) -> None:
    first = bench()
    first.fails(first.agenda.next(), "memory")
    first.agenda.release()
    assert bench().agenda.next().share.gpus == 0.5


def test_worker_that_died_before_its_first_word(bench: Callable[..., Bench]) -> None:
    at = bench()
    job = at.agenda.next()
    at.agenda.lost(job.trial.trial_id, "the worker process died", "details")
    entry = at.ledger.entry(job.trial.trial_id)
    assert (entry.state, entry.kind, entry.attempts) == ("failed", "transient", 0)
    at.now += BACKOFF_SECONDS[0] + 0.1
    assert at.next_id() == job.trial.trial_id


def test_worker_that_died_after_its_last_word(bench: Callable[..., Bench]) -> None:
    at = bench()
    job = at.agenda.next()
    at.ledger.begin(job.trial, SHARE)
    finish(at.ledger, job.trial.trial_id, {"metrics": {"test_top1": 0.5}})
    at.agenda.lost(job.trial.trial_id, "the worker process died", "details")
    assert at.agenda.over
    assert at.recorder.outcomes[job.trial.trial_id] == Outcome({"test_top1": 0.5})


@pytest.mark.parametrize("died", [True, False], ids=["worker died", "node has another folder"])
def test_a_stop_of_an_earlier_sweep_is_no_end_of_a_lost_attempt(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, died: bool
) -> None:
    """A scheduler ended the trial; this sweep has none, and its worker died before it began."""
    monkeypatch.setattr(agenda_module, "LATE_SECONDS", ())
    at = bench()
    trial = at.trials[0].trial
    at.ledger.begin(trial, SHARE)
    at.ledger.stop(trial.trial_id, "asha: below the best half")
    assert at.next_id() == trial.trial_id
    if died:
        at.agenda.lost(trial.trial_id, "the worker process died", "")
    else:
        at.agenda.ended(trial.trial_id, Outcome({"test_top1": 0.5}))
    assert not at.agenda.over
    assert at.ledger.entry(trial.trial_id).kind == "transient"
    at.now += BACKOFF_SECONDS[0] + 0.1
    assert at.next_id() == trial.trial_id


def test_a_stop_of_this_attempt_is_its_end(bench: Callable[..., Bench]) -> None:
    at = bench()
    trial = at.trials[0].trial
    assert at.next_id() == trial.trial_id
    at.ledger.begin(trial, SHARE)
    at.ledger.stop(trial.trial_id, "segment of a population, until epoch 1")
    at.agenda.lost(trial.trial_id, "the worker process died", "")
    assert at.agenda.over
    assert at.recorder.outcomes[trial.trial_id].kind is None


def test_limit_of_jobs_at_once(bench: Callable[..., Bench]) -> None:
    at = bench(3, limit=2)
    first, second = at.agenda.next(), at.agenda.next()
    assert at.agenda.next() is None
    at.finishes(first)
    assert at.next_id() == at.trials[2].trial.trial_id
    assert second.trial.trial_id == at.trials[1].trial.trial_id


def test_two_commands_share_the_work_and_no_trial(bench: Callable[..., Bench]) -> None:
    one, two = bench(2), bench(2)
    first, second = one.agenda.next(), two.agenda.next()
    assert first.trial != second.trial
    assert two.agenda.next() is None
    assert not two.agenda.over  # the other's trial may come free
    one.finishes(first)
    two.finishes(second)
    for at in (one, two):
        at.now += 10.0
        assert at.agenda.next() is None
        assert at.agenda.over
        assert len(at.recorder.outcomes) == 2


def test_trial_of_a_command_that_ended_is_taken_over(bench: Callable[..., Bench]) -> None:
    one, two = bench(1), bench(1)
    job = one.agenda.next()
    assert two.agenda.next() is None
    one.agenda.release()  # as when its process ends
    two.now += 10.0
    assert two.next_id() == job.trial.trial_id


class _AfterTwo:
    """A scheduler that lets every trial go on after epoch 1, and none after epoch 2."""

    def reached(self, trial: Trial, epoch: int, value: float) -> str:
        return "asha: too low" if epoch >= 2 else ""

    def rungs(self, trial: Trial) -> list[int]:
        return [1]


def test_scheduler_ends_a_trial_but_not_one_that_was_put_back(bench: Callable[..., Bench]) -> None:
    at = bench(early_stop=_AfterTwo())
    job = at.agenda.next()
    trial_id = job.trial.trial_id
    at.ledger.begin(job.trial, SHARE)
    assert not at.agenda.epoch(trial_id, EpochReport(1, {"val_top1": 0.1}))
    assert at.agenda.epoch(trial_id, EpochReport(2, {"val_top1": 0.1}))
    entry = at.ledger.entry(trial_id)
    assert (entry.state, entry.reason, entry.promoted) == ("stopped", "asha: too low", (1,))
    at.agenda.ended(trial_id, Outcome({}))  # the late word of its process changes nothing
    assert at.agenda.over
    at.ledger.retry(trial_id)
    again = bench(early_stop=_AfterTwo())
    again.ledger.begin(again.agenda.next().trial, SHARE)
    assert not again.agenda.epoch(trial_id, EpochReport(2, {"val_top1": 0.1}))


def test_full_disk_ends_the_sweep(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = bench(2)
    job = at.agenda.next()
    at.agenda.ended(job.trial.trial_id, Outcome({}, "OSError: No space left", "disk"))
    assert at.agenda.over
    assert at.agenda.unwritable == "OSError: No space left"
    assert at.agenda.next() is None

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    at.agenda.release()
    at = bench(2)
    job = at.agenda.next()
    monkeypatch.setattr("sweep.ledger.append_line", full)
    at.agenda.lost(job.trial.trial_id, "died", "")
    assert "No space left" in at.agenda.unwritable


def test_good_end_that_the_folder_does_not_have_is_a_lost_attempt(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a node whose working folder is a disk of its own."""
    monkeypatch.setattr(agenda_module, "LATE_SECONDS", ())
    at = bench()
    trial_id = at.trials[0].trial.trial_id
    for attempt in range(1, len(BACKOFF_SECONDS) + 2):
        assert at.next_id() == trial_id
        at.agenda.ended(trial_id, Outcome({"test_top1": 0.5}, node="node-7 (10.0.0.7)"))
        assert at.ledger.entry(trial_id).fruitless == attempt
        at.now += 1000.0
    assert at.agenda.over
    assert len(at.recorder.retries) == len(BACKOFF_SECONDS)
    outcome = at.recorder.outcomes[trial_id]
    assert outcome.kind == at.ledger.entry(trial_id).kind == "transient"
    assert "node-7 (10.0.0.7)" in outcome.reason
    assert str(at.folder) in outcome.reason


def test_good_end_that_shows_late_is_one(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda_module, "LATE_SECONDS", (0.0, 0.0))
    at = bench()
    job = at.agenda.next()

    def show(trial_id: str) -> None:
        at.ledger.begin(job.trial, SHARE)
        finish(at.ledger, trial_id, {"metrics": {}})

    monkeypatch.setattr(at.ledger, "refresh", show)
    at.agenda.ended(job.trial.trial_id, Outcome({"test_top1": 0.5}))
    assert at.recorder.outcomes == {job.trial.trial_id: Outcome({"test_top1": 0.5})}
    assert at.agenda.over


def test_trial_that_a_process_does_not_let_go_of_is_given_up(bench: Callable[..., Bench]) -> None:
    at = bench()
    (trial_id,) = (p.trial.trial_id for p in at.trials)
    taken = Outcome({}, "it is trained by another process already (process 7 on n)", "transient")
    for _ in range(len(BACKOFF_SECONDS) + 1):
        assert at.next_id() == trial_id
        at.agenda.ended(trial_id, taken)
        at.now += 1000.0
    assert at.agenda.over
    assert at.recorder.outcomes == {trial_id: taken}
    assert at.ledger.entry(trial_id).reason == taken.reason


def test_an_epoch_that_is_new_ends_the_count_of_lost_attempts(bench: Callable[..., Bench]) -> None:
    at = bench()
    (trial_id,) = (p.trial.trial_id for p in at.trials)
    for epoch in range(1, 2 * len(BACKOFF_SECONDS)):
        assert at.next_id() == trial_id
        at.agenda.epoch(trial_id, EpochReport(epoch, {}))
        at.agenda.ended(trial_id, Outcome({}, "overtaken", "transient"))
        at.now += 1000.0
    assert at.recorder.outcomes == {}


def test_trial_that_another_command_has_is_told_once(bench: Callable[..., Bench]) -> None:
    one, two = bench(1), bench(1)
    trial_id = one.next_id()
    for _ in range(3):
        assert two.agenda.next() is None
        two.now += LOOK_SECONDS
    ((told, reason),) = two.recorder.retries
    assert told == trial_id
    assert "another command has it (process " in reason


def test_each_look_is_at_some_of_the_trials_that_others_have(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda_module, "LOOK_AT", 2)
    one, two = bench(5), bench(5)
    while one.agenda.next():
        pass
    two.agenda.next()
    looked: list[str] = []
    monkeypatch.setattr(Lock, "take", lambda lock: looked.append(lock.path.parent.name))
    for _ in range(5):
        two.now += LOOK_SECONDS
        assert two.agenda.next() is None
    assert looked == 2 * [p.trial.trial_id for p in two.trials]


def test_share_that_did_not_fit_is_the_one_that_was_handed_out(
    bench: Callable[..., Bench],
) -> None:
    """The ledger knows of no attempt: its node has another folder."""
    at = bench()
    shares = []
    while job := at.agenda.next():
        shares.append(job.share.gpus)
        at.agenda.ended(job.trial.trial_id, Outcome({}, "CUDA out of memory", "memory"))
    assert shares[:3] == [0.25, 0.5, 1.0]
    assert at.agenda.over
    assert not at.agenda.unwritable
    assert at.ledger.entry(at.trials[0].trial.trial_id).settled
