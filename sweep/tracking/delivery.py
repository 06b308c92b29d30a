"""From the ledger to MLflow: in the background, in batches, and never twice.

Training never waits for MLflow. A thread reads the journals of the trials that it is told about and
sends what is new: the journals are the queue, and what is in memory of it is a set of names. A
metric is sent with the time it was measured at, so that sending it again changes nothing; what
could not be sent is sent by the next sweep over the same trials. Of two sweeps that share a trial
one delivers at a time.

Two working folders that share a store share its runs: a trial has one, which one folder writes. A
folder that has the trial too leaves that run alone while it is finished, or its trial in training;
else it puts its own in the place of it.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.devices import Stretch, to_json
from sweep.durable import read_record, write_record
from sweep.errors import first_line
from sweep.ledger import Ledger, Share
from sweep.lock import Lock
from sweep.spec.trial import Segment, Trial
from sweep.tracking import names
from sweep.tracking.handover import (
    by_age,
    heartbeat,
    is_foreign,
    is_recent,
    is_refusal,
    log_finished,
    may_write,
    owner_tags,
)
from sweep.tracking.pages import experiment_tags, sweep_note, trial_note
from sweep.tracking.records import SweepRecord, TrialRecord
from sweep.tracking.store import experiment_id, find_runs, open_client, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run, RunTag

DIGESTS = ("files", "annotations")
"""Of a data set's content: what tells two folders of a user's own apart."""
POLL_SECONDS = 1.0
BEAT_SECONDS = 60.0
"""Between two times that a run says that its trial is in training."""
RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""How long a store may take nothing before that is told."""
CLOSING_TRIES = 3
"""How often the rest is offered to a store, once nothing more comes."""
DELIVERY_LOCK_SECONDS = 30.0
"""How long one trial of another command's is waited for."""
REASON_LENGTH = 5000
"""Characters of a tag that every MLflow store takes; of a reason, and of what trained a trial."""
BATCH = 1000
"""Metrics that MLflow takes in one request."""


@dataclass
class _Cursor:
    """What a store has of a trial; kept in the trial's folder."""

    uri: str
    """Of the store; kept without its password, which may also change."""
    run_id: str
    epoch: int = 0
    """Of the last journal line that was sent."""
    ended: float = 0.0
    """When the attempt ended whose end was sent; 0 if none was."""
    studies: list[str] = field(default_factory=list)
    """Sweeps that the trial's run says it is a member of."""


