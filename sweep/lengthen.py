"""More epochs of a trial: going on where the one of fewer epochs ended.

That gives what training from the start would give where the learning rate of an epoch does not
depend on how many come after it ("constant", "step"), and where the last state of the shorter trial
is still there (``keep_checkpoints: last``, or it has not ended).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sweep.ledger import Ledger
from sweep.plan import PlannedTrial
from sweep.spec.trial import Trial
from sweep.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Beginning:
    """A trial of fewer epochs and otherwise the same."""

    trial_id: str
    epochs: int
    """That it was trained for."""
    obstacle: str
    """Why its epochs cannot be gone on from; empty if they can."""


def beginnings(trials: Iterable[PlannedTrial], ledger: Ledger) -> dict[str, Beginning]:
    """Return of each trial that has no epoch yet the longest that is its beginning, if any is."""
    new = [p.trial for p in trials if not ledger.journal(p.trial.trial_id)]
    if not new:
        return {}
    known: dict[str, list[Trial]] = {}
    for trial_id in ledger.trial_ids():
        if trial := ledger.trial(trial_id):
            known.setdefault(trial.lineage, []).append(trial)
    found = {}
    for trial in new:
        shorter = [
            _beginning(other, ledger)
            for other in known.get(trial.lineage, ())
            if other.recipe.epochs < trial.recipe.epochs
        ]
        trained = [beginning for beginning in shorter if beginning.epochs]
        if trained:
            found[trial.trial_id] = max(trained, key=lambda b: (not b.obstacle, b.epochs))
    return found


def _beginning(trial: Trial, ledger: Ledger) -> Beginning:
    trial_id = trial.trial_id
    obstacle = ""
    if not trial.recipe.open_ended:
        obstacle = f"with schedule {trial.recipe.schedule!r} every epoch depends on their number"
    elif not Checkpoints(ledger.checkpoint_folder(trial_id)).exists():
        obstacle = "its last state was not kept (keep_checkpoints: last keeps it)"
    return Beginning(trial_id, len(ledger.journal(trial_id)), obstacle)
