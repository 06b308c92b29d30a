"""Where the trials of a sweep stand, what its next run would do, and having it do more."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweep import devices
from sweep.devices import Stretch
from sweep.errors import UserError
from sweep.ledger import Entry, Ledger, Share, node_of
from sweep.plan import Plan, PlannedTrial
from sweep.registry import nearest
from sweep.spec.trial import Trial
from sweep.study import StoredStudy

if TYPE_CHECKING:
    from sweep.lengthen import Beginning

OF_EVERY_LINE = ("event", "time", "epochs", "share", "host", "address", "device", "attempt")
"""Of an event: what a line of the history says in words of its own."""

Step = Literal["new", "goes on", "tried again", "running", "done", "stopped", "failed", "left out"]
"""What the next run does with a trial: trains it; goes on after its last epoch, or that of a trial
of fewer epochs; tries it again after a passing failure; nothing, for four reasons; nothing,
because the grid has it no more."""


@dataclass(frozen=True)
class Standing:
    """Where one trial stands."""

    trial_id: str
    name: str
    state: str
    """Of the ledger; a "running" one whose process died is "interrupted", a "planned" one of a
    study that has its answers is "not needed"."""
    attempts: int
    epoch: int
    """The last one that was measured."""
    epochs: int
    reason: str
    """Why it failed, was stopped, or has more of the machine than the space says."""
    log: Path | None
    """What happened to it that is no measurement; None if nothing did."""
    trained: tuple[Stretch, ...]
    """Which devices trained which of its epochs; empty where that was not recorded."""
    nodes: tuple[str, ...]
    """That it was begun on, in the order of its attempts."""


@dataclass(frozen=True)
class Change:
    """What the next run of a space does with one trial."""

    planned: PlannedTrial
    step: Step
    epoch: int
    """The last one that was measured."""
    reason: str


def standings(study: StoredStudy, ledger: Ledger) -> list[Standing]:
    """Return where every trial of a sweep stands, in the order of its plan."""
    trials = [_standing(planned, ledger) for planned in study.plan.runnable]
    if not study.complete or study.kind != "paired":
        return trials
    return [replace(t, state="not needed") if t.state == "planned" else t for t in trials]


def changes(
    plan: Plan, before: Plan | None, ledger: Ledger, shorter: Mapping[str, Beginning]
) -> list[Change]:
    """Return what a run does with the trials of a plan, and of the one before it.

    Args:
        plan: what the sweep is now.
        before: what it was at the last run, if there was one.
        ledger: where its trials stand.
        shorter: of trials that were not begun, those of fewer epochs; see ``beginnings``.
    """
    found = [_change(p, ledger, shorter.get(p.trial.trial_id)) for p in plan.runnable]
    kept = {planned.trial.trial_id for planned in plan.runnable}
    for planned in before.runnable if before else ():
        if planned.trial.trial_id not in kept:
            state = ledger.entry(planned.trial.trial_id).state
            found.append(Change(planned, "left out", 0, f"{state}; what there is of it stays"))
    return found


def is_trial_id(text: str) -> bool:
    """Tell whether a text can be the id of a trial, or its beginning."""
    return re.fullmatch("[0-9a-f]{1,64}", text) is not None


def only_trial(ledger: Ledger, start: str) -> str:
    """Return the one trial whose id starts so.

    Raises:
        UserError: there is none, or more than one.
    """
    known = ledger.trial_ids()
    found = [trial_id for trial_id in known if trial_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{len(found)} trials start with {start!r}: {', '.join(found[:5])}")
    guess = nearest(start, known)
    hint = f"; did you mean {guess}?" if guess else "; `sweep status` lists those of a sweep"
    raise UserError(f"no trial {start!r} in {ledger.folder}{hint}")


def put_back(plan: Plan, ledger: Ledger, *, failed_only: bool) -> list[PlannedTrial]:
    """Put trials without a full result back among those that are to run; return them.

    Those that failed, and unless ``failed_only`` those that a scheduler stopped: these then train
    to their end, but for the segments of a population. No other command may run the sweep.
    """

    def is_wanted(trial: Trial) -> bool:
        state = ledger.entry(trial.trial_id).state
        return state == "failed" or (state, failed_only, trial.partial) == ("stopped", False, False)

    found = [p for p in plan.runnable if is_wanted(p.trial)]
    for planned in found:
        ledger.retry(planned.trial.trial_id)
    return found


def told(trial_id: str, ledger: Ledger) -> list[str]:
    """Return the history of a trial, and what trained it, as lines of text."""
    trained = ledger.trained_on(trial_id)
    lines = [_line(event) for event in ledger.history(trial_id)]
    return [*lines, f"trained on {devices.told(trained)}"] if trained else lines


def _standing(planned: PlannedTrial, ledger: Ledger) -> Standing:
    trial = planned.trial
    entry = ledger.entry(trial.trial_id)
    logs = (ledger.log_path(trial.trial_id), ledger.failure_path(trial.trial_id))
    return Standing(
        trial_id=trial.trial_id,
        name=planned.name,
        state=_state(entry, trial.trial_id, ledger),
        attempts=entry.attempts,
        epoch=_last_epoch(trial.trial_id, ledger),
        epochs=trial.until,
        reason=entry.reason or _enlarged(entry),
        log=next((log for log in logs if log.exists()), None),
        trained=ledger.trained_on(trial.trial_id),
        nodes=ledger.nodes(trial.trial_id),
    )


def _state(entry: Entry, trial_id: str, ledger: Ledger) -> str:
    if entry.state == "running" and ledger.training(trial_id).is_free():
        return "interrupted"
    if entry.state == "failed" and not entry.settled:
        return "to be retried"
    return entry.state


def _enlarged(entry: Entry) -> str:
    if entry.larger is None:
        return ""
    return f"did not fit in less than {_shared(entry.larger)}"


def _shared(share: Share) -> str:
    pieces = f", batches in {share.accumulate} pieces" * (share.accumulate > 1)
    return f"{share.cpus} CPU, {share.gpus:g} GPU{pieces}"


def _change(planned: PlannedTrial, ledger: Ledger, shorter: Beginning | None) -> Change:
    trial_id = planned.trial.trial_id
    entry = ledger.entry(trial_id)
    epoch = _last_epoch(trial_id, ledger)
    if entry.state == "failed":
        step: Step = "failed" if entry.settled else "tried again"
    elif entry.state == "done" or entry.state == "stopped":
        step = entry.state
    elif ledger.trained_by(trial_id) is not None:
        step = "running"
    elif shorter is not None and not epoch:
        return _lengthened(planned, shorter)
    else:
        step = "goes on" if epoch else "new"
    return Change(planned, step, epoch, entry.reason)


def _lengthened(planned: PlannedTrial, shorter: Beginning) -> Change:
    origin = f"epoch {shorter.epochs} of trial {shorter.trial_id}"
    if shorter.obstacle:
        return Change(planned, "new", 0, f"not from {origin}: {shorter.obstacle}")
    return Change(planned, "goes on", shorter.epochs, f"from {origin}")


def _last_epoch(trial_id: str, ledger: Ledger) -> int:
    return max((line.epoch for line in ledger.journal(trial_id)), default=0)


def _line(event: dict[str, Any]) -> str:
    then = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    more = [f"{key} {value}" for key, value in event.items() if key not in OF_EVERY_LINE]
    if node := node_of(event):
        more.insert(0, f"on {event.get('device', 'a device')} of {node}")
    if "share" in event:
        more.insert(0, _shared(Share(**event["share"])))
    head = f"{then} {event['event']} after epoch {event['epochs']}"
    return ": ".join([head, ", ".join(more)] if more else [head])
