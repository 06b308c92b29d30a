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
from reports.configs import ConfigRow, by_group, repeat_notes
from reports.facts import chosen, devices, is_mixed, seeds
from reports.printed import (
    amount,
    interval_text,
    metric_name,
    number,
    p_words,
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

    answer: str
    """What all comparisons with baselines show, in one line; empty without a comparison."""
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
        answer=_answer(list(contrasts.values())),
        findings=tuple(
            _finding(rows, title, members, standing[title], contrasts)
            for title, members in groups.items()
        ),
        warnings=(*map(_as_sentence, rows.notes), *repeat_notes(configs), *_warnings(rows, groups)),
    )


def _answer(contrasts: Sequence[Contrast]) -> str:
    if not contrasts:
        return ""
    better = [f"{c.config.name} ({c.config.group})" for c in contrasts if c.better is c.config]
    tested = sum(c.p is not None for c in contrasts)
    of = f"{tested} of {_plural(len(contrasts), 'comparison')} could be tested"
    if not better:
        return f"No configuration is shown to improve on its baseline ({of})."
    return f"Shown to improve on the baseline: {_few(better)} ({of})."


def sentence(contrast: Contrast, aside: str = "") -> str:
    """Return what a comparison shows, or what it would take to show it.

    Args:
        contrast: the comparison.
        aside: stands behind the configuration's name.
    """
    subject, other = _called(contrast.config) + aside, _called(contrast.other)
    found, metric = contrast.difference, contrast.metric
    if contrast.is_shown:
        verb = "improves on" if contrast.better is contrast.config else "is worse than"
        return f"{subject} {verb} {other} by {_size(contrast)}"
    if contrast.p is None:
        apart = f"differs from {other} by {amount(found.mean, metric, '+')}"
        equal = apart if found.mean else f"scores exactly what {other} does"
        if found.n == 1:
            return f"{subject} {equal} in the one seed that both have, which shows no noise"
        return f"{subject} {equal} in each of {_seeds(contrast)}: equal ones show no noise"
    size = _plus_minus(found, metric, unit_of_change(metric), "+")
    interval = interval_text(found.interval, metric, "+")
    text = (
        f"for {subject} no difference from {other} can be shown with n = {found.n} "
        f"({size}; 95 % interval {interval}; {_p(contrast)})"
    )
    needed = contrast.seeds_needed
    if needed is None:
        return text
    return f"{text}; {seeds_text(needed)} seeds would be needed if the truth is as observed"


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
            *_rank(config, standing, len(measured) - 1),
            *_next_best(config, standing, measured, metric),
            *_flattered(config, measured),
        ]
    rest = [contrasts[id(m)] for m in members if m is not config and id(m) in contrasts]
    said += _others(rest)
    if SEQUENTIAL in rows.notes:
        said.append("These p-values do not account for seeds that a sequential test asked for")
    return f"{group}: {'. '.join(said)}."


def _choice(
    config: ConfigRow, contrast: Contrast | None, measured: Sequence[ConfigRow], metric: Metric
) -> str:
    """Return what was chosen, and how it stands to the baseline."""
    if contrast is not None:
        return sentence(contrast, ", chosen on validation,")
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


def _rank(config: ConfigRow, standing: Standing, others: int) -> list[str]:
    """Return from what the chosen configuration can be told, beyond its baseline."""
    if not others:
        return ["There is no other configuration to compare it with"]
    if config.is_baseline or (others == 1 and config.baseline is not None):
        return []  # the other sentences say it
    if standing.best is not None:
        return ["It is better than every other configuration, beyond the noise"]
    if len(standing.tied) == others:
        any_other = f"any of the {others} others" if others > 1 else "the other one"
        return [f"It cannot be distinguished from {any_other}"]
    above = [c.other for c in standing.contrasts if c.better is c.opponent(config)]
    said = [f"On test, {_named(above)} did better, beyond the noise"] if above else []
    if standing.tied:
        tied = f"{len(standing.tied)} of {others} others: {_named(standing.tied)}"
        said.append(f"It cannot be distinguished from {tied}")
    return said


def _next_best(
    config: ConfigRow, standing: Standing, measured: Sequence[ConfigRow], metric: Metric
) -> list[str]:
    """Return how the chosen configuration stands to the second best on validation."""
    second = by_validation(measured, metric)[1:2]
    return [
        f"Next on validation is {_called(second[0])}: {sentence(contrast)}"
        for contrast in standing.contrasts
        if second and contrast.opponent(config) is second[0] is not config.baseline
    ]