class Delivery:
    """Delivers one sweep to one MLflow store.

    Args:
        sweep: the sweep.
        ledger: where its trials are.
        uri: of the store.
        tell: is told, once, of a problem that lasts, and, with "", that it is over; in the thread
            that delivers.
    """

    def __init__(
        self,
        sweep: SweepRecord,
        ledger: Ledger,
        uri: str,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self.sweep, self.ledger, self.uri, self._tell = sweep, ledger, uri, tell
        self.problem = ""
        """Why the last attempt to deliver failed; empty if it did not."""
        self._failing_since = math.inf
        """When the first of the attempts in a row failed (monotonic seconds)."""
        self._told = False
        self.parent_id = ""
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._records = {record.trial.trial_id: record for record in sweep.trials}
        self._order = {trial_id: place for place, trial_id in enumerate(self._records)}
        self._last_tags: dict[str, str] = {}
        self._tagged: set[str] = set()
        self._refused: set[str] = set()
        """Trials of which another account has a run that this one may not write."""
        self._pending: dict[str, None] = {}
        """Trials with news, in the order that they are delivered in."""
        self._beats: dict[str, float] = {}
        """When the runs of the trials in training last said so."""
        self._seen = -BEAT_SECONDS
        """When the parent run last said that a command runs the sweep."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-delivery", daemon=True)

    def start(self) -> None:
        """Start to deliver in the background; first what earlier sweeps left undelivered."""
        self.notify(*(i for i in self._records if self.ledger.entry(i).state != "planned"))
        self._thread.start()

    def add(self, record: TrialRecord) -> None:
        """Add a trial that the sweep came to only now."""
        with self._lock:
            self._order.setdefault(record.trial.trial_id, len(self._records))
            self._records[record.trial.trial_id] = record

    def notify(self, *trial_ids: str) -> None:
        """Say that there is news of trials; returns at once."""
        with self._lock:
            self._pending.update(dict.fromkeys(trial_ids))

    def close(self, timeout: float, tags: Mapping[str, str] | None = None) -> bool:
        """Deliver the rest; return whether all was delivered within ``timeout`` seconds.

        Args:
            timeout: in seconds.
            tags: of the parent run, now that the sweep has ended.

        Nothing was if delivering was never started.
        """
        if self._thread.ident is None:
            return False
        self._last_tags = dict(tags or {})
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        delivered = not self._thread.is_alive() and not self.problem
        self._given_up.set()
        return delivered

    def _run(self) -> None:
        tries = CLOSING_TRIES
        while tries:
            closing = self._closing.is_set()
            tries -= closing
            wait = POLL_SECONDS
            try:
                self._notify_beats()
                self._deliver_pending(closing)
                if self._given_up.is_set():
                    return
                self._note("")
                if closing:
                    return
            except Exception as error:  # a server may fail in any way; training goes on
                if self._given_up.is_set():
                    return
                self._note(f"{type(error).__name__}: {without_password(first_line(error))}")
                wait = RETRY_SECONDS
            (self._given_up if closing else self._wake).wait(wait)

    def _note(self, problem: str) -> None:
        """Keep how an attempt ended, and tell of a problem that lasts, and of its end."""
        self.problem = problem
        now = time.monotonic()
        self._failing_since = min(self._failing_since, now) if problem else math.inf
        lasts = now - self._failing_since >= PATIENCE_SECONDS
        if lasts != self._told:
            self._told = lasts
            if self._tell is not None:
                self._tell(problem)

    def _deliver_pending(self, closing: bool) -> None:
        client = self._open()
        self._beat_sweep(client)
        problem: Exception | None = None
        with self._lock:
            pending = list(self._pending)
        for trial_id in pending:
            if self._given_up.is_set():  # somebody else may deliver by now
                return
            self._beat_sweep(client)
            with self._lock:
                self._pending.pop(trial_id, None)
            try:
                self._deliver_alone(client, self._records[trial_id])
            except Exception as error:
                problem = error
                self.notify(trial_id)
                if is_refusal(error):
                    self._refused.add(trial_id)
                self._runs.pop(trial_id, None)  # it may have been deleted
                client.search_experiments(max_results=1)  # raises if the store is to blame
        if closing:
            self._client = None  # should this fail, the parent run is looked for again
            self._end_parent(client)
        if problem is not None:
            raise problem

    def _notify_beats(self) -> None:
        """Have the runs of trials in training say so again, where the last time is long ago."""
        due = time.monotonic() - BEAT_SECONDS
        self.notify(*(trial_id for trial_id, then in self._beats.items() if then < due))

    # The parent run ------------------------------------------------------------------------

    def _open(self) -> MlflowClient:
        if self._client is not None:
            return self._client
        client = open_client(self.uri)
        client.search_experiments(max_results=1)  # a store that is down takes its time to say so
        if self._given_up.is_set():
            raise TimeoutError("given up")
        self._folder_id = self.ledger.folder_id()
        self._experiment = experiment_id(client, self.sweep.study, self.ledger.folder, self.uri)
        for key, value in experiment_tags(self.sweep, self._experiment).items():
            client.set_experiment_tag(self._experiment, key, value)
        self._runs = self._known_runs(client)
        self.parent_id = self._begin_parent(client)
        self._client = client
        return client

    def _known_runs(self, client: MlflowClient) -> dict[str, Run]:
        """Return the run of every trial that the store knows.

        A request that was answered too late may have made a second run of one of this sweep's.
        """
        runs: dict[str, list[Run]] = {}
        for run in find_runs(client, f"tags.`{names.KIND}` = 'trial'"):
            runs.setdefault(run.data.tags[names.TRIAL_ID], []).append(run)
        own = {i: self._writable(client, i, runs[i]) for i in runs.keys() & self._records.keys()}
        return {
            **{trial_id: found[0] for trial_id, found in runs.items() if trial_id not in own},
            **{trial_id: _only(client, found) for trial_id, found in own.items() if found},
        }

    def _begin_parent(self, client: MlflowClient) -> str:
        found = self._parents(client)
        tags = {
            names.KIND: "sweep",
            names.STUDY: self.sweep.study,
            names.QUESTION: self.sweep.question,
            names.METRIC: self.sweep.metric,
            names.NOTE: sweep_note(self.sweep, self._experiment),
            names.SOURCE: "sweep run",
            names.HEARTBEAT: str(time.time()),
            **self.sweep.tags,
        }
        if found:
            parent_id = str(_only(client, found).info.run_id)
            for key, value in tags.items():
                client.set_tag(parent_id, key, value)
            client.update_run(parent_id, status="RUNNING")  # last: a watch ends without a heartbeat
        else:
            client.create_run(self._experiment, tags=tags, run_name=self.sweep.study)
            parent_id = str(_only(client, self._parents(client)).info.run_id)
        self._seen = time.monotonic()
        for name, text in self.sweep.artifacts.items():
            client.log_text(parent_id, text, name)
        self._leave_removed(client)
        return parent_id

    def _beat_sweep(self, client: MlflowClient) -> None:
        """Say on the parent run that a command runs the sweep, if it was not said just now."""
        now = time.monotonic()
        if now - self._seen < BEAT_SECONDS:
            return
        try:
            client.set_tag(self.parent_id, names.HEARTBEAT, str(time.time()))
        except Exception:
            self._client = None  # it may have been deleted: it is looked for, or made, again
            raise
        self._seen = now

    def _parents(self, client: MlflowClient) -> list[Run]:
        return list(client.search_runs([self._experiment], f"tags.`{names.KIND}` = 'sweep'"))

    def _leave_removed(self, client: MlflowClient) -> None:
        """Mark the runs of trials that this sweep's grid no longer has; they keep their results."""
        tag = names.per_sweep(names.MEMBER, self.sweep.study)
        for trial_id, run in self._runs.items():
            if run.data.tags.get(tag) == "yes" and trial_id not in self._records:
                client.set_tag(run.info.run_id, tag, "no")

    def _end_parent(self, client: MlflowClient) -> None:
        states = [self.ledger.entry(trial_id).state for trial_id in self._records]
        counts = {
            "trials": len(states),
            "trials_done": states.count("done"),
            "trials_failed": states.count("failed"),
        }
        known = client.get_run(self.parent_id).data.metrics
        for name, count in counts.items():
            if known.get(name) != count:  # a step of its own for every change
                client.log_metric(self.parent_id, name, count, step=int(time.time()))
        note = {names.NOTE: sweep_note(self.sweep, self._experiment, states)}
        for key, value in (note | self._last_tags).items():
            client.set_tag(self.parent_id, key, value)
        well = set(states) <= {"done", "stopped", "planned"}  # planned: a study did not need it
        client.set_terminated(self.parent_id, "FINISHED" if well else "FAILED")

    # A trial's run -------------------------------------------------------------------------

    def _deliver_alone(self, client: MlflowClient, record: TrialRecord) -> None:
        """Deliver a trial while no other process does."""
        lock = Lock(self.ledger.trial_folder(record.trial.trial_id) / "delivery")
        if not lock.wait(DELIVERY_LOCK_SECONDS):
            raise TimeoutError(f"another command delivers the trial: {lock.holder()}")
        try:
            self._deliver(client, record)
        finally:
            lock.release()

    def _deliver(self, client: MlflowClient, record: TrialRecord) -> None:
        """Bring a trial's run up to its ledger folder; a second time changes nothing."""
        trial_id = record.trial.trial_id
        if not self.ledger.history(trial_id):  # handed out, and not begun yet
            self.notify(trial_id)
            return
        cursor = read_cursor(self.ledger, trial_id, self.uri)
        run = self._run_of(client, record, cursor)
        run_id = str(run.info.run_id)
        ours = not is_foreign(run, self._folder_id)
        if cursor is None or cursor.run_id != run_id:  # new, or its run was deleted in MLflow
            cursor = _Cursor(self.uri, run_id)
            if ours:
                self._describe(client, run_id, record)
        self._tag_membership(client, record, cursor)
        if ours:
            self._send_epochs(client, trial_id, cursor)
            self._send_end(client, record, cursor)
        elif run.info.status == "FINISHED":
            cursor.ended = self.ledger.entry(trial_id).ended
        write_cursor(self.ledger, trial_id, cursor)

    def _run_of(self, client: MlflowClient, record: TrialRecord, cursor: _Cursor | None) -> Run:
        """Return the run of a trial: made if there is none, or if another folder left it.

        Raises:
            TimeoutError: what this folder has must wait until another one has finished.
        """
        trial_id = record.trial.trial_id
        known = self._runs.get(trial_id)
        if known and cursor and cursor.run_id != known.info.run_id:
            known = None
        if known and cursor and (cursor.ended or not is_foreign(known, self._folder_id)):
            return known
        # It may have been made since this sweep began, by another one.
        found = self._runs_of(client, trial_id)
        known = _only(client, found) if found else None
        tags: dict[str, str] = {}
        if known and self._gives_way(known, trial_id):
            tags = {k: v for k, v in known.data.tags.items() if k.startswith(names.PER_SWEEP)}
            client.delete_run(known.info.run_id)
            known = None
        if known is None:
            self._create(client, record, tags)
            known = _only(client, self._runs_of(client, trial_id))  # another folder may make one
        self._runs[trial_id] = known
        return known

    def _runs_of(self, client: MlflowClient, trial_id: str) -> list[Run]:
        found = list(find_runs(client, f"tags.`{names.TRIAL_ID}` = '{trial_id}'"))
        return self._writable(client, trial_id, found)

    def _writable(self, client: MlflowClient, trial_id: str, found: list[Run]) -> list[Run]:
        """Leave out of a trial's runs those of accounts that do not let this one write them.

        One run alone is taken to be written by all, until that is refused.
        """
        if len(found) == 1 and trial_id not in self._refused:
            return found
        return [r for r in found if not is_foreign(r, self._folder_id) or may_write(client, r)]

    def _gives_way(self, run: Run, trial_id: str) -> bool:
        """Tell whether this folder puts a run of its own in the place of one."""
        if not is_foreign(run, self._folder_id) or run.info.status == "FINISHED":
            return False
        state = self.ledger.entry(trial_id).state
        if not is_recent(heartbeat(run)):
            return state not in ("planned", "interrupted")
        if state == "done":
            host = run.data.tags.get(names.HOST, "another machine")
            raise TimeoutError(f"trial {trial_id} is in training on {host}, and was begun there")
        return False

    def _create(self, client: MlflowClient, record: TrialRecord, tags: dict[str, str]) -> None:
        trial = record.trial
        client.create_run(
            self._experiment,
            run_name=record.name,
            tags={
                **tags,
                **owner_tags(self._folder_id),
                names.KIND: "trial",
                names.TRIAL_ID: trial.trial_id,
                names.ADJUSTED: record.adjusted,
                names.PLUGINS: ", ".join(trial.plugins),
                names.MODULE: record.label,
                **self._membership(record),  # with the others, in one request
                names.NOTE: trial_note(record, "in training"),
                "mlflow.parentRunId": self.parent_id,
            },
            start_time=self._begun(trial.trial_id),
        )

    def _begun(self, trial_id: str) -> int:
        """Return when a trial was first begun, in milliseconds since the epoch."""
        return int(self.ledger.history(trial_id)[0]["time"] * 1000)

    def _describe(self, client: MlflowClient, run_id: str, record: TrialRecord) -> None:
        """Say on a run what its trial is; a second time changes nothing."""
        from mlflow.entities import Metric, Param

        # Costs have no time of their own; with a fixed one they are kept once, however often sent.
        then = self._begun(record.trial.trial_id)
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, then, 0) for key, value in record.costs.items()],
            params=[Param(key, str(value)) for key, value in run_params(record.trial).items()],
        )
        _log_dataset(client, run_id, record.trial)

    def _tag_membership(self, client: MlflowClient, record: TrialRecord, cursor: _Cursor) -> None:
        """Say on a trial's run what it is in this sweep, where that is new or has changed."""
        from mlflow.entities import RunTag

        trial_id, study = record.trial.trial_id, self.sweep.study
        tags = self._membership(record)
        has = self._runs[trial_id].data.tags  # of when this sweep began, or made it
        if trial_id not in self._tagged and any(has.get(k) != v for k, v in tags.items()):
            client.log_batch(cursor.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        self._tagged.add(trial_id)
        if study not in cursor.studies:
            cursor.studies.append(study)

    def _membership(self, record: TrialRecord) -> dict[str, str]:
        """Return the tags that say what a trial is in this sweep."""
        trial = record.trial
        tags = {
            names.MEMBER: "yes",
            names.ORDER: str(self._order[trial.trial_id]),
            names.PLACEMENT: trial.placement,
            names.PRESET: trial.preset or "",
            names.PART: trial.part or "",
        }
        named = {names.per_sweep(key, self.sweep.study): value for key, value in tags.items()}
        return {**named, names.MODEL: record.model}  # of a run of an earlier version it was another

    def _send_epochs(self, client: MlflowClient, trial_id: str, cursor: _Cursor) -> None:
        from mlflow.entities import Metric

        news = [line for line in self.ledger.journal(trial_id) if line.epoch > cursor.epoch]
        metrics = [
            Metric(key, value, line.timestamp, line.epoch)
            for line in news
            for key, value in line.metrics.items()
        ]
        for start in range(0, len(metrics), BATCH):
            client.log_batch(cursor.run_id, metrics=metrics[start : start + BATCH])
        if news:
            cursor.epoch = news[-1].epoch

    def _send_end(self, client: MlflowClient, record: TrialRecord, cursor: _Cursor) -> None:
        from mlflow.entities import Metric, RunTag

        trial_id = record.trial.trial_id
        entry = self.ledger.entry(trial_id)
        if entry.state == "running":
            self._beat(client, trial_id, cursor)
            if cursor.ended:
                client.update_run(cursor.run_id, status="RUNNING")
                client.set_tag(cursor.run_id, names.NOTE, trial_note(record, "in training"))
                cursor.ended = 0.0
            return
        self._beats.pop(trial_id, None)
        if entry.ended == cursor.ended or entry.state == "planned":
            return
        result = self.ledger.result(trial_id) if entry.state == "done" else None
        trained = self.ledger.trained_on(trial_id)
        tags = [
            RunTag(names.STATE, entry.state),
            RunTag(names.REASON, entry.reason[:REASON_LENGTH]),
            RunTag(names.NOTE, trial_note(record, entry.state, entry.reason, trained)),
            *self._where(trial_id, trained),
            RunTag(names.ATTEMPTS, str(entry.attempts)),
            RunTag(names.PROMOTED, ", ".join(map(str, entry.promoted))),
            *(RunTag(names.SHARE + k, str(v)) for k, v in vars(entry.share or Share(0, 0)).items()),
        ]
        metrics = []
        if result is not None:
            numbers = {
                **result["metrics"],
                "best_epoch": result["best_epoch"],
                names.FVCORE_MACS: result["fvcore"]["macs"],
            }
            timestamp = int(entry.ended * 1000)
            # Step 0: MLflow draws bars of what was measured once, and curves of the rest.
            metrics = [Metric(k, v, timestamp, 0) for k, v in numbers.items() if v is not None]
            tags.append(RunTag(names.DEVICE, result["environment"]["device"]))
            tags += [
                RunTag(names.ENVIRONMENT + key, str(value))
                for key, value in result["environment"].items()
            ]
            unsupported = ", ".join(result["fvcore"]["unsupported"])
            tags.append(RunTag("sweep.fvcore_unsupported", unsupported))
        client.log_batch(cursor.run_id, metrics=metrics, tags=tags)
        if entry.state == "failed":
            details = self.ledger.failure_path(trial_id).read_text(encoding="utf-8")
            client.log_text(cursor.run_id, details, "failure.txt")
        best = sorted(self.ledger.checkpoint_folder(trial_id).glob("best-*.pt"))
        if result is not None and best:
            client.log_artifact(cursor.run_id, str(best[-1]), names.CHECKPOINTS)
        if result is not None:
            log_finished(client, cursor.run_id, self.ledger, trial_id)
        client.set_terminated(
            cursor.run_id,
            {"done": "FINISHED", "failed": "FAILED"}.get(entry.state, "KILLED"),
            end_time=int(entry.ended * 1000),
        )
        cursor.ended = entry.ended

    def _where(self, trial_id: str, trained: tuple[Stretch, ...]) -> list[RunTag]:
        """Return the tags that say on what a trial was trained, as far as that was recorded."""
        from mlflow.entities import RunTag

        nodes = ", ".join(self.ledger.nodes(trial_id))
        tags = {
            names.DEVICES: to_json(trained, REASON_LENGTH) if trained else "",
            names.NODES: nodes[:REASON_LENGTH],
        }
        return [RunTag(key, value) for key, value in tags.items() if value]

    def _beat(self, client: MlflowClient, trial_id: str, cursor: _Cursor) -> None:
        """Say on a trial's run that it is in training, if it is, and it was not said just now."""
        now = time.monotonic()
        if now - self._beats.setdefault(trial_id, -BEAT_SECONDS) >= BEAT_SECONDS:
            self._beats[trial_id] = now
            if self.ledger.trained_by(trial_id):
                client.set_tag(cursor.run_id, names.HEARTBEAT, str(time.time()))


def note_adopted(ledger: Ledger, trial_id: str, uri: str, run_id: str) -> None:
    """Note that a store has all of a trial: it comes from there."""
    entry, journal = ledger.entry(trial_id), ledger.journal(trial_id)
    last = journal[-1].epoch if journal else 0
    write_cursor(ledger, trial_id, _Cursor(uri, run_id, epoch=last, ended=entry.ended))


def _only(client: MlflowClient, runs: list[Run]) -> Run:
    """Return the run of several that stands; delete the others."""
    standing, *others = by_age(runs)
    for run in others:
        client.delete_run(run.info.run_id)
    return standing


def is_delivered(ledger: Ledger, trial_id: str, uri: str, study: str) -> bool:
    """Tell whether a trial has ended well and a store has all of it, as a member of a sweep."""
    cursor = read_cursor(ledger, trial_id, uri)
    entry = ledger.entry(trial_id)
    return (
        entry.state in ("done", "stopped")
        and cursor is not None
        and study in cursor.studies
        and cursor.ended == entry.ended
    )


def delivered_for(ledger: Ledger, trial_id: str) -> list[str]:
    """Return the sweeps that a trial was delivered for."""
    record = read_record(_cursor_path(ledger, trial_id))
    return list(record["studies"]) if record else []


def read_cursor(ledger: Ledger, trial_id: str, uri: str) -> _Cursor | None:
    """Return what a store has of a trial, or None if it has nothing."""
    record = read_record(_cursor_path(ledger, trial_id))
    if record is None or without_password(record["uri"]) != without_password(uri):
        return None
    return _Cursor(**record)


def write_cursor(ledger: Ledger, trial_id: str, cursor: _Cursor) -> None:
    """Keep what a store has of a trial."""
    record = asdict(cursor) | {"uri": without_password(cursor.uri)}
    write_record(_cursor_path(ledger, trial_id), record)


def run_params(trial: Trial) -> dict[str, Any]:
    """Return the parameters of a trial's run: what a person compares runs by, flat."""
    return {
        "task": trial.task,
        "dataset": trial.dataset,
        **{f"dataset.{k}": v for k, v in trial.dataset_settings.items() if k != "root"},
        **{f"dataset.{k}": str(v)[:12] for k, v in trial.dataset_content.items() if k in DIGESTS},
        "backbone": trial.backbone.name,
        "stem": trial.backbone.stem,
        "weights": trial.backbone.weights or "none",
        "sites": names.sites_param(trial.sites),
        "attention": trial.attention,
        **{names.HYPERPARAMETER + k: v for k, v in trial.hyperparameters.items()},
        **{f"recipe.{k}": v for k, v in trial.recipe.model_dump(mode="json").items()},
        "patience": trial.patience or "none",
        "metric": trial.metric,
        "seed": trial.seed,
        **_segment_params(trial.segment),
    }


def _segment_params(segment: Segment | None) -> dict[str, Any]:
    if segment is None:
        return {}
    return {names.UNTIL: segment.until, names.PARENT: segment.parent or "none"}


def _log_dataset(client: MlflowClient, run_id: str, trial: Trial) -> None:
    from mlflow.entities import Dataset, DatasetInput

    content = json.dumps(trial.dataset_content, sort_keys=True)
    dataset = Dataset(
        name=trial.dataset,
        digest=str(trial.dataset_content.get("files", trial.dataset))[:36],
        source_type="sweep",
        source=content,
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset)])


def _cursor_path(ledger: Ledger, trial_id: str) -> Path:
    return ledger.trial_folder(trial_id) / "mlflow.json"
