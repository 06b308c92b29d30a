"""The table of measured costs: latency, throughput and memory beside what is counted.

A row for each configuration, and for each setting that it was measured in, where these are several.
Where a column has numbers of several types of devices, each has the letter of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from reports.configs import ConfigRow, by_group
from reports.costs import cost_notes, setting_text
from reports.printed import in_giga, scaled
from reports.rows import StudyRows
from reports.tables.base import MISSING, Cell, Column, Section, Table
from sweep.devices import UNKNOWN, device_type
from sweep.tracking.measurements import Cost


@dataclass(frozen=True)
class Units:
    """Whether numbers are large."""

    giga_macs: bool
    gib: bool
    """Of memory; else MiB."""


def cost_table(rows: StudyRows, configs: Sequence[ConfigRow]) -> Table | None:
    """Return the table of a study's measured costs; None if nothing was measured."""
    costs = [cost for config in configs for cost in config.costs]
    if not costs:
        return None
    units = Units(
        giga_macs=in_giga(config.macs for config in configs),
        gib=any(cost.peak_memory_gib >= 1 for cost in costs),
    )
    several = len({cost.key for cost in costs}) > 1
    trained = any(config.training_peak_gib is not None for config in configs)
    letters = _letters(configs)
    sections = tuple(
        Section(
            title=group,
            rows=tuple(
                (
                    *_counted(config, units),
                    *_measured(cost, units, letters),
                    *([_training(config, letters)] if trained else []),
                    *([_setting(cost)] if several else []),
                )
                for config in members
                for cost in config.costs or (None,)
            ),
        )
        for group, members in by_group(configs).items()
    )
    return Table(
        name="cost",
        study=rows.study,
        title="Measured costs",
        columns=_columns(units, trained=trained, several=several),
        sections=sections,
        caption=_caption(rows, costs),
        limits=tuple(_limits(configs, letters)),
        notes=cost_notes({trial.run_id: trial.costs for trial in rows.trials}),
        records=[_record(c, cost) for c in configs for cost in c.costs or (None,)],
    )


def _columns(units: Units, *, trained: bool, several: bool) -> tuple[Column, ...]:
    return (
        Column(title="Method"),
        Column(title="Backbone", names_group=True),
        Column(title="Params", unit="M", kind="number"),
        Column(title="MACs", unit="G" if units.giga_macs else "M", kind="number"),
        Column(title="Latency", unit="ms", kind="number"),
        Column(title="IQR", unit="ms", kind="number"),
        Column(title="Throughput", unit="images/s", kind="number"),
        Column(title="IQR", unit="images/s", kind="number"),
        Column(title="Peak memory", unit="GiB" if units.gib else "MiB", kind="number"),
        *([Column(title="In training", unit="GiB", kind="number")] if trained else []),
        *([Column(title="Device")] if several else []),
    )


def _counted(config: ConfigRow, units: Units) -> tuple[Cell, ...]:
    return (
        Cell(text=config.name, sort=config.name, runs=tuple(t.run_id for t in config.trials)),
        Cell(text=config.backbone, sort=config.backbone),
        scaled(config.params_true, 1e6, 3),
        scaled(config.macs, 1e9, 3) if units.giga_macs else scaled(config.macs, 1e6, 2),
    )


def _letters(configs: Sequence[ConfigRow]) -> Mapping[str, str]:
    """Return a letter for every type of device; none where every column has one type alone."""
    columns = (_measured_on(configs), _trained_on(configs))
    mixed = dict.fromkeys(kind for column in columns if len(column) > 1 for kind in column)
    return dict(zip(mixed, ascii_lowercase, strict=False))


def _measured_on(configs: Sequence[ConfigRow]) -> Mapping[str, int]:
    """Return the types of devices that models were measured on, with the number of trials."""
    return Counter(
        kind
        for config in configs
        for kind in dict.fromkeys(device_type(cost.device) for cost in config.costs)
        for _ in config.trials
    )


def _trained_on(configs: Sequence[ConfigRow]) -> Mapping[str, int]:
    """Return the types of devices of which the peak of training is, with the number of trials."""
    return Counter(
        device_type(trial.device) or UNKNOWN
        for config in configs
        for trial in config.trials
        if "peak_memory_gib" in trial.metrics
    )


def _limits(configs: Sequence[ConfigRow], letters: Mapping[str, str]) -> Iterator[str]:
    """Yield which columns have numbers of several devices."""
    columns = {
        "Latency, throughput and peak memory": ("models of", _measured_on(configs)),
        "Memory in training": ("trained in", _trained_on(configs)),
    }
    for column, (verb, counts) in columns.items():
        if len(counts) > 1:
            listed = "; ".join(
                f"{letters.get(device, '')}: {device} ({verb} {count} trial{'s' * (count > 1)})"
                for device, count in counts.items()
            )
            yield f"{column}: of different devices, and to be compared within one only. {listed}."


def _measured(cost: Cost | None, units: Units, letters: Mapping[str, str]) -> tuple[Cell, ...]:
    if cost is None:
        return (Cell(text=MISSING),) * 5
    runs = (cost.run_id,)
    memory = (1.0, 2) if units.gib else (1 / 1024, 1)
    cells = (
        scaled(cost.latency_ms, 1, 2, runs),
        scaled(cost.latency_iqr_ms, 1, 2, runs),
        scaled(cost.images_per_second, 1, 0, runs),
        scaled(cost.images_per_second_iqr, 1, 0, runs),
        scaled(cost.peak_memory_gib, *memory, runs),
    )
    device = letters.get(device_type(cost.device), "")
    return tuple(replace(cell, device=device) for cell in cells)


def _training(config: ConfigRow, letters: Mapping[str, str]) -> Cell:
    cell = scaled(config.training_peak_gib, 1, 2, tuple(t.run_id for t in config.trials))
    device = "".join(sorted(letters.get(kind, "") for kind in _trained_on([config])))
    return replace(cell, device=device)


def _setting(cost: Cost | None) -> Cell:
    if cost is None:
        return Cell(text=MISSING)
    text = f"{setting_text(cost)}, batches of {cost.throughput_batch_size}"
    return Cell(text=text, sort=text)


def _caption(rows: StudyRows, costs: Sequence[Cost]) -> str:
    where = f" on {setting_text(costs[-1])}" if len({cost.key for cost in costs}) == 1 else ""
    batches = " or ".join(map(str, sorted({cost.throughput_batch_size for cost in costs})))
    detection = any(trial.settings.get("task") == "detection" for trial in rows.trials)
    return (
        f"Costs of {rows.study}: forward passes in eval mode"
        f"{', without postprocessing' * detection}, measured{where} after a warm-up, the models "
        f"taking turns. Latency: of one image. Throughput and peak memory: of batches of {batches}."
        " Medians over the rounds, with the interquartile range (IQR) of all passes. Peak memory: "
        "weights, images and what a pass makes of them. Parameters: all. Load of the host "
        f"meanwhile: at most {max(cost.load for cost in costs):.1f}."
    )


def _record(config: ConfigRow, cost: Cost | None) -> dict[str, object]:
    record: dict[str, object] = {
        "method": config.name,
        "backbone": config.trials[0].backbone,
        "group": config.group,
        "params_true": config.params_true,
        "macs": config.macs,
        "training_peak_gib": config.training_peak_gib,
        "training_devices": "; ".join(_trained_on([config])),
    }
    if cost is None:
        return record
    measured = {key: value for key, value in vars(cost).items() if key != "versions"}
    return record | measured | {f"env.{key}": value for key, value in cost.versions.items()}
