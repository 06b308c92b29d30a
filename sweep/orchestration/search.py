"""A search: which configurations of a space are trained, one after the other, by what is known.

Optuna proposes; its storage, an SQLite file beside the sweep, is all that a search remembers, so
that it goes on after any crash. A proposal is made in three steps, each on the disk before the
next: asked, marked with its choices and its standing, told. What was asked and not marked is
asked again, what was marked and not told is handed out again. The sampler starts anew from (seed,
number of proposals) each time: a search that was killed proposes what it would have proposed.

Samplers: TPE judges every hyperparameter among the trials that have it, so that conditional spaces
need no more; trials that still run count as bad ones (the "constant liar"), so that several at once
differ. NSGA-II recombines the choices that all configurations have, and draws the others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sweep.errors import UserError
from sweep.plan import Plan, PlannedTrial, make_plan
from sweep.registry import TASKS
from sweep.spec.axes import Axis, Choice, Choices, EndlessError, concrete, drawn, points
from sweep.spec.document import SpecError
from sweep.spec.labels import Module, module_label
from sweep.spec.load import check_space
from sweep.spec.schema import Space

Standing = Literal["planned", "refused", "known"]
"""Of a proposal: to be trained; cannot exist; has the trials of an earlier one."""

PREFIX = "search/"
"""Of the names of a search's studies in the storage, which others share."""
PROPOSAL, VALUES = "proposal", "values"
"""What is kept with a trial of Optuna: its choices and standing; its result by objective."""
TIMED_ON = "timed_on"
"""What is kept with one whose latency counts: the device that this was measured on."""
REPEATS = 20
"""Proposals in a row without anything new, after which a point is drawn from those left."""
COUNTED_POINTS = 10_000
"""Points up to which a space is listed to find those left; of more, some are drawn."""
DRAWS = 1_000
NOT_OF_THE_RESULT = ("question", "resources", "tracking", "keep_checkpoints", "scheduler")
"""Fields of a space that may change while its search goes on; of ``search``, the objectives may
not."""


@dataclass(frozen=True)
class Configuration:
    """One point of a space, to be trained with every seed."""

    number: int
    choices: Choices
    trials: tuple[PlannedTrial, ...]


