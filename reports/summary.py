"""What a study found, in sentences that claim no more than its seeds show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.comparisons import (
    Contrast,
    Standing,
    against_baseline,
    by_validation,
    standings,
)
from reports.configs import ConfigRow, by_group
from reports.facts import chosen, devices, seeds
from reports.printed import (
    amount,
    interval_text,
    metric_name,
    number,
    probability_text,
    seeds_text,
    unit,
    unit_of_change,
)
from reports.rows import SEQUENTIAL, StudyRows
from reports.stats import Spread, spread
from sweep.tasks.base import Metric

NAMED = 4
"""Configurations that a sentence names at most; the tables name all."""


@dataclass(frozen=True)
class Summary:
    """The words at the head of a report."""

    trials: str
    """How many there are and how they ended, seeds and device."""
    findings: tuple[str, ...]
    """One for each group."""
    warnings: tuple[str, ...]
    """What the report cannot say, and why."""


def summarise(rows: StudyRows, configs: Sequence[ConfigRow]) -> Summary:
    """Return the summary of a study."""
    groups = by_group(configs)
    contrasts = {id(c.config): c for c in against_baseline(configs, rows.compared)}
    standing = standings(configs, rows.compared)
    return Summary(
        trials=_trials(rows),
        findings=tuple(
            _finding(rows, title, members, standing[title], contrasts)
            for title, members in groups.items()
        ),
        warnings=(*rows.notes, *_warnings(rows, groups)),
    )


def sentence(contrast: Contrast, metric: Metric, aside: str = "") -> str:
    """Return what a comparison shows, or what it would take to show it.

    Args:
        contrast: the comparison.
        metric: that it is in.
        aside: stands behind the configuration's name.
    """
    subject, other = _called(contrast.config) + aside, _called(contrast.other)
    difference = contrast.difference
    if difference.n == 1:
        return (
            f"{subject} differs from {other} by {amount(difference.mean, metric, '+')} in the one "
            "seed that both have: one seed shows no noise to judge it by"
        )
    if contrast.p is None:
        return (
            f"{subject} differs from {other} by {amount(difference.mean, metric, '+')} in each of "
            f"{_seeds(contrast, metric)}: equal differences show no noise to judge them by"
        )
    if contrast.is_shown:
        verb = "improves on" if contrast.favours(metric) is contrast.config else "is worse than"
        return f"{subject} {verb} {other} by {_size(contrast, metric)}"
    text = (
        f"for {subject} no difference from {other} can be shown with n = {difference.n} "
        f"({_plus_minus(difference, metric, unit_of_change(metric), '+')}, {_p(contrast)})"
    )
    if contrast.seeds_needed is None:
        return text
    return f"{text}; {seeds_text(contrast.seeds_needed)} seeds would be needed"


def _finding(
    rows: StudyRows,
    group: str,
    members: Sequence[ConfigRow],
    standing: Standing,
    contrasts: Mapping[int, Contrast],
) -> str:
    """Return what validation chose, how it stands to the baseline, and how to the others."""
    metric, config = rows.compared, standing.chosen
    name = metric_name(metric)
    measured = [member for member in members if metric.name in member.spreads]
    if not measured:
        return f"{group}: no trial has finished with a finite {name}, so nothing can be said."
    if config is None:
        said = [
            f"no finished trial has a validation {name}, so nothing is chosen: what is best of "
            "many on the test split may be so by chance"
        ]
    else:
        said = [
            _choice(config, contrasts.get(id(config)), measured, metric),
            *_rank(config, standing, measured, metric),
            *_next_best(config, standing, measured, metric),
        ]
    others = [contrasts[id(m)] for m in members if m is not config and id(m) in contrasts]
    said += _others(others, metric)
    if SEQUENTIAL in rows.notes:
        said.append("The p-values do not account for seeds that a sequential test asked for")
    return f"{group}: {'. '.join(said)}."


def _choice(
    config: ConfigRow, contrast: Contrast | None, measured: Sequence[ConfigRow], metric: Metric
) -> str:
    """Return what was chosen, and how it stands to the baseline."""
    if contrast is not None:
        return sentence(contrast, metric, ", chosen on validation,")
    spread = config.spreads[metric.name]
    score = f"{_plus_minus(spread, metric, unit(metric))} on test over {_plural(spread.n, 'seed')}"
    if config.is_baseline:
        return f"validation chooses {_called(config)} ({score})"
    if config.baseline is not None and metric.name in config.baseline.spreads:
        why = "it shares no finished seed with the baseline"
    elif any(member.is_baseline for member in measured):
        why = "no baseline with a result was trained with its recipe"
    else:
        why = "there is no baseline with a result"
    return f"validation chooses {config.name} ({score}), but {why}: no gain can be stated"


def _rank(
    config: ConfigRow, standing: Standing, measured: Sequence[ConfigRow], metric: Metric
) -> list[str]:
    """Return from what the chosen configuration can be told, beyond its baseline."""
    if len(measured) == 1:
        return ["There is no other configuration to compare it with"]
    if config.is_baseline or all(m is config or m is config.baseline for m in measured):
        return []  # the other sentences say it
    if standing.best is not None:
        return ["It is better than every other configuration, beyond the noise"]
    total, tied = len(measured) - 1, len(standing.tied)
    above = [c.other for c in standing.contrasts if c.favours(metric) is c.opponent(config)]
    said = [f"On test, {_named(above)} did better, beyond the noise"] if above else []
    if tied == total:
        return [f"It cannot be told from any of the {total} others"]
    if tied:
        said.append(f"It cannot be told from {tied} of {total} others: {_named(standing.tied)}")
    return said


def _next_best(
    config: ConfigRow, standing: Standing, measured: Sequence[ConfigRow], metric: Metric
) -> list[str]:
    """Return how the chosen configuration stands to the second best on validation."""
    second = by_validation(measured, metric)[1:2]
    return [
        f"Next on validation is {_called(second[0])}: {sentence(contrast, metric)}"
        for contrast in standing.contrasts
        if second and contrast.opponent(config) is second[0] is not config.baseline
    ]


def _others(contrasts: Sequence[Contrast], metric: Metric) -> list[str]:
    """Return what is shown of the configurations that were not chosen, against the baseline."""
    if not contrasts:
        return []
    better = [c.config for c in contrasts if c.favours(metric) is c.config]
    worse = [c.config for c in contrasts if c.favours(metric) is c.other]
    if not better and not worse:
        who = "none of the" if len(contrasts) > 1 else "the"
        return [
            f"Against the baseline, {who} {_plural(len(contrasts), 'other')} shows a difference"
        ]
    told = [
        f"{len(found)} {'is' if len(found) == 1 else 'are'} {word} beyond the noise "
        f"({_named(found)})"
        for found, word in ((better, "better"), (worse, "worse"))
        if found
    ]
    others = _plural(len(contrasts), "other")
    return [f"Of {others}, compared with the baseline, {' and '.join(told)}"]


def _called(config: ConfigRow) -> str:
    """Return the name of a configuration in a sentence."""
    return f"the {config.name}" if config.is_baseline else config.name


def _named(configs: Sequence[ConfigRow]) -> str:
    names = [_called(config) for config in configs[:NAMED]]
    more = len(configs) - NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _size(contrast: Contrast, metric: Metric) -> str:
    """Return how large a difference is that is shown, without its sign."""
    found = contrast.difference
    size = found if found.mean > 0 else spread([-value for value in found.values])
    return (
        f"{_plus_minus(size, metric, unit_of_change(metric))} over {_seeds(contrast, metric)} "
        f"(95 % interval {interval_text(size.interval, metric)}; {_p(contrast)})"
    )


def _seeds(contrast: Contrast, metric: Metric) -> str:
    """Return the number of seeds of a comparison, and whether one of the two has more."""
    n = contrast.difference.n
    most = max(c.spreads[metric.name].n for c in (contrast.config, contrast.other))
    return f"the {n} seeds that both have" if n < most else f"{n} seeds"


def _p(contrast: Contrast) -> str:
    """Return the corrected p-value, and what it was corrected for."""
    text = probability_text(contrast.p_holm)
    p = f"p {text[0]} {text[1:]}" if text.startswith("<") else f"p = {text}"
    if contrast.config.baseline is not contrast.other:
        return f"{p} after Holm's correction and one for the choice"
    if contrast.family == 1:
        return p
    return f"{p} after Holm's correction for {contrast.family} comparisons"


def _plus_minus(found: Spread, metric: Metric, unit: str, sign: str = "") -> str:
    """Return mean ± sample standard deviation, with a unit; without ± for one seed."""
    std = f" ± {number(found.std, metric)}" if found.std is not None else ""
    return f"{number(found.mean, metric, sign)}{std} {unit}".rstrip()


def _trials(rows: StudyRows) -> str:
    count = len(rows.trials)
    ended = Counter(trial.status for trial in rows.trials)
    parts = [f"{ended['done']} done", f"{ended['failed']} failed"]
    parts += [f"{ended['stopped']} stopped early"] if ended["stopped"] else []
    parts += [f"{ended['unfinished']} unfinished"] if ended["unfinished"] else []
    missing = max((rows.planned or 0) - count, 0)
    parts += [f"{missing} not started"] if missing else []
    more = "" if rows.refused_complete else "at least "
    parts.append(f"{more}{_plural(len(rows.refused), 'combination')} refused")
    return (
        f"{_plural(count + missing, 'trial')}: {', '.join(parts)}. "
        f"Seeds: {seeds(rows)}. Device: {devices(rows)}."
    )


def _warnings(rows: StudyRows, groups: Mapping[str, Sequence[ConfigRow]]) -> list[str]:
    warnings = []
    if not rows.trials:
        warnings.append("No trial of this study has started.")
    infinite = sum(t.status == "done" and t.score(rows.compared.name) is None for t in rows.trials)
    if infinite:
        name = metric_name(rows.compared)
        warnings.append(
            f"{_plural(infinite, 'finished trial')} without a finite {name}: in no mean."
        )
    for group, configs in groups.items():
        warnings += [f"{group}: {text}." for text in _gaps(configs, rows)]
    if len({trial.device for trial in rows.trials if trial.device}) > 1:
        warnings.append("The trials ran on different devices.")
    return warnings


def _gaps(configs: Sequence[ConfigRow], rows: StudyRows) -> list[str]:
    """Return what a group lacks for its comparisons."""
    metric = rows.compared.name
    baselines = [config for config in configs if config.is_baseline]
    measured = [config for config in configs if metric in config.spreads]
    apart = [c for c in measured if not c.is_baseline and metric not in c.differences]
    gaps = []
    if not baselines:
        gaps.append("there is no baseline without attention, so Δ cannot be computed")
    elif not any(baseline in measured for baseline in baselines):
        gaps.append("the baseline has no result, so Δ cannot be computed")
    elif apart:
        recipe = f" or no {chosen(rows)}" if chosen(rows) else ""
        gaps.append(f"no finished seed{recipe} in common with a baseline, so no Δ: {_named(apart)}")
    counts = {config.spreads[metric].n for config in measured}
    if counts == {1}:
        gaps.append("one seed shows no spread, and no difference can be told from chance")
    elif len(counts) > 1:
        gaps.append(
            f"configurations have from {min(counts)} to {max(counts)} seeds; two are compared over "
            "those that both have"
        )
    return gaps


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
