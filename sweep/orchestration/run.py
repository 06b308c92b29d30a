"""Running a sweep: making its ledger complete.

What is settled already, by this sweep or another one, is not run again. Everything is in the
working folder when this returns, whatever happened to MLflow.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from sweep import __version__
from sweep.errors import UserError
from sweep.ledger import Ledger, Share
from sweep.orchestration.agenda import Agenda, Listed, Source
from sweep.orchestration.attempt import Job, Outcome
from sweep.orchestration.inline import InlineRunner
from sweep.orchestration.lengthen import beginnings
from sweep.orchestration.paired import Paired
from sweep.orchestration.resources import share
from sweep.orchestration.runner import Listener, Runner
from sweep.orchestration.stopping import StopRequest, stoppable
from sweep.plan import Plan, PlannedTrial
from sweep.registry import DATASETS, TASKS
from sweep.spec.schema import Space
from sweep.study import FolderError, StoredStudy, Study
from sweep.tracking import names
from sweep.tracking.delivery import Delivery, SweepRecord, TrialRecord
from sweep.tracking.store import tracking_uri
from sweep.training.loop import EpochReport

TAG_LENGTH = 7500
"""Characters that every MLflow store takes in a tag."""
DELIVERY_SECONDS = 120.0
"""How long a finished sweep waits for MLflow to take what is left."""
INTERRUPTED_SECONDS = 10.0
"""How long an interrupted one does."""
LOCK_SECONDS = 0.5
"""How long another command may look at the sweep before it counts as running it."""


class UnwritableError(UserError, OSError):
    """The working folder cannot be written to any more; mostly its disk is full."""


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
    stopped: int
    """Trials that a scheduler ended early."""
    failures: tuple[Failure, ...]
    answers: tuple[str, ...]
    """Of a paired study, a sentence for each comparison."""
    undelivered: str
    """Why MLflow does not have everything; empty if it has."""
    uri: str


def missing(plan: Plan, ledger: Ledger) -> list[PlannedTrial]:
    """Return the trials of a plan that can exist and are not settled yet, in its order."""
    return [p for p in plan.runnable if not ledger.entry(p.trial.trial_id).settled]


@contextmanager
def running(study: Study, *, wait: bool, tell: Callable[[str], object]) -> Iterator[None]:
    """Be the one command that runs a sweep.

    Args:
        study: the sweep.
        wait: until another command that runs it ends.
        tell: is told that, and whom, one waits for.

    Raises:
        FolderError: another command runs it, or the folder cannot be written to.
    """
    lock = study.lock()
    try:
        if not lock.wait(LOCK_SECONDS):
            held = f"sweep {study.name} is run by another command ({lock.holder()})"
            if not wait:
                raise FolderError(f"{held}; --wait waits until it ends")
            tell(f"{held}; waiting until it ends")
            lock.wait(math.inf)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"cannot write to {study.folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def run_sweep(
    space: Space,
    plan: Plan,
    key: str,
    folder: Path,
    *,
    runner: Literal["ray", "inline"],
    listener: Listener,
) -> Summary:
    """Run what a sweep misses and deliver it to MLflow; within ``running``.

    Args:
        space: the checked search space.
        plan: its trials.
        key: of the plan; see ``sweep.study.plan_key``.
        folder: the working folder.
        runner: "ray", or "inline" for this process.
        listener: is told what happens.

    Raises:
        NoRoomError: a trial asks for more than the machine has.
        UnwritableError: the disk is full; all is kept that was there before.
        RayLostError: Ray died, again and again.
        KeyboardInterrupt: Ctrl-C or SIGTERM; trials that ran are marked, and go on in the next
            run.
        MissingDatasetError: the data set is not here.
    """
    return _Sweep(space, plan, key, folder, listener).run(runner)


class _Sweep:
    """One run of a sweep."""

    def __init__(
        self, space: Space, plan: Plan, key: str, folder: Path, listener: Listener
    ) -> None:
        self.space, self.plan, self.key = space, plan, key
        self.folder, self.study = folder, Study(folder, plan.study)
        self.ledger = Ledger(folder)
        self.uri = tracking_uri(folder, space.tracking.uri)
        self.delivery = Delivery(_record(space, plan), self.ledger, self.uri)
        self.relay = _Relay(listener, self.delivery)
        self.todo: list[PlannedTrial] = []

    def run(self, kind: Literal["ray", "inline"]) -> Summary:
        with stoppable(self.relay.stopping) as stop:
            try:
                self._prepare()
                self._run_jobs(kind, stop)
            except KeyboardInterrupt:
                self._interrupted()
                raise
            except UserError:
                self._interrupted()
                raise
            answers = self._answers()
            tags = {names.ANSWERS: json.dumps(answers)} if answers else {}
            delivered = self.delivery.close(DELIVERY_SECONDS, tags)
        self._store(complete=True)
        return self._summary(delivered, answers)

    def _prepare(self) -> None:
        """Note what an earlier run left open, and what this one is to do."""
        ids = [p.trial.trial_id for p in self.plan.runnable]
        for trial_id in self.ledger.settle(ids):
            self.ledger.note(trial_id, "its process died; it goes on from its last checkpoint")
        self.todo = missing(self.plan, self.ledger)
        for planned in self.todo:
            if self.ledger.entry(planned.trial.trial_id).state == "failed":
                self.ledger.retry(planned.trial.trial_id)  # what was lost then may be back
        self._store(complete=False)

    def _run_jobs(self, kind: Literal["ray", "inline"], stop: StopRequest) -> None:
        if not self.todo:
            self.delivery.start()
            return
        root = dataset_root(self.space)
        with _runner(kind, self.folder) as runner:
            cpus, gpus = runner.capacity()
            given = share(self.space.resources, cpus=cpus, gpus=gpus)
            self.delivery.start()
            agenda = Agenda(
                self._source(),
                self.ledger,
                _JobMaker(self.space, self.folder, root, given, self.todo),
                self.relay,
                limit=self.space.resources.max_concurrent,
            )
            try:
                runner.run(agenda, stop)
            finally:
                agenda.release()
        if agenda.unwritable:
            raise UnwritableError(_no_room(self.folder, agenda.unwritable))
        if stop() and not agenda.over:
            raise KeyboardInterrupt

    def _source(self) -> Source:
        return self._paired() or Listed(self.todo)

    def _paired(self) -> Paired | None:
        chosen = self.space.paired
        if chosen is None:
            return None
        task = TASKS[self.space.general.task]
        metric = next(m for m in task.metrics if m.name == self.plan.metric)
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
        decisions = paired.decisions() if paired else {}
        return [f"{name}: {decision.text}" for name, decision in decisions.items()]

    def _interrupted(self) -> None:
        """Mark the trials that ran, and say so to MLflow if it answers soon."""
        for planned in self.todo:
            try:
                if self.ledger.interrupt(planned.trial.trial_id):
                    self.delivery.notify(planned.trial.trial_id)
            except OSError:
                break  # no room for a mark; the next run makes it
        self.delivery.close(INTERRUPTED_SECONDS)

    def _store(self, *, complete: bool) -> None:
        document = self.space.document
        self.study.store(
            StoredStudy(
                key=self.key,
                complete=complete,
                space=Path(document.path).read_text(encoding="utf-8"),
                overrides=tuple(document.texts),
                plan=self.plan,
            )
        )

    def _summary(self, delivered: bool, answers: Sequence[str]) -> Summary:
        states = [self.ledger.entry(p.trial.trial_id).state for p in self.plan.runnable]
        return Summary(
            plan=self.plan,
            done=states.count("done"),
            ran=len(self.todo),
            stopped=states.count("stopped"),
            failures=tuple(self._failures()),
            answers=tuple(answers),
            undelivered="" if delivered else self.delivery.problem or "it did not answer in time",
            uri=self.uri,
        )

    def _failures(self) -> Iterator[Failure]:
        for planned in self.plan.runnable:
            trial_id = planned.trial.trial_id
            entry = self.ledger.entry(trial_id)
            if entry.state not in ("done", "stopped", "planned"):  # planned: was not needed
                reason = entry.reason or "did not run to its end"
                path = self.ledger.failure_path(trial_id)
                yield Failure(trial_id, planned.name, reason, path)


class _JobMaker:
    """Makes jobs of the trials of one sweep."""

    def __init__(
        self,
        space: Space,
        folder: Path,
        root: str | None,
        given: Share,
        todo: Sequence[PlannedTrial],
    ) -> None:
        self.space, self.folder, self.root, self.given = space, folder, root, given
        self.beginnings = beginnings(todo, Ledger(folder))

    def __call__(self, planned: PlannedTrial, larger: Share | None) -> Job:
        trial = planned.trial
        settings = {**trial.dataset_settings, "root": self.root}
        beginning = self.beginnings.get(trial.trial_id)
        return Job(
            trial=trial.model_copy(update={"dataset_settings": settings}),
            folder=str(self.folder.absolute()),
            share=larger or self.given,
            workers=self.space.resources.workers,
            keep=self.space.general.keep_checkpoints,
            continues=beginning.trial_id if beginning and not beginning.obstacle else None,
        )


def _no_room(folder: Path, error: str) -> str:
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"{folder} cannot be written to any more: {error}; {free:,.0f} MiB are free there. Every "
        "trial is kept up to its last whole epoch: make room, and the same command goes on"
    )


@contextmanager
def _runner(kind: Literal["ray", "inline"], folder: Path) -> Iterator[Runner]:
    if kind == "inline":
        yield InlineRunner()
        return
    from sweep.orchestration.ray_tune import RayRunner

    cluster = RayRunner(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def dataset_root(space: Space) -> str | None:
    """Return the folder of the data set, found once here, so that every worker reads the same.

    Raises:
        MissingDatasetError: it is not on this machine.
    """
    found = DATASETS[space.dataset].of(space.dataset_settings).find()
    return str(found.absolute()) if found is not None else None


def _record(space: Space, plan: Plan) -> SweepRecord:
    refused = dict.fromkeys((p.label, p.trial.backbone.name, p.reason) for p in plan.refused)
    return SweepRecord(
        study=plan.study,
        question=plan.question,
        metric=plan.metric,
        tags={names.REFUSED: _short_list(list(refused)), **_versions()},
        artifacts={
            "search_space.yaml": _source(space),
            "resolved.json": _json(space.document.data),
            "plan.json": plan.model_dump_json(indent=1),
            "environment.json": _json(_environment()),
        },
        trials=tuple(
            TrialRecord(
                p.trial,
                p.name,
                p.cost.model_dump() if p.cost else {},
                p.reason if p.status == "adjusted" else "",
            )
            for p in plan.runnable
        ),
    )


def _short_list(items: list[tuple[str, str, str]]) -> str:
    """Return the number of items and the first ones, as many as a tag of MLflow has room for."""
    count = len(items)
    while len(text := json.dumps({"count": count, "items": items})) > TAG_LENGTH:
        items = items[: len(items) // 2]
    return text


def _environment() -> dict[str, Any]:
    """Return the versions that a result may depend on, as the machine of the command has them."""
    packages = ("torch", "torchvision", "ray", "mlflow", "numpy", "scikit-learn", "pillow")
    return {
        **_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def _versions() -> dict[str, str]:
    """Return the versions of this package and of the code it runs from."""
    versions = {names.VERSION: __version__}
    root = Path(__file__).parents[2]
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")) == root:  # and no other repository
            versions[names.COMMIT] = _git(root, "rev-parse", "HEAD")
            versions["sweep.dirty"] = str(bool(_git(root, "status", "--porcelain", "-uno")))
    except (OSError, subprocess.SubprocessError):
        pass  # installed without its repository
    return versions


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _source(space: Space) -> str:
    return Path(space.document.path).read_text(encoding="utf-8")


def _json(value: object) -> str:
    return json.dumps(value, indent=1, default=str)


class _Relay:
    """Tells both the display and the delivery to MLflow what happens."""

    def __init__(self, listener: Listener, delivery: Delivery) -> None:
        self.listener, self.delivery = listener, delivery

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

    def stopping(self) -> None:
        self.listener.stopping()
