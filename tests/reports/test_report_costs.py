"""Measured costs in a report: which trial has which, what is said of them, and their table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reports.configs import config_rows
from reports.costs import cost_notes, last_costs, study_costs
from reports.rows import StudyRows, TrialRow, trials_frame
from reports.tables.cost import cost_table
from sweep.tracking import names
from sweep.tracking.measurements import Cost
from sweep.tracking.reading import RunRecord
from tests.tracking.test_measurements import COST as MEASURED

TORCH = "2.9.0"
COST = replace(
    MEASURED,
    device="GPU X",
    versions={"torch": TORCH},
    latency_ms=1.234,
    latency_iqr_ms=0.056,
    images_per_second=2000.4,
    peak_memory_gib=0.5,
    load=1.5,
    measured="2026-01-02T00:00:00+00:00",
    run_id="m",
    experiment_id="1",
)
SLOW = replace(COST, device="CPU Y", latency_ms=99.0, measured="2026-01-01T00:00:00+00:00")


def run(run_id: str, attention: str, seed: int) -> RunRecord:
    params = {"backbone": "resnet18", "attention": attention, "seed": str(seed)}
    return RunRecord(run_id, "1", run_id, "FINISHED", params, {"params_true": 11e6}, {})


def measurement(attention: str, cost: Cost = COST) -> RunRecord:
    """A run as sweep.tracking.measurements writes it."""
    params = {
        names.PRECISION: cost.precision,
        names.BATCH_SIZE: str(cost.throughput_batch_size),
        names.CHANNELS_LAST: str(cost.channels_last),
    }
    tags = {
        names.DEVICE: cost.device,
        names.HOST: cost.host,
        names.CORES: str(cost.cores),
        names.LOAD: str(cost.load),
        names.MEASURED: cost.measured,
        f"{names.ENVIRONMENT}torch": TORCH,
    }
    metrics = {
        "params_true": 11e6,
        "forward_latency_ms": cost.latency_ms,
        "forward_latency_iqr_ms": cost.latency_iqr_ms,
        "forward_images_per_second": cost.images_per_second,
        "forward_images_per_second_iqr": cost.images_per_second_iqr,
        "forward_peak_gib": cost.peak_memory_gib,
    }
    model = {"backbone": "resnet18", "attention": attention}
    return RunRecord(cost.run_id, "1", "cost", "FINISHED", model | params, metrics, tags)


TRIALS = [run("a", "none", 0), run("b", "none", 1), run("c", "se", 0)]


def test_every_seed_has_the_cost_of_its_model() -> None:
    costs = study_costs(TRIALS, [measurement("none"), measurement("eca")])
    assert costs == {"a": (COST,), "b": (COST,), "c": ()}
    assert last_costs(costs) == {"a": COST, "b": COST}
    assert cost_notes(costs) == (
        "1 trial without a measured cost of the model: `sweep profile` measures it, or says why "
        "it cannot",
    )


def test_study_that_was_not_measured_has_nothing_to_say() -> None:
    assert study_costs(TRIALS, []) == {}
    assert cost_notes(study_costs(TRIALS, [])) == ()
    assert cost_notes(study_costs(TRIALS, [measurement("eca")])) == ()


def test_costs_are_of_one_setting_and_others_are_told() -> None:
    runs = [measurement("none", SLOW), measurement("se", SLOW), measurement("none")]
    costs = study_costs(TRIALS, runs)
    assert costs["a"] == (SLOW, COST)
    assert last_costs(costs) == {"a": COST, "b": COST}  # and none of the slow device's for "c"
    settings, missing = cost_notes(costs)
    assert settings.startswith(
        "latency was measured in 2 settings on 2 types of devices: CPU Y, fp32, torch 2.9.0, "
        "batches of 32; GPU X, fp32,"
    )
    assert missing.startswith("1 trial without")


def test_memory_formats_do_not_compare() -> None:
    last = replace(COST, channels_last=True, measured="2026-01-03T00:00:00+00:00")
    costs = study_costs(TRIALS, [measurement("none"), measurement("none", last)])
    assert costs["a"] == (COST, last)
    assert last_costs(costs)["a"] == last
    assert "; GPU X, fp32, channels_last, torch 2.9.0, batches" in cost_notes(costs)[0]


def test_what_was_not_measured_side_by_side_is_told() -> None:
    later = replace(COST, measured="2026-01-03T00:00:00+00:00", host="there")
    (note,) = cost_notes(study_costs(TRIALS, [measurement("none"), measurement("se", later)]))
    assert "not all latencies were measured side by side" in note
    assert "2026-01-02T00:00:00+00:00 on here; 2026-01-03T00:00:00+00:00 on there" in note


def test_busy_host_is_told() -> None:
    busy = replace(COST, load=3.25)
    (note,) = cost_notes({"a": (busy,)})
    assert "(its load was up to 3.2 on 2 cores)" in note
    assert cost_notes({"a": (replace(COST, load=2.0),)}) == ()


@pytest.fixture
def measured(trial: Callable[..., TrialRow], study: Callable[..., StudyRows]) -> StudyRows:
    """A baseline measured twice, ELA measured once, SE not."""
    fields: dict[str, dict[str, Any]] = {
        "baseline": {"cost": COST, "costs": (SLOW, COST)},
        "ELA-B": {"cost": COST, "costs": (COST,), "macs": 2_000_000_000},
        "SE": {},
    }
    return study(trial(label, seed, **own) for label, own in fields.items() for seed in (0, 1))


def test_table_has_a_row_for_every_setting_and_every_configuration(measured: StudyRows) -> None:
    table = cost_table(measured, config_rows(measured))
    assert table is not None
    titles = [column.heading for column in table.columns]
    assert titles[3:] == [
        "MACs (G)",
        "Latency (ms)",
        "IQR (ms)",
        "Throughput (images/s)",
        "IQR (images/s)",
        "Peak memory (MiB)",
        "Device",
    ]
    (section,) = table.sections
    slow, baseline, ela, se = ([cell.text for cell in row] for row in section.rows)
    assert slow[0] == baseline[0] == "baseline"
    assert baseline[2:9] == ["11.200", "0.035", "1.23", "0.06", "2000", "125", "512.0"]
    assert (slow[4], slow[-1]) == ("99.00", "CPU Y, fp32, torch 2.9.0, batches of 32")
    assert ela[3] == "2.000"
    assert se == ["SE", "ResNet-18", "11.200", "0.035", *["–"] * 6]
    assert section.rows[1][4].sort == 1.234
    assert section.rows[1][4].runs == ("m",)
    assert len(table.records) == 4
    assert table.records[0]["latency_ms"] == 99.0
    assert ["2 settings" in table.notes[0], "2 trials without" in table.notes[1]] == [True, True]


def test_one_setting_is_said_in_the_caption(
    trial: Callable[..., TrialRow], study: Callable[..., StudyRows]
) -> None:
    own = {"cost": COST, "costs": (COST,)}
    peaks = enumerate([3.0, 3.5])
    rows = study(
        trial("baseline", seed, metrics={"peak_memory_gib": p}, **own) for seed, p in peaks
    )
    (config,) = config_rows(rows)
    assert config.cost == COST
    table = cost_table(rows, (config,))
    assert table is not None
    assert [column.heading for column in table.columns][-1] == "In training (GiB)"
    assert table.sections[0].rows[0][-1].text == "3.50"
    for words in ("on GPU X, fp32, torch 2.9.0", "batches of 32", "IQR", "meanwhile: at most 1.5"):
        assert words in table.caption


def test_table_of_nothing_is_none(
    trial: Callable[..., TrialRow], study: Callable[..., StudyRows]
) -> None:
    for rows in (study([trial("baseline", 0)]), study([])):
        assert cost_table(rows, config_rows(rows)) is None


def test_frame_has_costs_as_plain_columns(measured: StudyRows) -> None:
    frame = trials_frame(measured.trials)
    assert list(frame["cost.latency_ms"].dropna()) == [1.234] * 4
    assert set(frame["cost.device"].dropna()) == {"GPU X"}
    assert not {"cost", "costs", "cost.versions"} & set(frame.columns)
