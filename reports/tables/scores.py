"""The main table, with the papers' columns: method, backbone, parameters, MACs, scores, difference.

Parameters are counted twice: by thop's convention, which the ELA paper prints (affine parameters of
GroupNorm are not counted), and truly. MACs are what the papers print as FLOPs. Latency and frames
per second have columns where they were measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.comparisons import Standing, standings
from reports.configs import ConfigRow, by_group, paired_runs
from reports.costs import measured_elsewhere, setting_text
from reports.facts import chosen, common, devices, recipes, seeds
from reports.printed import in_giga, metric_name, scaled, spread_cell, unit, unit_of_change
from reports.rows import STATUSES, StudyRows
from reports.stats import Spread
from reports.tables.base import MISSING, Cell, Column, Mark, Section, Table
from sweep.tasks.base import Metric

OF_COST = ("latency_ms", "images_per_second", "throughput_batch_size", "precision", "device")
"""Fields of a measured cost that a record has; cost.csv has all."""


def scores(rows: StudyRows, configs: Sequence[ConfigRow]) -> Table:
    """Return the table of all configurations."""
    metrics = printed_metrics(rows)
    giga = in_giga(config.macs for config in configs)
    timed = any(config.cost is not None for config in configs)
    marks = _marks(standings(configs, rows.compared))
    columns = _Columns(rows, metrics, giga, timed, marks)
    known = sorted({name for config in configs for name in config.hyperparameters})
    return Table(
        name="table",
        study=rows.study,
        title="Configurations",
        columns=columns.headings(),
        sections=tuple(
            Section(title=group, rows=tuple(columns.cells(config) for config in members))
            for group, members in by_group(configs).items()
        ),
        caption=caption(rows),
        limits=tuple(_limits(rows, configs)),
        notes=tuple(_notes(rows, configs, marks)),
        records=tuple(_record(config, known, rows.metrics) for config in configs),
    )


def printed_metrics(rows: StudyRows) -> tuple[Metric, ...]:
    """Return the metrics with a column: the compared one, and others that more of is better."""
    return tuple(m for m in rows.metrics if m is rows.compared or m.mode == "max")


def caption(rows: StudyRows) -> str:
    """Return what a table must say of its numbers: data, recipe, seeds, device, spread."""
    if not rows.trials:
        return ""
    return (
        f"{metric_name(rows.compared)} on the test split of {common(rows, 'dataset')}; "
        f"{common(rows, 'recipe.epochs')} epochs of {recipes(rows)}; "
        f"mean ± sample standard deviation over seeds {seeds(rows)} (number of seeds); "
        "Δ: against the baseline of the same backbone, paired by seed. "
        f"Trained on: {devices(rows)}."
    )


def incomplete_text(config: ConfigRow, metric: str) -> str:
    """Return how many trials of a configuration entered no mean, and why; empty if all did."""
    done = [trial for trial in config.trials if trial.status == "done"]
    counts = {
        "failed": config.count("failed"),
        "stopped early": config.count("stopped"),
        "unfinished": config.count("unfinished"),
        "finished without a finite number": sum(t.score(metric) is None for t in done),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if not parts:
        return ""
    return f"{config.group}, {config.name}: {', '.join(parts)} of {len(config.trials)} trials"


@dataclass(frozen=True)
class _Columns:
    """What the columns of one study's table are, and what they say of a configuration."""

    rows: StudyRows
    metrics: tuple[Metric, ...]
    giga: bool
    timed: bool
    marks: Mapping[int, Mark]
    """Of the compared metric, by configuration's identity as an object."""

    def headings(self) -> tuple[Column, ...]:
        compared = self.rows.compared
        change = Column(
            title=f"Δ{metric_name(compared)}", unit=unit_of_change(compared), kind="spread"
        )
        timed = (
            Column(title="Latency", unit="ms", kind="number"),
            Column(title="FPS", unit="images/s", kind="number"),
        )
        return (
            Column(title="Method"),
            Column(title="Backbone", names_group=True),
            Column(title="Params (thop)", unit="M", kind="number"),
            Column(title="Params", unit="M", kind="number"),
            Column(title="MACs", unit="G" if self.giga else "M", kind="number"),
            *(Column(title=metric_name(m), unit=unit(m), kind="spread") for m in self.metrics),
            change,
            *(timed if self.timed else ()),
        )

    def cells(self, config: ConfigRow) -> tuple[Cell, ...]:
        compared = self.rows.compared
        change = config.differences.get(compared.name)
        runs = tuple(trial.run_id for trial in config.trials)
        return (
            Cell(text=config.name, sort=config.name),
            Cell(text=config.backbone, sort=config.backbone),
            scaled(config.params_thop_like, 1e6, 3, runs),
            scaled(config.params_true, 1e6, 3, runs),
            scaled(config.macs, *((1e9, 3) if self.giga else (1e6, 2)), runs),
            *(self._score(config, metric) for metric in self.metrics),
            spread_cell(change, compared, self._paired_runs(config), sign="+"),
            *(self._timed(config) if self.timed else ()),
        )

    def _paired_runs(self, config: ConfigRow) -> tuple[str, ...]:
        if config.baseline is None:
            return ()
        return paired_runs(config, config.baseline, self.rows.compared.name)

    def _score(self, config: ConfigRow, metric: Metric) -> Cell:
        mark = self.marks.get(id(config), "") if metric is self.rows.compared else ""
        spread = config.spreads.get(metric.name)
        if spread is None and metric is self.rows.compared:
            return Cell(text=_why_not(config))
        return spread_cell(spread, metric, config.runs(metric.name), mark=mark)

    def _timed(self, config: ConfigRow) -> tuple[Cell, Cell]:
        if config.cost is None:
            return Cell(text=MISSING), Cell(text=MISSING)
        return (
            scaled(config.cost.latency_ms, 1, 2, (config.cost.run_id,)),
            scaled(config.cost.images_per_second, 1, 0, (config.cost.run_id,)),
        )


