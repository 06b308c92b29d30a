"""Removing a sweep: first its runs in MLflow, then its trials, last what says that it was there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack

from sweep.ledger import Ledger
from sweep.study import FolderError, StoredStudy, Study, studies
from sweep.tracking.delivery import delivered_for
from sweep.tracking.removal import remove_runs


def own_trials(study: Study, stored: StoredStudy) -> list[str]:
    """Return the trials of a sweep that no other one has, those that left its grid included.

    Raises:
        FolderError: the plan of another one cannot be read.
    """
    ledger = Ledger(study.folder)
    taken: set[str] = set()
    for name in studies(study.folder):
        other = Study(study.folder, name).stored()
        if other is None:
            raise FolderError(f"the plan of {name} cannot be read, so what it shares is not known")
        taken |= {p.trial.trial_id for p in other.plan.trials if name != study.name}
    planned = {p.trial.trial_id for p in stored.plan.trials}
    return [
        trial_id
        for trial_id in ledger.trial_ids()
        if trial_id not in taken
        and (trial_id in planned or delivered_for(ledger, trial_id) == [study.name])
    ]


def remove_study(study: Study, stored: StoredStudy, own: Sequence[str]) -> None:
    """Remove a sweep and the trials that are its own.

    Raises:
        FolderError: a command runs it, or one of its trials.
        UserError: MLflow does not answer; nothing was removed then.
    """
    ledger = Ledger(study.folder)
    with ExitStack() as stack:
        for lock in (study.lock(), *map(ledger.claim, own), *map(ledger.training, own)):
            if not lock.take():
                raise FolderError(f"{study.name} cannot be removed now: {lock.holder()} runs it")
            stack.callback(lock.release)
        remove_runs(study.store_uri(stored), study.name, own, ledger.folder_id())
        for trial_id in own:
            ledger.remove(trial_id)
        shutil.rmtree(study.path)
