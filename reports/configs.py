"""Configurations of a study: what its trials share but for the seed.

A trial enters a mean if it finished and measured a finite number; every other one is counted.
Values are as stored (accuracies are fractions).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.rows import BASELINE, Split, Status, StudyRows, TrialRow, Value
from reports.stats import Spread, spread
from sweep.tasks.base import Metric
from sweep.tracking.measurements import Cost

TITLES = {
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "mobilenet_v2": "MobileNetV2",
}
"""Backbones as the papers write them; others are called as they are registered."""
NOT_RECORDED = "not recorded"
"""Of a setting that a run lacks: one that is "none" was chosen to be none."""
ROUNDED = 12
"""Decimals that scores are compared by; sums and differences of equal ones round apart beyond."""


@dataclass(frozen=True, kw_only=True)
class ConfigRow:
    """One configuration: everything but the seed."""

    group: str
    """Title of the rows that compare: one backbone under one recipe."""
    backbone: str
    """As the papers write it."""
    stem: str
    weights: str
    placement: str
    attention: str
    preset: str | None
    part: str | None
    name: str
    """As tables and figures print it; with the placement where several are compared."""
    hyperparameters: Mapping[str, Value]
    chosen: Mapping[str, str]
    """Of its recipe, by a search."""
    settings: Mapping[str, str]
    adjusted: str
    params_true: int | None
    params_thop_like: int | None
    params_no_norm: int | None
    macs: int | None
    macs_fvcore: int | None
    trials: tuple[TrialRow, ...]
    """In the order of their seeds; at most one that finished of each."""
    spreads: Mapping[str, Spread]
    """By metric, over the test split; without those that no trial measured."""
    validation: Mapping[str, Spread]
    """By metric, over the validation split, at the epoch that each trial chose."""
    baseline: ConfigRow | None
    """Of the same recipe, what a search chose of it included; None for the baseline itself."""
    differences: Mapping[str, Spread]
    """By metric, to ``baseline``: over the seeds that both have."""
    cost: Cost | None = None
    """Measured; of the setting that was measured last in the study."""
    costs: tuple[Cost, ...] = ()
    """The same in all settings, in the order they were measured."""
    repeats: tuple[TrialRow, ...] = ()
    """Those that finished too, with a seed of ``trials``: they enter no number."""

    @property
    def is_baseline(self) -> bool:
        """Whether it is the backbone without attention."""
        return self.attention == BASELINE

    def runs(self, metric: str) -> tuple[str, ...]:
        """Return the ids of the runs that have a score."""
        return tuple(trial.run_id for trial in self.trials if trial.score(metric) is not None)

    @property
    def training_peak_gib(self) -> float | None:
        """The most GPU memory that training one of its trials took; None on a CPU."""
        peaks = [trial.metrics.get("peak_memory_gib") for trial in self.trials]
        return max((peak for peak in peaks if peak is not None), default=None)

    def count(self, status: Status) -> int:
        """Return the number of trials of a status."""
        return sum(trial.status == status for trial in self.trials)


def config_rows(rows: StudyRows) -> tuple[ConfigRow, ...]:
    """Return the configurations of a study.

    In the order of the study's grid, group by group, in each group the baseline first.
    """
    by_config: dict[Any, list[TrialRow]] = defaultdict(list)
    for trial in rows.trials:
        by_config[_recipe_key(trial), _module_key(trial)].append(trial)
    titles = _group_titles(rows.trials)
    placements = _compared_placements(rows.trials)
    baselines: dict[Any, ConfigRow] = {}
    configs = []
    for (recipe, module), trials in sorted(by_config.items(), key=lambda item: bool(item[0][1])):
        placed = bool(module) and recipe[0] in placements
        config = _config(
            titles[recipe[0]], trials, baselines.get(recipe), rows.metrics, name_placement=placed
        )
        configs.append(config)
        if config.is_baseline:
            baselines[recipe] = config
    groups = list(dict.fromkeys(titles.values()))
    return tuple(sorted(configs, key=lambda c: (groups.index(c.group), not c.is_baseline)))


def by_group(configs: Iterable[ConfigRow]) -> dict[str, list[ConfigRow]]:
    """Return the configurations of each group, in their order."""
    groups: dict[str, list[ConfigRow]] = defaultdict(list)
    for config in configs:
        groups[config.group].append(config)
    return dict(groups)


def repeat_notes(configs: Iterable[ConfigRow]) -> tuple[str, ...]:
    """Return what was run more than once: the identity of a trial has more than its row."""
    return tuple(
        f"{config.group}, {config.name}: {1 + count} trials finished with seed {seed} that this "
        "report cannot tell apart (they may differ in plug-ins, adjusted values or parents in a "
        "population); the first in the order of the grid counts, the rest enters no number."
        for config in configs
        for seed, count in Counter(trial.seed for trial in config.repeats).items()
    )


def scores(trials: Iterable[TrialRow], metric: str, split: Split = "test") -> dict[int, float]:
    """Return the scores that enter a mean, by seed."""
    found = ((trial.seed, trial.score(metric, split)) for trial in trials)
    return {seed: score for seed, score in found if score is not None}


def paired(trials: Iterable[TrialRow], others: Iterable[TrialRow], metric: str) -> Spread | None:
    """Return score minus the other's, for each seed that both have; None where they share none.

    Equal differences come out equal: what the subtraction rounds is not a spread.
    """
    own, base = scores(trials, metric), scores(others, metric)
    differences = [round(own[seed] - base[seed], ROUNDED) for seed in own if seed in base]
    return spread(differences) if differences else None


def paired_runs(config: ConfigRow, other: ConfigRow, metric: str) -> tuple[str, ...]:
    """Return the ids of the runs of both that a paired difference is of."""
    own, others = scores(config.trials, metric), scores(other.trials, metric)
    return tuple(
        trial.run_id
        for trial in (*config.trials, *other.trials)
        if trial.seed in own and trial.seed in others and trial.score(metric) is not None
    )


def _config(
    group: str,
    trials: Iterable[TrialRow],
    baseline: ConfigRow | None,
    metrics: Sequence[Metric],
    *,
    name_placement: bool,
) -> ConfigRow:
    found = sorted(trials, key=lambda trial: trial.seed)
    repeats = _repeats(found)
    trials = tuple(trial for trial in found if trial not in repeats)
    first = trials[0]
    names = [metric.name for metric in metrics]
    base = baseline.trials if baseline is not None else ()
    differences = {name: paired(trials, base, name) for name in names}
    return ConfigRow(
        group=group,
        backbone=TITLES.get(first.backbone, first.backbone),
        stem=first.stem,
        weights=first.weights,
        placement=first.placement,
        attention=first.attention,
        preset=first.preset,
        part=first.part,
        name=f"{first.label}, {first.placement}" if name_placement else first.label,
        hyperparameters=first.hyperparameters,
        chosen=first.chosen,
        settings=first.settings,
        adjusted=first.adjusted,
        params_true=first.params_true,
        params_thop_like=first.params_thop_like,
        params_no_norm=first.params_no_norm,
        macs=first.macs,
        macs_fvcore=next((t.macs_fvcore for t in trials if t.macs_fvcore is not None), None),
        trials=trials,
        spreads=_spreads(trials, names, "test"),
        validation=_spreads(trials, names, "best_val"),
        baseline=baseline,
        differences={name: found for name, found in differences.items() if found is not None},
        cost=first.cost,
        costs=first.costs,
        repeats=repeats,
    )


def _repeats(trials: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    """Return those that finished after another one of their seed.

    The first counts because it is the first: to choose by score would favour configurations that
    were run more often.
    """
    first: dict[int, TrialRow] = {}
    done = [trial for trial in trials if trial.status == "done"]
    return tuple(trial for trial in done if first.setdefault(trial.seed, trial) is not trial)


def _spreads(trials: Iterable[TrialRow], metrics: Iterable[str], split: Split) -> dict[str, Spread]:
    found = {metric: list(scores(trials, metric, split).values()) for metric in metrics}
    return {metric: spread(values) for metric, values in found.items() if values}


def _group_key(trial: TrialRow) -> tuple[Any, ...]:
    """Return what configurations must share to be compared."""
    return trial.backbone, trial.stem, trial.weights, tuple(sorted(trial.settings.items()))


def _recipe_key(trial: TrialRow) -> tuple[Any, ...]:
    """Return what a configuration must share with its baseline: the group, and what was chosen."""
    return _group_key(trial), tuple(trial.chosen.items())


def _module_key(trial: TrialRow) -> tuple[Any, ...]:
    """Return what tells configurations of a group apart; empty for the baseline.

    A preset is only a name: a shared trial has the one that another sweep may have given it.
    """
    if trial.attention == BASELINE:
        return ()
    return trial.attention, trial.placement, tuple(sorted(trial.hyperparameters.items()))


def _group_titles(trials: Iterable[TrialRow]) -> dict[tuple[Any, ...], str]:
    """Return a title for each group: the backbone, and whatever else differs between groups."""
    about = {_group_key(t): {"stem": t.stem, "weights": t.weights, **t.settings} for t in trials}
    fields = dict.fromkeys(field for settings in about.values() for field in settings)
    varying = [f for f in fields if len({settings.get(f) for settings in about.values()}) > 1]
    return {
        key: ", ".join(
            [TITLES.get(key[0], key[0]), *(f"{f} {settings.get(f, NOT_RECORDED)}" for f in varying)]
        )
        for key, settings in about.items()
    }


def _compared_placements(trials: Iterable[TrialRow]) -> set[tuple[Any, ...]]:
    """Return the groups in which modules are placed in more than one way."""
    placements: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for trial in trials:
        if trial.attention != BASELINE:
            placements[_group_key(trial)].add(trial.placement)
    return {group for group, policies in placements.items() if len(policies) > 1}
