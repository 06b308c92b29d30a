"""The scale plan: the simulation against queueing theory, and the document against the code."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
from cluster import compose

from benchmarks.scale.__main__ import (
    BEGIN,
    CASES,
    DOCUMENT,
    END,
    bottlenecks,
    check,
    costs_of,
    given,
    loads,
    outcomes,
    pending,
    write,
)
from benchmarks.scale.services import AUTH, DEPLOYED, SERVERS, auth_ini
from benchmarks.scale.simulation import (
    Case,
    Costs,
    Station,
    full_at,
    measured,
    offered,
    simulate,
)

FREE = Costs(
    result=0, turn=0, wait_per_gpu=0, start=0, begin=0, epoch=0, more=0, end=0, beat=0, look=0,
    digest=0, pending=8, latency=0,
)  # fmt: skip


@pytest.mark.parametrize("gpus", [4, 16, 40])
def test_closed_sweep_waits_as_mean_value_analysis_says(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines and one repairman, exact: GPUs train, and one exponential driver has each result."""
    service, drawn, serve = 0.05, random.Random(0), Station.serve
    monkeypatch.setattr(
        Station, "serve", lambda self, now, s: serve(self, now, s * drawn.expovariate(1))
    )
    case = Case("", epochs=4000, seconds=1.0, checkpoint=0, gpus=gpus, trials=gpus, spread=0.5)
    out = simulate(case, replace(FREE, result=service))
    queue = rate = stay = 0.0
    for count in range(1, gpus + 1):
        stay = service * (1 + queue)
        rate = count / (exp(0.5**2 / 2) + stay)
        queue = rate * stay
    assert out.epochs_per_second == pytest.approx(rate, rel=0.05)
    assert out.driver_wait == pytest.approx(stay - service, rel=0.1)
    assert out.driver == pytest.approx(rate * service, rel=0.05)


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


def test_station_is_full_with_so_many_gpus() -> None:
    costs = replace(FREE, result=0.01, epoch=0.02)
    assert full_at(CASES[0], costs, "delivery") == 20 / 0.02
    assert full_at(CASES[0], costs, "driver") == 20 / 0.01


def test_checkpoints_of_every_fifth_epoch_come_at_once() -> None:
    """The first saves of 16 GPUs queue one behind the other, however seldom they are."""
    case = Case("", epochs=10, seconds=1.0, checkpoint=1e6, gpus=16, trials=16, spread=0)
    costs = replace(FREE, bandwidth=1e6)
    saved = {n: simulate(replace(case, every=n), costs) for n in (1, 5)}
    assert saved[5].hours * 3600 == pytest.approx(5 + 2 * 16)  # one queue from the fifth epoch on
    assert saved[1].hours * 3600 == pytest.approx(1 + 160)
    assert saved[5].files * saved[5].hours == pytest.approx(saved[1].files * saved[1].hours / 5)


def test_costs_are_never_negative_and_say_so() -> None:
    names = [name for name in vars(FREE) if name not in ("pending", "bandwidth", "latency")]
    figures = {**dict.fromkeys(names, 0.5), "more": -0.25}
    assert costs_of(figures).more == 0
    assert "| more | 0 | measured -0.25, which is noise: taken as 0 |" in given(figures)


def test_document_follows_from_the_costs_that_it_names() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| ([\d.e+-]+) \| .* \|$", text, flags=re.MULTILINE)
    numbers = {name: float(value) for name, value in rows if name in vars(FREE)}
    costs = Costs(**{**numbers, "pending": int(numbers["pending"])})
    assert costs.pending == pending()
    assert loads(costs) in text
    assert bottlenecks(costs) in text
    assert (costs.bandwidth, costs.latency) == (FREE_BUT.bandwidth, 0.02)
    assert offered(CASES[0], measured(costs))["shared files"] == 0


def test_pending_is_what_tune_is_given() -> None:
    source = Path("sweep/orchestration/ray_tune.py").read_text(encoding="utf-8")
    assert f'"TUNE_MAX_PENDING_TRIALS_PG": "{pending()}"' in source


