"""The scale plan: the simulation against queueing theory, and the document against the tables."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale.__main__ import BEGIN, CASES, DOCUMENT, END, check, loads, outcomes, write
from benchmarks.scale.simulation import Case, Costs, Station, first_full, offered, simulate

FREE = Costs(
    result=0, turn=0, wait_per_gpu=0, start=0, begin=0, epoch=0, more=0, end=0, beat=0, look=0,
    latency=0,
)  # fmt: skip


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_station_waits_as_the_closed_form_says(load: float) -> None:
    """M/D/1: Poisson arrivals and a fixed service s wait s load / (2 (1 - load)) in the mean."""
    station, arrivals, now = Station(), random.Random(0), 0.0
    for _ in range(200_000):
        now += arrivals.expovariate(load)
        station.serve(now, 1.0)
    assert station.waited / station.served == pytest.approx(load / (2 * (1 - load)), rel=0.05)
    assert station.busy / now == pytest.approx(load, rel=0.02)


def test_sweep_without_costs_takes_the_gpus_time_alone() -> None:
    case = Case("", epochs=5, seconds=2.0, checkpoint=0, gpus=4, trials=8, spread=0)
    out = simulate(case, FREE)
    assert out.hours * 3600 == pytest.approx(2 * 5 * 2.0)  # two trials on each
    assert out.idle == pytest.approx(0)


def test_driver_that_is_full_sets_the_pace() -> None:
    case = Case("", epochs=10, seconds=0.1, checkpoint=0, gpus=64, trials=256, spread=0.1)
    costs = replace(FREE, result=0.01, turn=0.05)  # 15 ms an epoch: 64 GPUs want 640 a second
    out = simulate(case, costs)
    assert offered(case, costs)["driver"] == pytest.approx(640 * 0.015)
    assert out.epochs_per_second == pytest.approx(1 / 0.015, rel=0.05)
    assert out.driver == pytest.approx(1, abs=0.03)


def test_load_of_an_idle_driver_is_what_is_offered() -> None:
    case = Case("", epochs=10, seconds=10.0, checkpoint=1e6, gpus=32, trials=320, spread=0)
    costs = replace(FREE, result=0.05, turn=0.1, bandwidth=1e8)
    out, load = simulate(case, costs), offered(case, costs)
    assert out.driver == pytest.approx(load["driver"], rel=0.1)
    assert out.files == pytest.approx(load["shared files"], rel=0.1)


def test_delivery_that_falls_behind_delivers_all_in_the_end() -> None:
    case = Case("", epochs=10, seconds=1.0, checkpoint=0, gpus=16, trials=64)
    slow = simulate(case, replace(FREE, begin=1.0, epoch=0.2, more=0.01, end=1.0))
    quick = simulate(case, replace(FREE, begin=0.001, epoch=0.001, end=0.001))
    assert slow.hours == quick.hours  # nobody waits for it
    assert slow.delivered_hours > 1.5 * slow.hours
    assert slow.backlog > 3 * quick.backlog
    assert quick.delivered_hours * 3600 < quick.hours * 3600 + 3


def test_first_full_station_is_full_with_so_many_gpus() -> None:
    costs = replace(FREE, result=0.01, epoch=0.02)
    name, gpus = first_full(replace(CASES[0], checkpoint=0), costs)
    assert (name, gpus) == ("delivery", 20 / 0.02)


def test_document_has_the_tables_that_are_generated() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    generated = text.partition(BEGIN)[2].partition(END)[0]
    heads = re.findall(r"^(\|.*\|)\n\| ---", generated, flags=re.MULTILINE)
    small = [replace(case, gpus=4, trials=4) for case in CASES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.scale.__main__.CASES", small)
        tables = [loads(FREE_BUT), outcomes(FREE_BUT, FREE_BUT), check(TUNE, FREE_BUT)]
    for table in tables:
        head, _, *rows = table.splitlines()
        assert head in heads
        assert len(rows) == len(_rows(generated, head))
    assert "Measured on 20" in generated


FREE_BUT = replace(FREE, result=0.001, turn=0.01, epoch=0.01, begin=0.1, end=0.05, look=0.001)
TUNE = {
    "cpu_result": 1.0, "cpu_trial": 5.0, "wall_result": 2.0, "wall_trial": 9.0,
    "check_trials_per_second": 5.0,
}  # fmt: skip


def _rows(text: str, head: str) -> list[str]:
    lines = text.partition(f"{head}\n")[2].splitlines()[1:]
    return lines[: next(i for i, line in enumerate([*lines, ""]) if not line.startswith("|"))]


def test_tables_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "scale.md"
    path.write_text(f"Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n", encoding="utf-8")
    write("new", path)
    assert path.read_text(encoding="utf-8") == f"Before\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter\n"