def _flattered(config: ConfigRow, measured: Sequence[ConfigRow]) -> list[str]:
    """Return what no interval of a choice accounts for: one set of seeds serves both splits."""
    if config.is_baseline or len(measured) < 3:
        return []
    return [
        f"As the best of {len(measured)} on validation it owes part of its score to luck with its "
        "seeds: expect less of it in new ones"
    ]


def _others(contrasts: Sequence[Contrast]) -> list[str]:
    """Return what is shown of the configurations that were not chosen, against the baseline."""
    if not contrasts:
        return []
    better = [c.config for c in contrasts if c.better is c.config]
    worse = [c.config for c in contrasts if c.better is c.other]
    if not better and not worse:
        count = len(contrasts)
        who = f"none of the {count} others shows a" if count > 1 else "the other one shows no"
        untested = [c.config for c in contrasts if c.p is None]
        aside = f" (no test is possible of {_named(untested)})" if untested else ""
        return [f"Against the baseline, {who} difference{aside}"]
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
    return _few([_called(config) for config in configs])


def _few(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _size(contrast: Contrast) -> str:
    """Return how large a difference is that is shown, without its sign."""
    found, metric = contrast.difference, contrast.metric
    size = found if found.mean > 0 else spread([-value for value in found.values])
    return (
        f"{_plus_minus(size, metric, unit_of_change(metric))} over {_seeds(contrast)} "
        f"(95 % interval {interval_text(size.interval, metric)}; {_p(contrast)})"
    )


def _seeds(contrast: Contrast) -> str:
    """Return the number of seeds of a comparison, and whether one of the two has more."""
    n = contrast.difference.n
    pair = (contrast.config, contrast.other)
    most = max(config.spreads[contrast.metric.name].n for config in pair)
    return f"the {n} seeds that both have" if n < most else f"{n} seeds"


def _p(contrast: Contrast) -> str:
    """Return the corrected p-value, and what it was corrected for."""
    assert contrast.p_holm is not None
    p = p_words(contrast.p_holm)
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
    scoreless = _scoreless(rows)
    aside = f" ({scoreless} without a finite {metric_name(rows.compared)})" if scoreless else ""
    parts = [f"{ended['done']} done{aside}", f"{ended['failed']} failed"]
    parts += [f"{ended['stopped']} stopped early"] if ended["stopped"] else []
    parts += [f"{ended['unfinished']} unfinished"] if ended["unfinished"] else []
    missing = max((rows.planned or 0) - count, 0)
    where = "not in the file" if rows.exported else "not started"
    parts += [f"{missing} {where}"] if missing else []
    parts.append(_refused(rows))
    return (
        f"{_plural(count + missing, 'trial')}: {', '.join(parts)}. "
        f"Seeds: {seeds(rows)}. Device: {devices(rows)}."
    )


def _scoreless(rows: StudyRows) -> int:
    """Return how many trials finished without a finite number."""
    return sum(t.status == "done" and t.score(rows.compared.name) is None for t in rows.trials)


def _refused(rows: StudyRows) -> str:
    if not rows.refused and not rows.refused_complete:
        return "what was refused is unknown"
    more = "" if rows.refused_complete else "at least "
    return f"{more}{_plural(len(rows.refused), 'combination')} refused"


def _warnings(rows: StudyRows, groups: Mapping[str, Sequence[ConfigRow]]) -> list[str]:
    warnings = []
    if not rows.trials:
        left_out = "No whole trial of this study can be reported yet."
        warnings.append(left_out if rows.notes else "No trial of this study has started.")
    if scoreless := _scoreless(rows):
        name = metric_name(rows.compared)
        warnings.append(
            f"{_plural(scoreless, 'finished trial')} without a finite {name}: in no mean."
        )
    for group, configs in groups.items():
        warnings += [f"{group}: {text}." for text in _gaps(configs, rows)]
    if is_mixed(rows):
        warnings.append(
            f"The trials were trained on different devices ({devices(rows)}): their scores are "
            "compared all the same; times, throughput and memory of training do not compare."
        )
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
        gaps.append("one seed shows no spread, and no difference can be distinguished from chance")
    elif len(counts) > 1:
        gaps.append(
            f"configurations have from {min(counts)} to {max(counts)} seeds: validation chooses by "
            "the mean over all of one, and two are compared over those that both have"
        )
    return gaps


def _as_sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}" + ("" if note.endswith(".") else ".")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