class Search:
    """The search of one space.

    Args:
        space: a checked space with a search method.
        path: the storage, shared with ``EarlyStop``; None to try a search without keeping it.
    """

    def __init__(self, space: Space, path: Path | None) -> None:
        self.space = space
        self.storage = open_storage(path)
        self.handed_out: set[int] = set()
        self.plans: dict[str, Plan] = {}
        metric = TASKS[space.general.task].metric(space.metric)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=PREFIX + _digest(space),
            directions=[
                "maximize" if name == metric.name and metric.mode == "max" else "minimize"
                for name in space.objectives
            ],
            load_if_exists=True,
        )
        self._clear_torn()
        self._adopt()

    def ask(self) -> Configuration | None:
        """Return a configuration to be trained.

        First those of an earlier run that were never told. None when the budget is used up, or
        when nothing is left that could be new; those handed out may still be running.

        Raises:
            SpecError: a placement or weights that a backbone does not have.
            MissingDatasetError: the data set must be read to know its classes, and is not here.
        """
        for trial in self._proposals("planned"):
            if trial.state == TrialState.RUNNING and trial.number not in self.handed_out:
                return self._hand_out(trial)
        while len(self._proposals("planned")) < self.space.search.trials:
            proposed = self._propose()
            if proposed is None:
                return None
            if proposed.user_attrs[PROPOSAL]["standing"] == "planned":
                return self._hand_out(proposed)
        return None

    @property
    def timed_on(self) -> str | None:
        """The device whose latencies the search compares: that of the first it was told."""
        known = (trial.user_attrs.get(TIMED_ON) for trial in self._proposals())
        return next((device for device in known if device is not None), None)

    def tell(
        self,
        configuration: Configuration,
        results: Sequence[Mapping[str, float]],
        timed_on: str | None = None,
    ) -> None:
        """Note how a configuration ended.

        Args:
            configuration: one that ``ask`` returned.
            results: the metrics of the ``TrialResult`` of each of its trials; empty if one failed.
                Its latency is the mean over those that have one.
            timed_on: the device that these latencies were measured on.

        Raises:
            KeyError: a result is without what the search makes better.
        """
        number = configuration.number
        if timed_on is not None:
            self.storage.set_trial_user_attr(self._id(number), TIMED_ON, timed_on)
        known = self._values(configuration, results) if results else {}
        if not known or not all(map(math.isfinite, known.values())):
            self.study.tell(number, state=TrialState.FAIL)
            return
        self.storage.set_trial_user_attr(self._id(number), VALUES, known)
        self.study.tell(number, [known[name] for name in self.space.objectives])

    def stopped(self, configuration: Configuration, epoch: int, value: float) -> None:
        """Note that a configuration was stopped early: it is worse than those that were not.

        Args:
            configuration: one that ``ask`` returned.
            epoch: its last, from 1.
            value: of the validation metric then.
        """
        number = configuration.number
        self.storage.set_trial_intermediate_value(self._id(number), epoch, value)
        self.study.tell(number, state=TrialState.PRUNED)

    def configurations(self) -> list[Configuration]:
        """Return every configuration so far, those of earlier runs included."""
        return [self._configuration(trial) for trial in self._proposals("planned")]

    def plan(self) -> Plan:
        """Return the trials so far as the plan of a sweep."""
        chosen = self.configurations()
        trials = {p.trial.trial_id: p for one in chosen for p in one.trials}
        general = self.space.general
        return Plan(
            study=general.study,
            question=general.question,
            metric=self.space.metric,
            trials=tuple(trials.values()),
            duplicates=0,
            train_images=self._plan(chosen[0].choices).train_images if chosen else None,
        )

    def close(self) -> None:
        """Let go of the storage."""
        close_storage(self.storage)

    # Proposals -----------------------------------------------------------------------------

    def _propose(self) -> FrozenTrial | None:
        """Ask for one point, mark it, and tell at once what needs no training; None: all known."""
        proposals = self._proposals()
        self.study.sampler = self._sampler(len(proposals))
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting and _without_news(proposals) >= REPEATS:
            left = self._left(proposals)
            if left is None:
                return None
            self.study.enqueue_trial(left)
        trial = self.study.ask()
        choices: Choices = {}

        def choose(axis: Axis) -> Choice:
            choices[axis.name] = _suggested(trial, axis)
            return choices[axis.name]

        concrete(self.space.document, choose)
        standing, trials, reason = self._standing(choices, proposals)
        proposal = {"choices": choices, "standing": standing, "trials": trials, "reason": reason}
        trial.set_user_attr(PROPOSAL, proposal)
        return self._settled(self._frozen(trial.number))

    def _standing(
        self, choices: Choices, proposals: Sequence[FrozenTrial]
    ) -> tuple[Standing, list[str], str]:
        """Return the standing of a point, the ids of its trials, and why it is refused."""
        try:
            self._point(choices)
        except SpecError as error:  # values that go together with others only
            return "refused", [], str(error)
        plan = self._plan(choices)
        ids = [planned.trial.trial_id for planned in plan.runnable]
        if not ids:
            return "refused", [], next((p.reason for p in plan.trials), "")
        return ("known" if _earlier(proposals, ids) else "planned"), ids, ""

    def _settled(self, trial: FrozenTrial) -> FrozenTrial:
        """Tell a proposal that needs no training; return it as it is then."""
        proposal = trial.user_attrs[PROPOSAL]
        if trial.state != TrialState.RUNNING or proposal["standing"] == "planned":
            return trial
        before = [known for known in self._proposals() if known.number < trial.number]
        earlier = _earlier(before, proposal["trials"]) if proposal["trials"] else None
        if earlier is None or earlier.state == TrialState.PRUNED:
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif earlier.state == TrialState.COMPLETE:
            self.study.tell(trial.number, earlier.values)
        else:  # it is still running, or failed: nothing to learn from
            self.study.tell(trial.number, state=TrialState.FAIL)
        return self._frozen(trial.number)

    def _left(self, proposals: Sequence[FrozenTrial]) -> Choices | None:
        """Return a point that was never proposed, drawn by the seed; None if there is none."""
        known = [trial.user_attrs[PROPOSAL]["choices"] for trial in proposals]
        source = random.Random(_seed(self.space, len(proposals)))
        document = self.space.document
        try:
            every = list(itertools.islice(points(document), COUNTED_POINTS + 1))
        except EndlessError:
            every = []
        if 0 < len(every) <= COUNTED_POINTS:
            left = [choices for choices in every if choices not in known]
            return source.choice(left) if left else None
        for _ in range(DRAWS):
            choices: Choices = {}

            def choose(axis: Axis, choices: Choices = choices) -> Choice:
                choices[axis.name] = drawn(axis, source)
                return choices[axis.name]

            concrete(document, choose)
            if choices not in known:
                return choices
        return None

    def _sampler(self, asked: int) -> optuna.samplers.BaseSampler:
        search = self.space.search
        seed = _seed(self.space, asked)
        if search.method == "tpe":
            first = min(10, max(3, search.trials // 4))
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, multivariate=False)
        if search.method == "nsga2":
            size = min(50, max(4, search.trials // 5))
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=size)
        return optuna.samplers.RandomSampler(seed=seed)

    def _clear_torn(self) -> None:
        """Drop what a crash left between asking and marking, and settle what it left after."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if PROPOSAL in trial.user_attrs:
                self._settled(trial)
                continue
            self.study.tell(trial.number, state=TrialState.FAIL)
            if "fixed_params" in trial.system_attrs:  # it was not the sampler's
                self.study.enqueue_trial(trial.system_attrs["fixed_params"])

    # What is known -------------------------------------------------------------------------

    def _proposals(self, *standings: Standing) -> list[FrozenTrial]:
        """Return the marked proposals in their order, of some standings or all."""
        marked = [t for t in self.study.get_trials(deepcopy=False) if PROPOSAL in t.user_attrs]
        return [
            t for t in marked if not standings or t.user_attrs[PROPOSAL]["standing"] in standings
        ]

    def _hand_out(self, trial: FrozenTrial) -> Configuration:
        self.handed_out.add(trial.number)
        return self._configuration(trial)

    def _configuration(self, trial: FrozenTrial) -> Configuration:
        choices = trial.user_attrs[PROPOSAL]["choices"]
        return Configuration(trial.number, choices, self._plan(choices).runnable)

    def _point(self, choices: Choices) -> Space:
        return check_space(concrete(self.space.document, lambda axis: choices[axis.name]))

    def _plan(self, choices: Choices) -> Plan:
        """Return the trials of one point, labelled among all that the space could have."""
        key = json.dumps(choices, sort_keys=True)
        if key not in self.plans:
            plan = make_plan(self._point(choices))
            label = self._label(plan.trials[0], choices) if plan.trials else ""
            labelled = tuple(p.model_copy(update={"label": label}) for p in plan.trials)
            self.plans[key] = plan.model_copy(update={"trials": labelled})
        return self.plans[key]

    def _label(self, planned: PlannedTrial, choices: Choices) -> str:
        trial = planned.trial
        module: Module = (trial.attention, trial.preset, trial.part, trial.hyperparameters)
        study: list[Module] = [
            (a.name, a.preset, a.part, a.hyperparameters) for a in self.space.attention
        ]
        trained = {
            field: getattr(trial.recipe, field)
            for _, recipe, field in (name.rpartition("recipe.") for name in choices)
            if recipe
        }
        values = (f"{field}{value}" for field, value in trained.items())
        return "-".join([module_label(module, [*study, module]), *values])

    def _values(
        self, configuration: Configuration, results: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        """Return what was measured on the validation split, and what the plan counted."""
        metric, cost = self.space.metric, configuration.trials[0].cost
        assert cost is not None
        known = {
            metric: _mean(f"best_val_{metric}", results),
            "params": cost.params_true / 1e6,
            "macs": cost.macs / 1e9,
        }
        if "latency" in self.space.objectives:
            timed = [result for result in results if "latency_ms" in result]
            known["latency"] = _mean("latency_ms", timed)
        return known

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _id(self, number: int) -> int:
        return self._frozen(number)._trial_id

    # A space that has changed --------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over what other studies of the storage know of this space.

        The results of the same trials are taken as they are; configurations of which some trials
        are the same (a seed was added) or that did not end are the first to be asked.
        """
        taken = [t.user_attrs[PROPOSAL]["trials"] for t in self._proposals()]
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        queued = [trial.system_attrs["fixed_params"] for trial in waiting]
        for name in optuna.get_all_study_names(self.storage):
            if not name.startswith(PREFIX) or name == self.study.study_name:
                continue
            other = optuna.load_study(study_name=name, storage=self.storage)
            for old in other.get_trials(deepcopy=False):
                if old.user_attrs.get(PROPOSAL, {}).get("standing") == "planned":
                    self._take(old, taken, queued)

    def _take(self, old: FrozenTrial, taken: list[list[str]], queued: list[Choices]) -> None:
        choices: Choices = {}
        distributions: dict[str, BaseDistribution] = {}

        def choose(axis: Axis) -> Choice:
            choices[axis.name] = old.user_attrs[PROPOSAL]["choices"][axis.name]
            distributions[axis.name] = _distribution(axis)
            return choices[axis.name]

        before = old.user_attrs[PROPOSAL]["trials"]
        if before in taken:
            return
        try:
            concrete(self.space.document, choose)
        except KeyError:
            return  # it is no point of this space
        standing, ids, _ = self._standing(choices, ())
        if standing != "planned" or set(ids).isdisjoint(before) or ids in taken:
            return
        known = old.user_attrs.get(VALUES, {})
        device = old.user_attrs.get(TIMED_ON)
        alike = "latency" not in self.space.objectives or device == (self.timed_on or device)
        complete = alike and all(name in known for name in self.space.objectives)
        stopped = old.state == TrialState.PRUNED and len(self.space.objectives) == 1
        if ids == before and (complete or stopped):
            taken.append(ids)
            proposal = {"choices": choices, "standing": standing, "trials": ids, "reason": ""}
            values = [known[name] for name in self.space.objectives] if complete else None
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=old.state,
                    values=values,
                    params=choices,
                    distributions=distributions,
                    user_attrs={
                        PROPOSAL: proposal,
                        VALUES: known,
                        **({TIMED_ON: device} if device else {}),
                    },
                    intermediate_values=old.intermediate_values,
                )
            )
        elif choices not in queued:
            queued.append(choices)
            self.study.enqueue_trial(choices)


