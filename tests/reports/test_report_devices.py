"""A study of several types of devices: what says so, and what is never compared across them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reports.configs import config_rows
from reports.facts import devices, mix
from reports.figures.accuracy import LATENCY, MACS, caption, score_against
from reports.formats.comma_separated import comma_separated
from reports.formats.latex import latex
from reports.formats.markdown import markdown
from reports.html import Page, render
from reports.rows import StudyRows, TrialRow, study_rows, trials_frame
from reports.summary import summarise
from reports.tables.cost import cost_table
from reports.tables.scores import scores
from reports.tables.trials import all_trials
from sweep.devices import Stretch
from sweep.tracking import names
from sweep.tracking.reading import RunRecord, study_record
from tests.reports.test_report_costs import COST

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]

A100, V100 = "NVIDIA A100, 40 GiB", "Tesla V100, 16 GiB"
ON_A100 = replace(COST, device=A100, latency_ms=1.5, run_id="fast")
ON_V100 = replace(
    COST, device=V100, latency_ms=3.25, run_id="slow", measured="2026-01-01T00:00:00+00:00"
)
MOVED = (Stretch(A100, 1, 3), Stretch(V100, 4, 5))


def on(device: str, peak: float, **more: Any) -> dict[str, Any]:
    return {"device": device, "trained": (Stretch(device, 1, 5),), "peak": peak, **more}


@pytest.fixture
def rows(trial: Make, study: Study) -> StudyRows:
    """Baseline on A100; ELA on both, measured on both; SE on V100, one moved, measured there."""

    def make(label: str, seed: int, top1: float, peak: float, **more: Any) -> TrialRow:
        metrics = {"test_top1": top1, "peak_memory_gib": peak}
        return trial(label, seed, top1, metrics=metrics, **more)

    base = {"cost": ON_A100, "costs": (ON_A100,)}
    both = {"cost": ON_A100, "costs": (ON_V100, ON_A100)}
    slow = {"cost": None, "costs": (ON_V100,)}
    return study(
        [
            make("baseline", 0, 0.90, **on(A100, 2.0, **base)),
            make("baseline", 1, 0.91, **on(A100, 2.0, **base)),
            make("ELA", 0, 0.92, **on(A100, 2.5, **both)),
            make("ELA", 1, 0.93, **on(V100, 2.75, **both)),
            make("SE", 0, 0.90, **on(V100, 3.0, **slow)),
            make("SE", 1, 0.90, **on(V100, 3.0, **slow) | {"trained": MOVED}),
        ]
    )


def test_facts_tell_the_mix(rows: StudyRows) -> None:
    words = f"3 trials on {A100}; 2 on {V100}; 1 moved from {A100} to {V100}"
    assert devices(rows) == words
    configs = config_rows(rows)
    summary = summarise(rows, configs)
    assert f"Device: {words}." in summary.trials
    assert [w for w in summary.warnings if "trained on different devices" in w] == [
        f"The trials were trained on different devices ({words}): their scores are compared all "
        "the same; times, throughput and memory of training do not compare."
    ]
    assert f"Trained on: {words}." in scores(rows, configs).caption


def test_one_type_is_no_mix(trial: Make, study: Study) -> None:
    """Neither threads nor trials without a device make one; a GPU's memory does."""
    cpus = study([trial("ELA", n, device=f"EPYC, {n} threads") for n in (2, 4)])
    assert devices(cpus) == "EPYC, 2 threads; EPYC, 4 threads"
    assert not any("different devices" in w for w in summarise(cpus, config_rows(cpus)).warnings)
    small = study([trial("ELA", n, device=f"RTX 3060, {n} GiB") for n in (8, 12)])
    assert devices(small) == "1 trial on RTX 3060, 8 GiB; 1 on RTX 3060, 12 GiB"
    assert mix([(), ("A",), ("A",)]) == "2 trials on A"


