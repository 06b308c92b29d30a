"""Measured costs of a study's models: what its trials are shown with, and what is to be said of it.

Two numbers compare only if one device measured them in one way. So all of a study are of one
setting, the one that was measured last; those of others are kept, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweep.devices import device_type
from sweep.tracking.measurements import Cost, costs_by_model, key_of_run
from sweep.tracking.reading import RunRecord

Costs = Mapping[str, tuple[Cost, ...]]
"""By the id of a trial's run: all measurements of its model, one of each setting."""


def study_costs(trials: Sequence[RunRecord], measurements: Sequence[RunRecord]) -> Costs:
    """Return what is known of the models of trials; the order of a model's is the order in time."""
    known = costs_by_model(measurements)
    return {run.run_id: known.get(key_of_run(run), ()) for run in trials} if known else {}


def last_costs(costs: Costs) -> Mapping[str, Cost]:
    """Return those of the setting that was measured last, by the id of a trial's run."""
    found = [cost for several in costs.values() for cost in several]
    if not found:
        return {}
    key = max(found, key=lambda cost: cost.measured).key
    return {run_id: c for run_id, several in costs.items() for c in several if c.key == key}


def setting_text(cost: Cost) -> str:
    """Return how a cost was measured, in words."""
    versions = ", ".join(f"{name} {version}" for name, version in cost.versions.items())
    layout = ", channels_last" if cost.channels_last else ""
    return f"{cost.device}, {cost.precision}{layout}, {versions}"


def measured_elsewhere(cost: Cost | None, costs: Sequence[Cost]) -> tuple[str, ...]:
    """Return the settings that a model was measured in, where it was not in the last one."""
    return () if cost is not None else tuple(dict.fromkeys(map(setting_text, costs)))


def cost_notes(costs: Costs) -> tuple[str, ...]:
    """Return what limits the comparison of a study's costs."""
    last = last_costs(costs)
    if not last:
        return ()
    return (
        *_on_settings(costs),
        *_on_occasions(last),
        *_on_load(last),
        *_on_missing(len(costs) - len(last)),
    )


def _on_settings(costs: Costs) -> tuple[str, ...]:
    settings = {
        cost.key: f"{setting_text(cost)}, batches of {cost.throughput_batch_size}"
        for several in costs.values()
        for cost in sorted(several, key=lambda cost: cost.measured)
    }
    if len(settings) == 1:
        return ()
    listed = "; ".join(settings.values())
    devices = {device_type(cost.device) for several in costs.values() for cost in several}
    on = f" on {len(devices)} types of devices" * (len(devices) > 1)
    return (
        f"latency was measured in {len(settings)} settings{on}: {listed}. The table of costs has "
        "all, any other place those of the last measurement: two settings do not compare",
    )


def _on_occasions(last: Mapping[str, Cost]) -> tuple[str, ...]:
    occasions = sorted({f"{cost.measured} on {cost.host}" for cost in last.values()})
    if len(occasions) == 1:
        return ()
    return (
        "not all latencies were measured side by side: a difference between models that were not "
        f"may be the machine's ({'; '.join(occasions)})",
    )


def _on_load(last: Mapping[str, Cost]) -> tuple[str, ...]:
    busiest = max(last.values(), key=lambda cost: cost.load / cost.cores)
    if busiest.load <= busiest.cores:
        return ()
    return (
        "the host had other work while latency was measured (its load was up to "
        f"{busiest.load:.1f} on {busiest.cores} cores): the interquartile ranges have it too",
    )


def _on_missing(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    trials = f"{count} trial{'s' * (count != 1)}"
    return (
        f"{trials} without a measured cost of the model: `sweep profile` measures it, or says why "
        "it cannot",
    )