def preview(space: Space, count: int) -> Plan:
    """Return the first configurations that a search of a space would try, if all were alike."""
    with closing(Search(space, None)) as search:
        for _ in range(count):
            search.ask()
        return search.plan()


def open_storage(path: Path | None) -> optuna.storages.BaseStorage:
    """Return the storage of a sweep's search and early stopping; None keeps it in memory."""
    if path is None:
        return optuna.storages.InMemoryStorage()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} cannot be read as the storage of a search: {reason}") from None


def close_storage(storage: optuna.storages.BaseStorage) -> None:
    """Let go of the file of a storage."""
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def search_path(folder: Path, study: str) -> Path:
    """Return where the storage of a sweep lies in a working folder."""
    return folder / "studies" / study / "search.db"


def _digest(space: Space) -> str:
    """Return a digest of what proposals and their values depend on."""
    left_out = {*NOT_OF_THE_RESULT, "search"}
    data = {key: value for key, value in space.document.data.items() if key not in left_out}
    content = json.dumps([data, space.objectives], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _seed(space: Space, asked: int) -> int:
    text = f"{space.search.seed}/{asked}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.range is None:
        return CategoricalDistribution([str(choice) for choice in axis.choices()])
    low, high, step = axis.range.low, axis.range.high, axis.range.step
    if axis.whole:
        return IntDistribution(int(low), int(high), log=axis.range.log, step=int(step or 1))
    return FloatDistribution(low, high, log=axis.range.log, step=step)


def _suggested(trial: optuna.Trial, axis: Axis) -> Choice:
    distribution = _distribution(axis)
    if isinstance(distribution, CategoricalDistribution):
        return str(trial.suggest_categorical(axis.name, distribution.choices))
    low, high, step, log = (getattr(distribution, f) for f in ("low", "high", "step", "log"))
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(axis.name, low, high, step=step, log=log)
    return trial.suggest_float(axis.name, low, high, step=step, log=log)


def _earlier(proposals: Sequence[FrozenTrial], ids: Sequence[str]) -> FrozenTrial | None:
    """Return the proposal to be trained that has these trials."""
    planned = (t for t in proposals if t.user_attrs[PROPOSAL]["standing"] == "planned")
    return next((t for t in planned if set(ids) <= set(t.user_attrs[PROPOSAL]["trials"])), None)


def _without_news(proposals: Sequence[FrozenTrial]) -> int:
    """Return how many of the last proposals in a row brought nothing to train."""
    standings = (trial.user_attrs[PROPOSAL]["standing"] for trial in reversed(proposals))
    return sum(1 for _ in itertools.takewhile(lambda standing: standing != "planned", standings))


def _mean(metric: str, results: Sequence[Mapping[str, float]]) -> float:
    return math.fsum(result[metric] for result in results) / len(results)
