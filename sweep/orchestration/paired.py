"""Paired studies: each module against its baseline, seed by seed, until the answer is clear.

The first seeds run at once; every further one only where those before it left the answer open. The
differences are of the test split: validation has chosen the epoch, and the test split is asked one
question, whose looks ``sequential`` accounts for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from sweep.ledger import Ledger
from sweep.orchestration.sequential import Decision, SequentialTest
from sweep.plan import Plan, PlannedTrial
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice
from sweep.tasks.base import Metric

BASELINE = "none"
"""The attention module that is none."""

Host = tuple[BackboneChoice, Recipe]
"""What a module is on."""


@dataclass(frozen=True)
class Comparison:
    """One configuration of a module and its baseline, each with one trial per seed."""

    name: str
    module: tuple[PlannedTrial, ...]
    baseline: tuple[PlannedTrial, ...]


class Paired:
    """A source of the trials that a paired study needs; see ``sweep.orchestration.agenda.Source``.

    Args:
        plan: of the study; its seeds are the most that each comparison may take.
        ledger: where the trials stand.
        metric: that is compared.
        alpha, margin, min_seeds: of ``SequentialTest``; the margin is in the metric's points.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        metric: Metric,
        *,
        alpha: float,
        margin: float | None,
        min_seeds: int,
    ) -> None:
        self.ledger, self.metric = ledger, metric
        self.comparisons = comparisons(plan)
        seeds = max((len(c.module) for c in self.comparisons), default=min_seeds)
        self.test = SequentialTest(
            alpha=alpha, margin=margin, min_seeds=min_seeds, max_seeds=max(seeds, min_seeds)
        )
        self._returned: set[str] = set()
        self._scores: dict[str, float | None] = {}
        """Of the trials that are settled; None for one without a result."""
        for comparison in self.comparisons:
            for planned in (*comparison.module, *comparison.baseline):
                if ledger.entry(planned.trial.trial_id).settled:
                    self.settled(planned.trial.trial_id)

    def next(self) -> PlannedTrial | None:
        for planned in self._wanted():
            if planned.trial.trial_id not in self._returned:
                self._returned.add(planned.trial.trial_id)
                return planned
        return None

    def settled(self, trial_id: str) -> None:
        self._returned.add(trial_id)
        result = self.ledger.result(trial_id)
        score = result["metrics"].get(f"test_{self.metric.name}") if result else None
        self._scores[trial_id] = score

    @property
    def exhausted(self) -> bool:
        """Whether no comparison asks for a trial; one that runs may still leave its own open."""
        return all(p.trial.trial_id in self._scores for p in self._wanted())

    def decisions(self) -> list[tuple[str, Decision]]:
        """Return what is known of every comparison, in the order of the plan."""
        return [(c.name, self._decision(c)) for c in self.comparisons]

    def _wanted(self) -> list[PlannedTrial]:
        """Return the trials that the answers of today need, seed by seed."""
        wanted: dict[int, list[PlannedTrial]] = {}
        for comparison in self.comparisons:
            for place in range(self._reach(comparison)):
                pair = (comparison.baseline[place], comparison.module[place])
                wanted.setdefault(place, []).extend(pair)
        every = (planned for place in sorted(wanted) for planned in wanted[place])
        return list({planned.trial.trial_id: planned for planned in every}.values())

    def _reach(self, comparison: Comparison) -> int:
        """Return how many seeds a comparison needs: the first ones, then one more while open."""
        settled = self._settled(comparison)
        if self._decision(comparison).verdict != "open":
            return settled
        return min(max(self.test.min_seeds, settled + 1), len(comparison.module))

    def _decision(self, comparison: Comparison) -> Decision:
        return self.test.decide(self._differences(comparison))

    def _settled(self, comparison: Comparison) -> int:
        """Return how many seeds are settled without one before them that is not."""
        pairs = zip(comparison.module, comparison.baseline, strict=True)
        both = (
            module.trial.trial_id in self._scores and baseline.trial.trial_id in self._scores
            for module, baseline in pairs
        )
        return sum(1 for _ in takewhile(bool, both))

    def _differences(self, comparison: Comparison) -> list[float]:
        """Return module minus baseline in points, positive where the module is better.

        Of the seeds that are settled in their order; one that failed is no seed.
        """
        points = self.metric.scale if self.metric.mode == "max" else -self.metric.scale
        count = self._settled(comparison)
        differences = []
        pairs = zip(comparison.module[:count], comparison.baseline[:count], strict=True)
        for module, baseline in pairs:
            ours, theirs = (self._scores[p.trial.trial_id] for p in (module, baseline))
            if ours is not None and theirs is not None:
                differences.append(points * (ours - theirs))
        return differences


def comparisons(plan: Plan) -> list[Comparison]:
    """Return every configuration of a module with its baseline, in the order of the plan."""
    configurations: dict[object, list[PlannedTrial]] = {}
    for planned in plan.runnable:
        configurations.setdefault(_configuration(planned), []).append(planned)
    baselines: Mapping[object, list[PlannedTrial]] = {
        _host(trials[0]): trials
        for trials in configurations.values()
        if trials[0].trial.attention == BASELINE
    }
    hosts = list(dict.fromkeys(_host(trials[0]) for trials in configurations.values()))
    return [
        Comparison(_name(trials[0], hosts), tuple(trials), tuple(baselines[_host(trials[0])]))
        for trials in configurations.values()
        if trials[0].trial.attention != BASELINE and _host(trials[0]) in baselines
    ]


def _host(planned: PlannedTrial) -> Host:
    """Return what a module and its baseline have in common."""
    return planned.trial.backbone, planned.trial.recipe


def _configuration(planned: PlannedTrial) -> str:
    """Return what trials that differ in nothing but the seed have in common."""
    return planned.trial.model_copy(update={"seed": 0}).trial_id


def _name(planned: PlannedTrial, hosts: Sequence[Host]) -> str:
    """Return what a comparison is called; what tells hosts of one backbone apart is in it."""
    backbone, recipe = _host(planned)
    alike = [host for host in hosts if host[0].name == backbone.name]
    name = backbone.name
    if len({host[0].stem for host in alike}) > 1:
        name += f" {backbone.stem} stem"
    if len({host[0].weights for host in alike}) > 1:
        name += f" {backbone.weights or 'no weights'}"
    if len({host[1] for host in alike}) > 1:
        name += f" recipe {[host[1] for host in alike].index(recipe) + 1}"
    return f"{name} {planned.label} ({planned.trial.placement})"
