"""Running a sweep: making its ledger complete.

What is done already, by this sweep or another one, is not run again; what failed before is tried
again. Everything is in the working folder when this returns, whatever happened to MLflow.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from sweep import __version__
from sweep.ledger import Ledger, write_text
from sweep.orchestration.attempt import Job, Outcome
from sweep.orchestration.inline import InlineRunner
from sweep.orchestration.resources import Share, share
from sweep.orchestration.runner import Listener, Runner
from sweep.orchestration.stopping import StopRequest, stoppable
from sweep.plan import Plan, PlannedTrial, plan_path, plan_record
from sweep.registry import DATASETS
from sweep.spec.schema import Space
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

    done: int
    """Trials with a result, those of earlier runs included."""
    ran: int
    """Trials that this run worked on."""
    failures: tuple[Failure, ...]
    undelivered: str
    """Why MLflow does not have everything; empty if it has."""
    uri: str


def missing(plan: Plan, ledger: Ledger) -> list[PlannedTrial]:
    """Return the trials of a plan that can exist and have no result yet, in its order."""
    return [p for p in plan.runnable if not ledger.is_done(p.trial.trial_id)]


def run_sweep(
    space: Space,
    plan: Plan,
    key: str,
    folder: Path,
    *,
    runner: Literal["ray", "inline"],
    listener: Listener,
) -> Summary:
    """Run what a sweep misses and deliver it to MLflow.

    Args:
        space: the checked search space.
        plan: its trials.
        key: of the plan; see ``sweep.plan.plan_key``.
        folder: the working folder.
        runner: "ray", or "inline" for this process.
        listener: is told what happens.

    Raises:
        NoRoomError: a trial asks for more than the machine has.
        FolderError: another sweep runs in the folder, or it cannot be written to.
        KeyboardInterrupt: Ctrl-C or SIGTERM; trials that ran are marked, and go on in the next
            run.
        MissingDatasetError: the data set is not here.
    """
    ledger = Ledger(folder)
    uri = tracking_uri(folder, space.tracking.uri)
    delivery = Delivery(_record(space, plan), ledger, uri)
    relay = _Relay(listener, delivery)
    with ledger.held(), stoppable(relay.stopping) as stop:
        todo = missing(plan, ledger)
        try:
            _run_jobs(space, todo, folder, runner, relay, delivery, stop)
            if stop() and missing(plan, ledger):
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            for planned in todo:
                if ledger.interrupt(planned.trial.trial_id):
                    delivery.notify(planned.trial.trial_id)
            delivery.close(INTERRUPTED_SECONDS)
            raise
        delivered = delivery.close(DELIVERY_SECONDS)
    # Only now: a stored plan says that nothing but its trials stands between it and "all done".
    write_text(plan_path(folder, plan.study), plan_record(plan, key))
    return Summary(
        done=sum(ledger.is_done(p.trial.trial_id) for p in plan.runnable),
        ran=len(todo),
        failures=tuple(_failures(todo, ledger)),
        undelivered="" if delivered else delivery.problem or "MLflow did not answer in time",
        uri=uri,
    )


def _run_jobs(
    space: Space,
    todo: Sequence[PlannedTrial],
    folder: Path,
    kind: Literal["ray", "inline"],
    relay: _Relay,
    delivery: Delivery,
    stop: StopRequest,
) -> None:
    if not todo:
        delivery.start()
        return
    root = dataset_root(space)
    with _runner(kind, space.resources.max_concurrent) as runner:
        cpus, gpus = runner.capacity()
        given = share(space.resources, cpus=cpus, gpus=gpus)
        delivery.start()
        runner.run(_jobs(space, todo, root, folder, given), relay, stop)


@contextmanager
def _runner(kind: Literal["ray", "inline"], max_concurrent: int | None) -> Iterator[Runner]:
    if kind == "inline":
        yield InlineRunner()
        return
    from sweep.orchestration.ray_tune import RayRunner

    cluster = RayRunner(max_concurrent)
    try:
        yield cluster
    finally:
        cluster.close()


def _jobs(
    space: Space, todo: Sequence[PlannedTrial], root: str | None, folder: Path, given: Share
) -> list[Job]:
    return [
        Job(
            trial=planned.trial.model_copy(
                update={"dataset_settings": {**planned.trial.dataset_settings, "root": root}}
            ),
            folder=str(folder.absolute()),
            cpus=given.cpus,
            gpus=given.gpus,
            workers=space.resources.workers,
            keep_best=space.general.keep_checkpoints == "best",
        )
        for planned in todo
    ]


def dataset_root(space: Space) -> str | None:
    """Return the folder of the data set, found once here, so that every worker reads the same.

    Raises:
        MissingDatasetError: it is not on this machine.
    """
    found = DATASETS[space.dataset].of(space.dataset_settings).find()
    return str(found.absolute()) if found is not None else None


def _failures(todo: Sequence[PlannedTrial], ledger: Ledger) -> list[Failure]:
    failures = []
    for planned in todo:
        trial_id = planned.trial.trial_id
        entry = ledger.entry(trial_id)
        if entry.state != "done":
            reason = entry.reason or "did not run to its end"
            failures.append(Failure(trial_id, planned.name, reason, ledger.failure_path(trial_id)))
    return failures


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

    def restarted(self, trial_id: str) -> None:
        self.listener.restarted(trial_id)

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        self.listener.epoch(trial_id, report)
        self.delivery.notify(trial_id)

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        self.listener.ended(trial_id, outcome)
        self.delivery.notify(trial_id)

    def stopping(self) -> None:
        self.listener.stopping()
