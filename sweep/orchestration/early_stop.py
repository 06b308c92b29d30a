"""Early stopping: which trials end before their last epoch because comparable ones are better.

The rules are Optuna's: asynchronous successive halving (Li et al., arXiv 1810.05934) and the median
rule (Golovin et al., Vizier, 2017). This file says what is comparable, and remembers: everything
is in the storage of the sweep, a decision is made once, and is the same when a trial that was
killed goes through its epochs again.

Compared are trials of one backbone on the same data with the same recipe; where the recipe itself
is searched, with the same number of epochs. A stopped trial was not trained to its end: it is no
row of a table.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweep.orchestration.search import close_storage, open_storage, search_path
from sweep.registry import TASKS
from sweep.spec.axes import searches_recipes
from sweep.spec.schema import SchedulerSettings, Space
from sweep.spec.trial import Trial

TRIAL, JUDGEMENT = "trial_id", "judgement"
"""What is kept with a trial of Optuna: whose it is; the last epoch that was judged, and why it was
stopped then ("" if it was not)."""


class EarlyStop:
    """The scheduler of one sweep.

    Args:
        space: a checked space with a scheduler.
        path: the storage, shared with ``Search``; None to keep nothing.
        mode: of the metric that is compared.
    """

    def __init__(self, space: Space, path: Path | None, mode: Literal["max", "min"]) -> None:
        self.settings = space.scheduler
        self.recipes_differ = searches_recipes(space.document)
        self.direction: Literal["maximize", "minimize"] = (
            "maximize" if mode == "max" else "minimize"
        )
        self.storage = open_storage(path)
        self.studies: dict[str, optuna.Study] = {}
        self.numbers: dict[str, int] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def reached(self, trial: Trial, epoch: int, value: float) -> str:
        """Judge a trial after an epoch.

        Args:
            trial: of the sweep; every epoch of it is to be told, in order.
            epoch: from 1.
            value: of the validation metric then.

        Returns:
            "" to go on, else why it stops, in words. The baseline goes on to its end: it is what
            the others are compared with, unless trials differ by how they are trained.
        """
        study = self._study(trial)
        known = self._known(study, trial)
        judged, reason = _judgement(known)
        if reason:
            reason = reason if epoch >= judged else ""
        elif epoch > judged:
            reason = self._judged(study, known, trial, epoch, value)
        if known.state == TrialState.RUNNING:
            if reason:
                study.tell(known.number, state=TrialState.PRUNED)
            elif epoch >= trial.recipe.epochs:  # the median rule looks at those that are done
                failed = TrialState.FAIL if math.isnan(value) else None
                study.tell(known.number, None if failed else value, state=failed)
        return reason

    def rungs(self, trial: Trial) -> list[int]:
        """Return the epochs after which successive halving let a trial go on."""
        known = self._known(self._study(trial), trial)
        judged, reason = _judgement(known)
        last = min(judged - 1 if reason else judged, trial.recipe.epochs - 1)
        epoch, rungs = self.settings.min_epochs, []
        while self.settings.method == "asha" and epoch <= last:
            rungs.append(epoch)
            epoch *= self.settings.reduction_factor
        return rungs

    def close(self) -> None:
        """Let go of the storage."""
        close_storage(self.storage)

    def _judged(
        self, study: optuna.Study, known: FrozenTrial, trial: Trial, epoch: int, value: float
    ) -> str:
        """Decide whether a trial stops, and note it before anything else can be decided."""
        running = optuna.Trial(study, known._trial_id)
        if epoch not in known.intermediate_values:
            running.report(value, epoch)
        worse = epoch < trial.recipe.epochs and running.should_prune()
        reason = self._reason(study, epoch, value) if worse and not self._spared(trial) else ""
        running.set_user_attr(JUDGEMENT, [epoch, reason])
        return reason

    def _spared(self, trial: Trial) -> bool:
        return trial.attention == "none" and not self.recipes_differ

    def _reason(self, study: optuna.Study, epoch: int, value: float) -> str:
        trials = study.get_trials(deepcopy=False)
        if self.settings.method == "asha":
            here = sum(epoch in trial.intermediate_values for trial in trials)
            best = max(1, here // self.settings.reduction_factor)
            return f"asha: {value:.4g} after epoch {epoch} is not among the best {best} of {here}"
        done = sum(trial.state == TrialState.COMPLETE for trial in trials)
        return f"median: {value:.4g} after epoch {epoch} is worse than half of {done} done trials"

    def _study(self, trial: Trial) -> optuna.Study:
        """Return the study of all trials that this one is compared with."""
        name = f"early_stop/{self._group(trial)}"
        if name not in self.studies:
            self.studies[name] = optuna.create_study(
                storage=self.storage,
                study_name=name,
                direction=self.direction,
                pruner=_pruner(self.settings),
                load_if_exists=True,
            )
            self.numbers |= {
                known.user_attrs[TRIAL]: known.number
                for known in self.studies[name].get_trials(deepcopy=False)
                if TRIAL in known.user_attrs
            }
        return self.studies[name]

    def _group(self, trial: Trial) -> str:
        """Return a digest of what trials must have in common."""
        shared = {"task", "dataset", "dataset_content", "num_classes", "backbone", "metric"}
        recipe = trial.recipe.model_dump(mode="json")
        content = {
            "trial": trial.model_dump(mode="json", include={*shared, "patience"}),
            "recipe": recipe["epochs"] if self.recipes_differ else recipe,
            "scheduler": self.settings.model_dump(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _known(self, study: optuna.Study, trial: Trial) -> FrozenTrial:
        """Return what is known of a trial; it is entered when it is first seen."""
        if trial.trial_id not in self.numbers:
            entered = study.ask()
            entered.set_user_attr(TRIAL, trial.trial_id)
            self.numbers[trial.trial_id] = entered.number
        return study.get_trials(deepcopy=False)[self.numbers[trial.trial_id]]


def early_stop(space: Space, folder: Path) -> EarlyStop | None:
    """Return what ends trials early in a sweep; None if nothing does (``population`` is apart)."""
    if space.scheduler.method in ("none", "pbt"):
        return None
    metric = TASKS[space.general.task].metric(space.metric)
    return EarlyStop(space, search_path(folder, space.general.study), metric.mode)


def _judgement(known: FrozenTrial) -> tuple[int, str]:
    epoch, reason = known.user_attrs.get(JUDGEMENT, (0, ""))
    return epoch, reason


def _pruner(settings: SchedulerSettings) -> optuna.pruners.BasePruner:
    if settings.method == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
        )
    return optuna.pruners.MedianPruner(
        n_startup_trials=settings.min_trials,
        n_warmup_steps=settings.min_epochs,
        n_min_trials=settings.min_trials,
    )
