"""Running a sweep: making its ledger complete.

What is settled already, by this sweep or another one, is not run again. Everything is in the
working folder when this returns, whatever happened to MLflow.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.durable import remove_partials
from sweep.errors import UserError
from sweep.ledger import Entry, Ledger, Share
from sweep.orchestration.agenda import Agenda, Listed, Source
from sweep.orchestration.attempt import Outcome
from sweep.orchestration.early_stop import EarlyStop, early_stop
from sweep.orchestration.failures import is_within, tells_of_full_disk
from sweep.orchestration.inline import InlineRunner
from sweep.orchestration.jobs import JobMaker, placed
from sweep.orchestration.paired import Paired
from sweep.orchestration.population import Population
from sweep.orchestration.record import sweep_record, trial_record
from sweep.orchestration.resources import allotment, share, slots
from sweep.orchestration.runner import Listener, Runner
from sweep.orchestration.search import Search, search_path
from sweep.orchestration.searched import Searched, uneven_latencies
from sweep.orchestration.stopping import StopRequest, stoppable
from sweep.plan import Plan, PlannedTrial
from sweep.registry import TASKS
from sweep.spec.confined import is_confined
from sweep.spec.schema import Space
from sweep.study import FolderError, StoredStudy, Study
from sweep.tracking import names
from sweep.tracking.adoption import Elsewhere
from sweep.tracking.delivery import Delivery
from sweep.tracking.store import own_store, tracking_uri
from sweep.training.loop import EpochReport

DELIVERY_SECONDS = 120.0
"""How long a finished sweep waits for MLflow to take what is left."""
INTERRUPTED_SECONDS = 10.0
"""How long an interrupted one does."""
ROOM_SECONDS = 5.0
"""Between two looks at the nodes that there are."""
LOCK_SECONDS = 0.5
"""How long another command may look at the sweep before it counts as running it."""
JOB_LOCK_SECONDS = 120.0
"""How long a submitted sweep waits for the job before, which the cluster counts as ended, but which
may still be saving, or was on a machine whose locks the file server has not given up yet."""


@dataclass(frozen=True)
class Where:
    """Where the trials of a sweep run."""

    runner: Literal["ray", "inline"]
    """"inline" is this process."""
    address: str | None = None
    """Of a Ray cluster that this machine belongs to; by default Ray is started here, for this."""


class UnwritableError(UserError, OSError):
    """The working folder cannot be written to any more; mostly its disk is full."""

    exit_code = 1


@dataclass(frozen=True)
class Failure:
    """A trial that did not end well."""

    trial_id: str
    label: str
    reason: str
    log: Path


@dataclass(frozen=True)
class Summary:
    """How a run of a sweep ended."""

    plan: Plan
    """With the trials that a search came to."""
    done: int
    """Trials with a result, those of earlier runs included."""
    ran: int
    """Trials that this run worked on."""
    adopted: int
    """Trials that another working folder trained, and this run took over from the store."""
    stopped: int
    """Trials that a scheduler ended early."""
    segments: int
    """Trials of populations that others go on from."""
    failures: tuple[Failure, ...]
    answers: tuple[str, ...]
    """Of a paired study, a sentence for each comparison."""
    uneven: str
    """That a search met latencies of several devices; empty if it did not."""
    undelivered: str
    """Why MLflow does not have everything; empty if it has."""
    uri: str


def missing(plan: Plan, ledger: Ledger, *, scheduled: bool) -> list[PlannedTrial]:
    """Return the trials of a plan that can exist and are not settled yet, in its order.

    Args:
        plan: of the sweep.
        ledger: where its trials stand.
        scheduled: whether the sweep has a scheduler, which may have ended some of them early.
    """
    return [
        planned
        for planned in plan.runnable
        if not ledger.entry(planned.trial.trial_id).settled_for(scheduled=scheduled)
    ]


@contextmanager
def running(study: Study, *, wait: bool, tell: Callable[[str], object]) -> Iterator[None]:
    """Be the one command that runs a sweep; a submitted one waits a little for another.

    Args:
        study: the sweep.
        wait: until another command that runs it ends.
        tell: is told that, and whom, one waits for.

    Raises:
        FolderError: another command runs it, or the folder cannot be written to.
        LockError: its file system has no locks.
    """
    lock = study.lock()
    try:
        if not lock.wait(LOCK_SECONDS):
            held = f"sweep {study.name} is run by another command ({lock.holder()})"
            if not wait and not is_confined():
                raise FolderError(f"{held}; --wait waits until it ends")
            seconds = math.inf if wait else JOB_LOCK_SECONDS
            tell(f"{held}; waiting until it ends")
            if not lock.wait(seconds):
                raise FolderError(f"{held}, after {seconds:.0f} s still")
    except UserError:
        raise
    except OSError as error:
        raise FolderError(f"cannot write to {study.folder}: {error.strerror}") from None
    try:
        for path in (study.plan_path, study.space_path):
            remove_partials(path)
        shutil.rmtree(study.scratch, ignore_errors=True)
        yield
    finally:
        lock.release()


def run_sweep(
    space: Space,
    plan: Plan | None,
    key: str,
    folder: Path,
    *,
    where: Where,
    listener: Listener,
) -> Summary:
    """Run what a sweep misses and deliver it to MLflow; within ``running``.

    Args:
        space: the checked search space.
        plan: its trials; None for a search or populations, which find them.
        key: of the plan; see ``sweep.study.plan_key``.
        folder: the working folder.
        where: the trials run.
        listener: is told what happens.

    Raises:
        NoRoomError: a trial asks for more than the machine has.
        UnwritableError: the disk is full; all is kept that was there before.
        NodeError: a node of the cluster cannot run them.
        RayLostError: Ray died, again and again.
        KeyboardInterrupt: Ctrl-C or SIGTERM; trials that ran are marked, and go on in the next
            run.
        MissingDatasetError: the data set is not here.
    """
    with ExitStack() as stack:
        search = population = None
        if space.scheduler.method == "pbt":
            population = Population(space, Ledger(folder))
            plan = population.plan
        elif plan is None:
            path = search_path(folder, space.general.study)
            search = stack.enter_context(closing(Search(space, path)))
            plan = search.plan()
        stopper = early_stop(space, folder)
        if stopper is not None:
            stack.enter_context(closing(stopper))
        sweep = _Sweep(space, plan, key, folder, listener, search, population, stopper)
        return sweep.run(where)


class _Sweep:
    """One run of a sweep."""

    def __init__(
        self,
        space: Space,
        plan: Plan,
        key: str,
        folder: Path,
        listener: Listener,
        search: Search | None,
        population: Population | None,
        stopper: EarlyStop | None,
    ) -> None:
        self.space, self.plan, self.key = space, plan, key
        self.folder, self.study = folder, Study(folder, plan.study)
        self.search, self.population, self.stopper = search, population, stopper
        self.ledger = Ledger(folder)
        self.uri = tracking_uri(folder, space.tracking.uri)
        record = sweep_record(space, plan)
        self.delivery = Delivery(record, self.ledger, self.uri, listener.undelivered)
        self.relay = _Relay(listener, self.delivery)
        self.agenda: Agenda | None = None
        self.scheduled = space.scheduler.method != "none"
        self.elsewhere = Elsewhere(self.uri, self.ledger)

    def run(self, where: Where) -> Summary:
        with stoppable(self.relay.stopping) as stop:
            try:
                self._prepare()
                ran = self._run_jobs(where, stop)
                answers = self._answers()
                tags = {names.ANSWERS: json.dumps(answers)} if answers else {}
                delivered = self.delivery.close(DELIVERY_SECONDS, tags)
                self._store(complete=delivered)
            except (KeyboardInterrupt, UserError):
                self._interrupted()
                raise
            except OSError as error:
                self._interrupted()
                raise UnwritableError(_unwritable(self.folder, error)) from error
            finally:
                self.elsewhere.close()
        return self._summary(ran, answers, delivered)

    def _prepare(self) -> None:
        """Note what an earlier run left open."""
        ids = [p.trial.trial_id for p in self.plan.runnable]
        for trial_id in self.ledger.settle(ids):
            self.ledger.note(trial_id, "its process died; it goes on from its last checkpoint")
        for planned in self._missing():
            if self.ledger.entry(planned.trial.trial_id).state == "failed":
                self.ledger.retry(planned.trial.trial_id)  # what was lost then may be back
        if self.uri != own_store(self.folder):  # in that all comes from this ledger
            self._adopt()
        if self.population is not None:
            self.population.clear()
        self._store(complete=False)

    def _adopt(self) -> None:
        """Take over what other working folders have finished, if the store says so soon."""
        open_ = self._missing()
        if not open_ and self.search is None:
            return
        self.elsewhere.start([planned.trial.trial_id for planned in open_])
        for planned in open_:
            trial_id = planned.trial.trial_id
            if self.elsewhere.adopt(planned.trial):
                metrics = (self.ledger.result(trial_id) or {}).get("metrics", {})
                self.relay.ended(trial_id, Outcome(metrics))

    def _run_jobs(self, where: Where, stop: StopRequest) -> int:
        """Run what the source wants; return the number of trials that were worked on."""
        source = self._source()
        if source.exhausted:
            self.delivery.start()
            return 0
        with _runner(where, self.study) as runner:
            root = runner.locate(self.space, self.plan)
            rooms = runner.rooms()
            given = share(self.space.resources, rooms)
            if where.address is not None:
                self.relay.notice(allotment(self.space.resources, given, rooms))
                self._warn_of_sqlite()
            packed: Mapping[str, float] = {}
            if self.space.resources.gpus == "auto" and given.gpus:
                trials = [placed(p.trial, root) for p in self._missing()]
                packed = runner.pack(trials, stop, self.relay.notice)
            self.delivery.start()
            self.agenda = agenda = Agenda(
                source,
                self.ledger,
                JobMaker(self.space, self.folder, root, given, self.plan, packed),
                self.relay,
                limit=self._limit(lambda: slots(given, packed.values(), runner.rooms())),
                early_stop=self.stopper,
                scheduled=self.scheduled,
                elsewhere=self.elsewhere,
            )
            try:
                runner.run(agenda, stop)
            finally:
                agenda.release()
        if agenda.unwritable:
            raise OSError(agenda.unwritable)
        if stop() and not agenda.over:
            raise KeyboardInterrupt
        return agenda.handed_out

    def _missing(self) -> list[PlannedTrial]:
        return missing(self.plan, self.ledger, scheduled=self.scheduled)

    def _source(self) -> Source:
        if self.population is not None:
            self.population.found = self._found
            return self.population
        if self.search is not None:
            return Searched(self.search, self.ledger, self._found)
        return self._paired() or Listed(self._missing())

    def _limit(self, room: Callable[[], int]) -> Callable[[], int | None]:
        """Return what tells how many jobs may be out at once.

        A source that learns from results is not asked for more than there is room for.
        """
        most = self.space.resources.max_concurrent
        if self.search is None and self.space.paired is None:
            return lambda: most
        return _Room(room, most or math.inf)

    def _warn_of_sqlite(self) -> None:
        if self.uri == own_store(self.folder):
            self.relay.notice(
                f"MLflow's store is an sqlite file in {self.folder}, which nodes share: databases "
                "on network folders get damaged; a server (tracking.uri, MLFLOW_TRACKING_URI) "
                "does not have that"
            )

    def _found(self, planned: PlannedTrial) -> None:
        """Take in a trial that a search or a population came to."""
        self.relay.planned(planned)  # also one of an earlier run, which goes on now
        if any(known.trial.trial_id == planned.trial.trial_id for known in self.plan.trials):
            return
        self.plan = self.plan.model_copy(update={"trials": (*self.plan.trials, planned)})
        self._store(complete=False)
        self.delivery.add(trial_record(planned))

    def _paired(self) -> Paired | None:
        chosen = self.space.paired
        if chosen is None:
            return None
        metric = TASKS[self.space.general.task].metric(self.plan.metric)
        return Paired(
            self.plan,
            self.ledger,
            metric,
            alpha=chosen.alpha,
            margin=None if chosen.margin is None else chosen.margin * metric.scale,
            min_seeds=chosen.min_seeds,
        )

    def _answers(self) -> list[str]:
        """Return what a paired study found, a sentence for each comparison."""
        paired = self._paired()
        decisions = paired.decisions() if paired else []
        return [f"{name}: {decision.text}" for name, decision in decisions]

    def _interrupted(self) -> None:
        """Mark the trials that ran here, and say so to MLflow if it answers soon."""
        with suppress(OSError):  # no room for a mark; the next run makes it
            for trial_id in self.agenda.running if self.agenda else ():
                if self.ledger.interrupt(trial_id):
                    self.delivery.notify(trial_id)
        self.delivery.close(INTERRUPTED_SECONDS)

    def _store(self, *, complete: bool) -> None:
        document = self.space.document
        self.study.store(
            StoredStudy(
                key=self.key,
                complete=complete,
                kind=self.space.general.kind,
                space=document.text,
                overrides=tuple(document.texts),
                plan=self.plan,
            )
        )

    def _summary(self, ran: int, answers: Sequence[str], delivered: bool) -> Summary:
        trials = [p.trial for p in self.plan.runnable]
        states = [(self.ledger.entry(t.trial_id).state, t.partial) for t in trials]
        return Summary(
            plan=self.plan,
            done=states.count(("done", False)),
            ran=ran,
            adopted=self.elsewhere.adopted,
            stopped=states.count(("stopped", False)),
            segments=states.count(("stopped", True)),
            failures=tuple(self._failures()),
            answers=tuple(answers),
            uneven=uneven_latencies(self.search, self.ledger) if self.search else "",
            undelivered="" if delivered else self.delivery.problem or "it did not answer in time",
            uri=self.uri,
        )

    def _failures(self) -> Iterator[Failure]:
        for planned in self.plan.runnable:
            trial_id = planned.trial.trial_id
            entry = self.ledger.entry(trial_id)
            if entry.state == "planned" and self.space.paired is not None:
                continue  # its comparison needed fewer seeds
            if entry.state not in ("done", "stopped"):
                reason = entry.reason or _unended(entry, self.folder)
                path = self.ledger.failure_path(trial_id)
                yield Failure(trial_id, planned.name, reason, path)


def _unended(entry: Entry, folder: Path) -> str:
    """Return why a trial has no end, of which nobody has said why."""
    if entry.state == "planned":
        return f"it was to run, and nothing of it is in {folder}"
    return "did not run to its end"


def _unwritable(folder: Path, error: OSError) -> str:
    """Return that a file could not be used, mostly of the working folder, and what to do then."""
    kept = "Every trial is kept up to its last whole epoch"
    if not is_within(error, folder):
        return f"{error}. {kept}: once that is mended, the same command goes on"
    told = f"{folder} cannot be written to any more: {error}"
    if not tells_of_full_disk(str(error)):
        return f"{told}. {kept}: once that is mended, the same command goes on"
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"{told}; {free:,.0f} MiB are free there. {kept}: make room, and the same command goes on"
    )


@contextmanager
def _runner(where: Where, study: Study) -> Iterator[Runner]:
    if where.runner == "inline":
        yield InlineRunner()
        return
    from sweep.orchestration.ray_tune import RayRunner

    cluster = RayRunner(study, where.address)
    try:
        yield cluster
    finally:
        cluster.close()


class _Room:
    """How many trials there is room for, which changes as nodes come and go; looked at rarely."""

    def __init__(self, room: Callable[[], int], most: float) -> None:
        self.room, self.most = room, most
        self._looked, self._last = -math.inf, 0

    def __call__(self) -> int:
        if time.monotonic() - self._looked > ROOM_SECONDS:
            self._last = int(min(self.room(), self.most))
            self._looked = time.monotonic()
        return self._last


class _Relay:
    """Tells both the display and the delivery to MLflow what happens."""

    def __init__(self, listener: Listener, delivery: Delivery) -> None:
        self.listener, self.delivery = listener, delivery

    def planned(self, planned: PlannedTrial) -> None:
        self.listener.planned(planned)

    def started(self, trial_id: str) -> None:
        self.listener.started(trial_id)
        self.delivery.notify(trial_id)

    def retrying(self, trial_id: str, reason: str, seconds: float) -> None:
        self.listener.retrying(trial_id, reason, seconds)
        self.delivery.notify(trial_id)

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        self.listener.epoch(trial_id, report)
        self.delivery.notify(trial_id)

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        self.listener.ended(trial_id, outcome)
        self.delivery.notify(trial_id)

    def waiting(self, share: Share) -> None:
        self.listener.waiting(share)

    def undelivered(self, problem: str) -> None:
        self.listener.undelivered(problem)

    def notice(self, text: str) -> None:
        self.listener.notice(text)

    def stopping(self) -> None:
        self.listener.stopping()