def test_document_has_the_tables_that_are_generated() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    generated = text.partition(BEGIN)[2].partition(END)[0]
    heads = re.findall(r"^(\|.*\|)\n\| ---", generated, flags=re.MULTILINE)
    small = [replace(case, gpus=4, trials=4) for case in CASES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.scale.__main__.CASES", small)
        tables = [outcomes(FREE_BUT), check(TUNE, FREE_BUT)]
    for table in tables:
        head, _, *rows = table.splitlines()
        assert head in heads
        assert len(rows) == len(_rows(generated, head))
    assert "Measured on 20" in generated


FREE_BUT = replace(FREE, result=0.001, turn=0.01, epoch=0.01, begin=0.1, end=0.05, look=0.001)
TUNE = {
    "cpu_result": [1.0], "cpu_trial": [5.0], "wall_result": [2.0, -1.0], "wall_trial": [9.0],
    "check_trials_per_second": [5.0],
}  # fmt: skip


def _rows(text: str, head: str) -> list[str]:
    lines = text.partition(f"{head}\n")[2].splitlines()[1:]
    return lines[: next(i for i, line in enumerate([*lines, ""]) if not line.startswith("|"))]


def test_server_of_the_bench_is_the_one_that_is_deployed() -> None:
    """docker-compose.yml has it; what Kubernetes has agrees with that in tests/deploy."""
    command, ini = _compose_mlflow()
    of_kind = ("--app-name", "--workers", "--uvicorn-opts", "--gunicorn-opts", "--waitress-opts")
    assert sorted(w for w in command if w.startswith(of_kind)) == sorted(SERVERS[DEPLOYED])
    deployed, own = _settings(ini), _settings(auth_ini("postgresql+pg8000://"))
    assert deployed.keys() == own.keys()
    assert {name: deployed[name] for name in AUTH} == AUTH
    in_kubernetes = Path("deploy/kubernetes/secrets/auth.ini.example").read_text(encoding="utf-8")
    assert {name: _settings(in_kubernetes)[name] for name in AUTH} == AUTH
    (workers,) = (word.partition("=")[2] for word in command if word.startswith("--workers"))
    lab = Path("deploy/kubernetes/lab/mlflow.env").read_text(encoding="utf-8")
    assert f"\nMLFLOW_WORKERS={workers}\n" in lab
    image = Path("deploy/requirements.lock").read_text(encoding="utf-8")
    assert "\nuvloop==" in image  # without, uvicorn is another server


def test_other_servers_of_the_bench_differ_in_one_thing() -> None:
    deployed = set(SERVERS[DEPLOYED])
    for kind, flags in SERVERS.items():
        assert len(deployed ^ set(flags)) == (kind != DEPLOYED), kind


def _compose_mlflow() -> tuple[list[str], str]:
    """Return the command of MLflow and the settings of its accounts, as Compose has them."""
    names = re.findall(r"\$\{(\w+):\?", compose.COMPOSE_FILE.read_text(encoding="utf-8"))
    mlflow = compose.read(dict.fromkeys(names, "x")).services["mlflow"]
    (ini,) = mlflow.configs.values()
    return list(mlflow.command or ()), ini.text


def _settings(ini: str) -> dict[str, str]:
    parser = ConfigParser()
    parser.read_string(ini)
    return dict(parser["mlflow"])


def test_prose_says_what_the_tables_show() -> None:
    prose, _, generated = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    head = "| sweep | full first, measured | "
    firsts = generated.partition(head)[2].splitlines()[2 : 2 + len(CASES)]
    assert all("| shared files, at" in row for row in firsts)  # what the GPUs wait for

    steps = re.findall(rf"^\| ([\w ]+) \| ({'|'.join(SERVERS)}) \| (.*) \|$", generated, re.M)
    assert {kind for _, kind, _ in steps} == set(SERVERS)
    fields = {(step, kind): figures.split(" | ") for step, kind, figures in steps}

    def total(kind: str, field: int) -> float:
        return sum(
            float(of[field].replace(",", "")) for (_, own), of in fields.items() if own == kind
        )

    for field in (SERVER_CPU, STATEMENTS, TRANSACTIONS):
        assert total(DEPLOYED, field) > total("no accounts", field)
    assert total("no uvloop", MILLISECONDS) > total(DEPLOYED, MILLISECONDS)

    (check,) = re.findall(r"a check of a password, ms of CPU \| ([\d.]+)", generated)
    assert float(check) > float(fields["epoch", DEPLOYED][SERVER_CPU])
    assert f"deployments set it to {AUTH['auth_cache_ttl_seconds']}," in prose


MILLISECONDS, SERVER_CPU, STATEMENTS, TRANSACTIONS = 0, 3, 6, 7
"""Columns of the steps, behind their name and the kind of the server."""


def test_tables_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "scale.md"
    path.write_text(f"Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n", encoding="utf-8")
    write("new", path)
    assert path.read_text(encoding="utf-8") == f"Before\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter\n"


def test_driver_is_measured_on_ray() -> None:
    """The smallest real run of the bench, in a process of its own: seconds, most of them Ray's."""
    code = (
        "import json; from benchmarks.scale import driver; driver.ACTORS = 1;"
        "runs = {name: (3, 1 + (name == 'long'), 0.0) for name in driver.RUNS};"
        "print(json.dumps(driver.measure_tune(runs, 1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(figures["start_seconds"]) == 2
    assert min(figures["start_seconds"] + figures["first_start_seconds"]) > 0
    assert figures["check_trials_per_second"][0] > 0
    assert {"cpu_result", "wall_trial", "wait_4096", "kib_a_trial", "mib_driver"} <= set(figures)


def test_bench_that_is_ended_ends_what_it_started() -> None:
    code = """
import subprocess, sys, time
from contextlib import ExitStack
from benchmarks.scale import __main__ as bench, services
def measure(kind, full):
    with ExitStack() as stack:
        service = subprocess.Popen(["sleep", "600"], start_new_session=True)
        stack.callback(services._end, service)
        print(service.pid, flush=True)
        time.sleep(600)
bench.measure_store = measure
bench.main()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        service = int(bench.stdout.readline())
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(60) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)
