"""What a study found, in sentences that claim no more than its seeds show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparisons import leader, noise
from reports.configs import ConfigRow, by_group
from reports.rows import StudyRows
from reports.stats import Spread
from reports.tables.scores import devices, metric_name, number, seeds
from sweep.tasks.base import Metric


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
    return Summary(
        trials=_trials(rows),
        findings=tuple(_finding(g, c, rows.compared) for g, c in groups.items()),
        warnings=(*rows.notes, *_warnings(rows, groups)),
    )


def amount(value: float, metric: Metric) -> str:
    """Return a difference with its unit ("0.42 points")."""
    unit = metric.label.partition(" (")[2].removesuffix(")").replace("%", "points")
    return f"{number(value, metric)} {unit}".rstrip()


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


def _finding(group: str, configs: Sequence[ConfigRow], metric: Metric) -> str:
    best, name = leader(configs, metric), metric_name(metric)
    if best is None:
        return f"{group}: no trial has finished with a finite {name}, so nothing can be said."
    spread = best.spreads[metric.name]
    unit = metric.label.partition(" (")[2].removesuffix(")")
    value = f"{number(spread.mean, metric)}{_std(spread, metric)} {unit}".strip()
    return (
        f"{group}: the best mean {name} is {value} over {_plural(spread.n, 'seed')}, of "
        f"{'the ' if best.is_baseline else ''}{best.name}{_change(best, metric)}. "
        f"{_certainty(configs, best, metric)}"
    )


def _change(best: ConfigRow, metric: Metric) -> str:
    change = best.differences.get(metric.name)
    if change is None:
        return ""
    unit = amount(0, metric).partition(" ")[2]
    value = f"{number(change.mean, metric, '+')}{_std(change, metric)} {unit}".rstrip()
    return f" ({value} against the baseline, paired over {_plural(change.n, 'seed')})"


def _std(spread: Spread, metric: Metric) -> str:
    return f" ± {number(spread.std, metric)}" if spread.std is not None else ""


def _certainty(configs: Sequence[ConfigRow], best: ConfigRow, metric: Metric) -> str:
    """Return how far the lead of the best can be told from the noise of the seeds."""
    others = [c.spreads[metric.name] for c in configs if c is not best and metric.name in c.spreads]
    own, level = best.spreads[metric.name], noise(configs, metric.name)
    if not others:
        return "There is no other configuration to compare it with."
    if level is None:
        return "No configuration has two seeds that differ: no difference can be told from noise."
    n = Counter(spread.n for spread in (own, *others)).most_common(1)[0][0]
    margin = amount(level.margin(n, n), metric)
    limit = f"With {_plural(n, 'seed')}, differences below {margin} are within the spread"
    within = sum(abs(own.mean - other.mean) <= level.margin(own.n, other.n) for other in others)
    if not within:
        return f"{limit}; it beats every other configuration by more."
    if within == len(others):
        return f"{limit}: no other configuration can be told from it."
    return f"{limit}: {within} of the {len(others)} others cannot be told from it."


def _warnings(rows: StudyRows, groups: dict[str, list[ConfigRow]]) -> list[str]:
    warnings = []
    if not rows.trials:
        warnings.append("No trial of this study has started.")
    for group, configs in groups.items():
        baselines = [c for c in configs if c.is_baseline]
        if not baselines:
            warnings.append(f"{group} has no baseline without attention: Δ cannot be computed.")
        elif not any(rows.compared.name in c.spreads for c in baselines):
            warnings.append(f"The baseline of {group} has no result: Δ cannot be computed.")
        spreads = [
            c.spreads[rows.compared.name] for c in configs if rows.compared.name in c.spreads
        ]
        if spreads and all(spread.n == 1 for spread in spreads):
            warnings.append(f"{group} has one seed: its rows show no spread.")
    if len({trial.device for trial in rows.trials if trial.device}) > 1:
        warnings.append("The trials ran on different devices.")
    return warnings


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