def test_scores_compare_across_devices_and_latencies_do_not(rows: StudyRows) -> None:
    """By hand: ELA is 2 points above the baseline in both seeds, whatever it was trained on."""
    configs = config_rows(rows)
    table = scores(rows, configs)
    heads = [column.title for column in table.columns]
    cells = {row[0].text: row for section in table.sections for row in section.rows}
    assert cells["ELA"][heads.index("ΔTop-1")].text == "+2.00 ± 0.00 (2)"
    latency = {name: row[heads.index("Latency")].text for name, row in cells.items()}
    assert latency == {"baseline": "1.50", "ELA": "1.50", "SE": "–"}
    assert {t.cost.device for t in rows.trials if t.cost} == {A100}
    said = (
        f"No latency here: ResNet-18, SE: measured only on {V100}, fp32, torch 2.9.0, which does "
        "not compare (the table of costs has it)."
    )
    assert said in table.limits
    assert said in markdown(table)
    assert "measured only on Tesla V100" in latex(table)


def test_the_table_of_costs_marks_every_number_with_its_device(rows: StudyRows) -> None:
    table = cost_table(rows, config_rows(rows))
    assert table is not None
    (section,) = table.sections
    latency = [(row[0].text, row[4].text, row[4].device) for row in section.rows]
    assert latency == [
        ("baseline", "1.50", "a"),
        ("ELA", "3.25", "b"),
        ("ELA", "1.50", "a"),
        ("SE", "3.25", "b"),
    ]
    training = [(row[0].text, row[9].text, row[9].device) for row in section.rows]
    assert training == [
        ("baseline", "2.00", "a"),
        ("ELA", "2.75", "ab"),
        ("ELA", "2.75", "ab"),
        ("SE", "3.00", "b"),
    ]
    assert not {cell.mark for row in section.rows for cell in row} - {""}
    assert table.limits == (
        "Latency, throughput and peak memory: of different devices, and to be compared within one "
        f"only. a: {A100} (models of 4 trials); b: {V100} (models of 4 trials).",
        "Memory in training: of different devices, and to be compared within one only. "
        f"a: {A100} (trained in 3 trials); b: {V100} (trained in 3 trials).",
    )


def test_letters_are_in_the_order_of_the_rows(trial: Make, study: Study) -> None:
    kinds = [f"GPU {number}" for number in range(9)]
    costs = tuple(replace(COST, device=f"{kind}, 16 GiB") for kind in kinds)
    rows = study([trial("ELA", 0, costs=costs)])
    table = cost_table(rows, config_rows(rows))
    assert table is not None
    (section,) = table.sections
    assert [row[4].device for row in section.rows] == list("abcdefghi")


def test_every_format_tells_the_devices(rows: StudyRows) -> None:
    configs = config_rows(rows)
    table = cost_table(rows, configs)
    assert table is not None
    text = markdown(table)
    assert "| 3.25 [b] |" in text
    assert f"b: {V100} (models of 4 trials)" in text
    text = latex(table)
    assert r"3.25{\rlap{\textsuperscript{b}}}" in text
    assert f"a: {A100} (models of 4 trials)" in text
    lines = comma_separated(table).splitlines()
    assert {"device", "training_devices"} <= set(lines[0].split(","))
    assert sum(f'"{A100}"' in line for line in lines) == 2
    assert f'"{A100}; {V100}"' in lines[2]
    page = Page(rows=rows, configs=configs, summary=summarise(rows, configs), tables=[table])
    html = render(page)
    assert html.count("3.25<sup>b</sup>") == 2
    assert f"a: {A100} (models of 4 trials)" in html
    assert f"moved from {A100} to {V100}" in html
    assert f"{A100}: epochs 1 to 3; {V100}: epochs 4 to 5" in html


def test_one_device_needs_no_letter(trial: Make, study: Study) -> None:
    """Threads and precision are other settings of one device: they have rows, and no letter."""
    costs = (replace(COST, device="EPYC, 1 thread"), replace(COST, device="EPYC, 2 threads"))
    made = study([trial("baseline", 0, cost=costs[1], costs=costs)])
    table = cost_table(made, config_rows(made))
    assert table is not None
    assert table.limits == ()
    assert {cell.device for row in table.sections[0].rows for cell in row} == {""}
    assert "[a]" not in markdown(table)