def _why_not(config: ConfigRow) -> str:
    """Return why a configuration has no score, in a word where all its trials have one reason."""
    found = {trial.status for trial in config.trials}
    words = {"done": "no score", "stopped": "stopped early"}
    status = found.pop()
    return MISSING if found else words.get(status, status)


def _marks(standing: Mapping[str, Standing]) -> dict[int, Mark]:
    marks: dict[int, Mark] = {}
    for group in standing.values():
        marks |= {id(config): "tied" for config in group.tied}
        if group.chosen is not None:
            marks[id(group.chosen)] = "chosen"
        if group.best is not None:
            marks[id(group.best)] = "best"
    return marks


def _notes(rows: StudyRows, configs: Sequence[ConfigRow], marks: Mapping[int, Mark]) -> list[str]:
    if not configs:
        return []
    lines = [
        "Params (thop): by thop's convention, as the ELA paper prints them, without the affine "
        "parameters of GroupNorm; Params: every one. MACs: one multiply-accumulate is one, of one "
        "image; the papers print MACs as FLOPs."
    ]
    lines.append(
        "Tested on the test split: t-tests paired by seed at the 5 % level, for each backbone with "
        "Holm's correction and one for having chosen."
        + ("" if "best" in marks.values() else " Nothing is bold: no row is shown to be the best.")
    )
    cost = next((config.cost for config in configs if config.cost is not None), None)
    if cost is not None:
        lines.append(
            f"Latency: median of one image; FPS: images per second in batches of "
            f"{cost.throughput_batch_size}; {setting_text(cost)}."
        )
    if chosen(rows):
        lines.append(f"Δ only where the baseline was trained with the same {chosen(rows)}.")
    return lines


def _limits(rows: StudyRows, configs: Sequence[ConfigRow]) -> Iterator[str]:
    for config in configs:
        if text := incomplete_text(config, rows.compared.name):
            yield f"Not in the means: {text}."
        if elsewhere := measured_elsewhere(config.cost, config.costs):
            yield (
                f"No latency here: {config.group}, {config.name}: measured only on "
                f"{'; '.join(elsewhere)}, which does not compare (the table of costs has it)."
            )
        if config.adjusted:
            yield f"Adjusted: {config.group}, {config.name}: {config.adjusted}."


def _record(
    config: ConfigRow, hyperparameters: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, object]:
    """Return a row for machines.

    Parameters and MACs are counts; ``pct`` columns are per cent, their differences points.
    """
    record: dict[str, object] = {
        "method": config.name,
        "group": config.group,
        "backbone": config.trials[0].backbone,
        "stem": config.stem,
        "weights": config.weights,
        "placement": config.placement,
        "attention": config.attention,
        "preset": config.preset,
        "part": config.part,
        **{f"attention.{key}": config.hyperparameters.get(key) for key in hyperparameters},
        **config.chosen,
        "params_true": config.params_true,
        "params_thop_like": config.params_thop_like,
        "params_no_norm": config.params_no_norm,
        "macs": config.macs,
        "macs_fvcore": config.macs_fvcore,
        "seeds": " ".join(str(trial.seed) for trial in config.trials),
        **{status: config.count(status) for status in STATUSES},
    }
    for metric in metrics:
        name = f"test_{metric.name}" + ("_pct" if metric.scale == 100 else "")
        record |= _spread_record(name, config.spreads.get(metric.name), metric)
        difference = config.differences.get(metric.name)
        record |= _spread_record(f"{name}_minus_baseline", difference, metric)
    cost = vars(config.cost) if config.cost is not None else {}
    return record | {name: cost.get(name) for name in OF_COST}


def _spread_record(name: str, spread: Spread | None, metric: Metric) -> dict[str, object]:
    fields = ("n", "mean", "std", "min", "max")
    if spread is None:
        return {f"{name}_{field}": 0 if field == "n" else None for field in fields}
    scaled = (
        None if value is None else round(value * metric.scale, 10)
        for value in (spread.mean, spread.std, spread.low, spread.high)
    )
    return dict(zip((f"{name}_{field}" for field in fields), (spread.n, *scaled), strict=True))
