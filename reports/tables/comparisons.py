"""The table of comparisons: each configuration against the baseline of its recipe, tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.comparisons import Contrast, against_baseline
from reports.configs import ConfigRow, by_group, paired_runs
from reports.printed import (
    interval_text,
    metric_name,
    probability_text,
    seeds_text,
    spread_cell,
    unit_of_change,
)
from reports.rows import StudyRows
from reports.stats import LEVEL, POWER, Interval
from reports.tables.base import MISSING, Cell, Column, Section, Table
from sweep.tasks.base import Metric


def comparisons(rows: StudyRows, configs: Sequence[ConfigRow]) -> Table | None:
    """Return the table; None for a study without a configuration to compare with a baseline."""
    metric = rows.compared
    modules = [config for config in configs if not config.is_baseline]
    if not modules:
        return None
    found = {id(contrast.config): contrast for contrast in against_baseline(configs, metric)}
    resampled = any(contrast.difference.bootstrap for contrast in found.values())
    return Table(
        name="comparisons",
        study=rows.study,
        title="Comparisons with the baseline",
        columns=_columns(metric, resampled=resampled),
        sections=tuple(
            Section(
                title=group,
                rows=tuple(
                    _cells(config, found.get(id(config)), metric, resampled=resampled)
                    for config in members
                ),
            )
            for group, members in by_group(modules).items()
        ),
        caption=_caption(metric, sum(contrast.p is not None for contrast in found.values())),
        notes=NOTES,
        records=tuple(_record(config, found.get(id(config)), metric) for config in modules),
    )


def _columns(metric: Metric, *, resampled: bool) -> tuple[Column, ...]:
    unit = unit_of_change(metric)
    return (
        Column(title="Method"),
        Column(title="Backbone", names_group=True),
        Column(title=f"Δ{metric_name(metric)}", unit=unit, kind="spread"),
        Column(title="95 % interval, t", unit=unit),
        *([Column(title="95 % interval, bootstrap", unit=unit)] if resampled else []),
        Column(title="Effect size", kind="number"),
        Column(title="p", kind="number"),
        Column(title="p (Holm)", kind="number"),
        Column(title="P(improvement)", kind="number"),
        Column(title="Seeds needed", kind="number"),
    )


def _cells(
    config: ConfigRow, contrast: Contrast | None, metric: Metric, *, resampled: bool
) -> tuple[Cell, ...]:
    names = (
        Cell(text=config.name, sort=config.name),
        Cell(text=config.backbone, sort=config.backbone),
    )
    if contrast is None:
        return (*names, *[Cell(text=MISSING)] * (7 + resampled))
    spread, seeds = contrast.difference, contrast.seeds_needed
    runs = paired_runs(contrast.config, contrast.other, metric.name)
    needed = MISSING if seeds is None else seeds_text(seeds).removeprefix("about ")
    derived = (
        _interval(spread.interval, metric),
        *([_interval(spread.bootstrap, metric)] if resampled else []),
        _number(contrast.effect_size, "+"),
        Cell(text=probability_text(contrast.p), sort=contrast.p),
        Cell(text=probability_text(contrast.p_holm), sort=contrast.p_holm),
        _number(contrast.improvement),
        Cell(text=needed, sort=seeds),
    )
    return (
        *names,
        spread_cell(spread, metric, runs, sign="+"),
        *(replace(cell, runs=() if cell.text == MISSING else runs) for cell in derived),
    )


def _interval(interval: Interval | None, metric: Metric) -> Cell:
    low = None if interval is None else interval.low * metric.scale
    return Cell(text=interval_text(interval, metric, "+"), sort=low)


def _number(value: float | None, sign: str = "") -> Cell:
    return Cell(text=MISSING if value is None else f"{value:{sign}.2f}", sort=value)


def _caption(metric: Metric, family: int) -> str:
    return (
        f"Test {metric_name(metric)} of each configuration minus that of the baseline of the same "
        "backbone and recipe, seed by seed: mean ± sample standard deviation (number of seeds "
        f"that both have). p (Holm) below {LEVEL} shows a difference; it is corrected for all "
        f"{family} comparisons of the study that have a p-value."
    )


NOTES = (
    "95 % interval, t: Student's, of the mean difference; bootstrap: studentized, from five seeds "
    "on, as with fewer it would hold the difference less often than it says; ties can leave it "
    "without a bound. Each interval is by itself, corrected for nothing.",
    "Effect size: mean over standard deviation of the differences (Cohen's d_z), with Hedges' "
    "correction for few seeds, from three on.",
    "p: two-sided paired t-test. p (Holm): by Holm's method.",
    "P(improvement): share of all pairs of one of its runs and one of the baseline's in which it "
    "is better, equal ones half (Mann-Whitney's U over the number of pairs); from two seeds on. It "
    "is a share of few pairs: with three seeds one of two equals has 1.00 in one of twenty cases.",
    "Seeds needed, where no difference is shown: for a paired t-test to show it with probability "
    f"{POWER} at the level of Holm's strictest step, if the true difference and spread are the "
    "observed ones. Few seeds know these badly.",
    f"{MISSING}: no seed that both have, or too few of them, or differences that are all equal: "
    "equal ones show no noise to judge them by.",
)


def _record(config: ConfigRow, contrast: Contrast | None, metric: Metric) -> Mapping[str, object]:
    """Return a row for machines; differences are points where the metric is named ``pct``."""
    return {
        "method": config.name,
        "group": config.group,
        "metric": f"test_{metric.name}" + ("_pct" if metric.scale == 100 else ""),
        "n": contrast.difference.n if contrast else 0,
        **(_numbers(contrast, metric) if contrast else dict.fromkeys(NUMBERS)),
    }


NUMBERS = (
    "difference_mean",
    "difference_std",
    "difference_t_low",
    "difference_t_high",
    "difference_bootstrap_low",
    "difference_bootstrap_high",
    "effect_size",
    "p",
    "p_holm",
    "improvement",
    "seeds_needed",
)
"""Of a record; ``seeds_needed`` ends at ``MOST_SEEDS`` + 1, which stands for more."""


def _numbers(contrast: Contrast, metric: Metric) -> dict[str, float | None]:
    spread = contrast.difference
    stored = (spread.mean, spread.std, *_bounds(spread.interval), *_bounds(spread.bootstrap))
    numbers = (
        *(None if value is None else round(value * metric.scale, 10) for value in stored),
        contrast.effect_size,
        contrast.p,
        contrast.p_holm,
        contrast.improvement,
        contrast.seeds_needed,
    )
    return dict(zip(NUMBERS, numbers, strict=True))


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