def test_the_figure_of_latency_has_one_device_and_says_what_it_leaves_out(rows: StudyRows) -> None:
    configs = config_rows(rows)
    said = caption(rows, configs, LATENCY)
    assert f"the median latency of one image ({A100}, fp32, torch 2.9.0)" in said
    assert said.endswith(
        "Of these, measured on another device or in another way, which does not compare: 1 of "
        "ResNet-18 (SE)."
    )
    assert "another device" not in caption(rows, configs, MACS)
    (figure,) = score_against(rows, configs, LATENCY)
    labels = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(labels) == ["ELA", "baseline"]


def test_the_trials_are_listed_with_their_devices_where_these_differ(
    rows: StudyRows, trial: Make, study: Study
) -> None:
    table = all_trials(rows, config_rows(rows))
    assert table is not None
    place = [column.title for column in table.columns].index("Trained on")
    cells = [row[place].text for row in table.sections[0].rows]
    moved = f"{A100}: epochs 1 to 3; {V100}: epochs 4 to 5"
    assert cells == [A100, A100, A100, V100, V100, moved]
    alike = study([trial("ELA", 0)])
    table = all_trials(alike, config_rows(alike))
    assert table is not None
    assert "Trained on" not in [column.title for column in table.columns]


def test_the_frame_has_devices_and_nodes(rows: StudyRows) -> None:
    frame = trials_frame([*rows.trials, replace(rows.trials[0], trained=(), nodes="n1, n2")])
    assert frame["devices"][5] == f"{A100}: epochs 1 to 3; {V100}: epochs 4 to 5"
    assert (frame["devices"][6], frame["nodes"][6]) == ("", "n1, n2")
    assert frame["device"][5] == V100
    assert "trained" not in frame


def run(seed: int, device: str, latency: float | None, **tags: str) -> RunRecord:
    params = {"backbone": "resnet18", "stem": "cifar", "weights": "none", "attention": "none"}
    params |= {"seed": str(seed), "task": "classification", "recipe.epochs": "5"}
    metrics = {} if latency is None else {"latency_ms": latency}
    known = {names.DEVICE: device, names.per_sweep(names.ORDER, "s"): str(seed)}
    return RunRecord(f"r{seed}", "1", "r", "FINISHED", params, metrics, known | tags)


def read(*runs: RunRecord) -> StudyRows:
    parent = RunRecord("p", "1", "s", "FINISHED", {}, {}, {names.STUDY: "s"})
    return study_rows(study_record(parent, runs))


def test_what_trained_a_run_is_read_back() -> None:
    tag = '[["NVIDIA A100, 40 GiB", 1, 3], ["Tesla V100, 16 GiB", 4, 5]]'
    runs = (
        run(0, V100, None, **{names.DEVICES: tag, names.NODES: "n1 (10.0.0.1), n2 (10.0.0.2)"}),
        run(1, "GPU X", None),
        run(2, A100, None, **{names.DEVICES: "{of another version"}),
    )
    moved, old, odd = read(*runs).trials
    assert (moved.trained, moved.nodes) == (MOVED, "n1 (10.0.0.1), n2 (10.0.0.2)")
    assert moved.device_types == (A100, V100)
    assert (old.trained, old.nodes, old.device_types) == ((), "", ("GPU X",))
    assert odd.device_types == (A100,)


def test_latencies_that_a_search_met_on_several_devices_are_told() -> None:
    mixed = read(run(0, A100, 1.0), run(1, A100, 1.1), run(2, V100, 3.0), run(3, V100, None))
    (note,) = (said for said in mixed.notes if "latency" in said)
    assert "was measured on different devices, whose times do not compare" in note
    assert f": 2 trials on {A100}; 1 trial on {V100}. The search was told that of one" in note
    same = read(run(0, A100, 1.0), run(1, A100, 1.1), run(2, V100, None))
    assert not any("latency" in said for said in same.notes)
