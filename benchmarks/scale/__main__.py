"""The tables of docs/scale.md: measured on this machine, then simulated.

    python -m benchmarks.scale

measures for some minutes and writes the tables between the markers of the document.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.scale.driver import measure_ledger, tune_apart
from benchmarks.scale.simulation import Case, Costs, Outcome, first_full, offered, simulate
from benchmarks.scale.store import Store, measure_store

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
BEGIN, END = "<!-- begin: python -m benchmarks.scale -->", "<!-- end -->"
LADDER = (8, 64, 512, 4096)
CASES = (
    Case("CIFAR: 60 epochs of 20 s", 60, 20.0, checkpoint=11.2e6 * 8),
    Case("ImageNet: 100 epochs of 600 s", 100, 600.0, checkpoint=25.6e6 * 8, trials=2_560),
    Case("small: 10 epochs of 2 s", 10, 2.0, checkpoint=2.3e6 * 8),
)
"""Checkpoints: weights and momentum, in float32, of ResNet-18, ResNet-50 and MobileNetV2."""


def costs_of(tune: Mapping[str, float], store: Store) -> Costs:
    """Return the costs of a sweep whose every service is as it was measured here."""
    steps = {name: step.milliseconds / 1000 for name, step in store.steps.items()}
    waits = (tune["wait_4096"] - tune["wait_64"]) / (4096 - 64)
    return Costs(
        result=tune["cpu_result"] / 1000,
        turn=tune["cpu_trial"] / 1000,
        wait_per_gpu=max(0.0, waits) / 1000,
        start=tune["start_seconds"],
        begin=steps["begin"],
        epoch=steps["epoch"],
        more=max(0.0, steps["10 epochs"] - steps["epoch"]) / 9,
        end=steps["end"],
        beat=steps["heartbeat"],
        look=store.known["look, ms a run"] / 1000,
    )


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown; numbers with three digits."""

    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(f'{c:,.3g}' if isinstance(c, float) else str(c) for c in cells)} |"

    head = list(head)
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def machine(before: tuple[float, ...], after: tuple[float, ...]) -> str:
    """Return what the figures were measured on, and what else ran there."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "mlflow", "pg8000"))
    loads = ", ".join(f"{load[0]:.1f}" for load in (before, after))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({platform.machine()}), "
        f"load before and after {loads}; Python {platform.python_version()}, {packages}, "
        "PostgreSQL 15."
    )


def service_times(
    ledger: Mapping[str, tuple[float, str]],
    tune: Mapping[str, float],
    stores: Mapping[str, Store],
) -> str:
    """Return the tables of what each component takes for one thing."""
    rows: list[tuple[object, ...]] = [
        ("driver: one result (CPU)", tune["cpu_result"], "ms"),
        ("driver: one result (wall, both cores shared)", tune["wall_result"], "ms"),
        ("driver: end of a trial and start of the next (CPU)", tune["cpu_trial"], "ms"),
        ("driver: the same (wall)", tune["wall_trial"], "ms"),
        *(
            (f"driver: wait for one of {n:,} results", tune[f"wait_{n}"], "ms")
            for n in (8, *LADDER[1:])
        ),
        ("driver: memory of a trial", tune["kib_a_trial"], "KiB"),
        ("first worker process, imports and all", tune["start_seconds"], "s"),
        *((f"ledger: {name}", value, unit) for name, (value, unit) in ledger.items()),
    ]
    for store in stores.values():
        rows += [(f"MLflow: {name}", value, "") for name, value in store.known.items()]
    head = ("MLflow, per trial", "server", "ms", "CPU ms: own", "server", "PostgreSQL")
    steps = [
        (name, kind, *vars(store.steps[name]).values())
        for name in next(iter(stores.values())).steps
        for kind, store in stores.items()
    ]
    return "\n\n".join(
        [
            table(("what", "median", "unit"), rows),
            table((*head, "requests", "statements", "transactions"), steps),
        ]
    )


def per_second(store: Store) -> str:
    """Return what every station would see in a second, if no GPU ever waited."""
    steps = store.steps
    rows = []
    for case in CASES:
        epochs = case.gpus / case.seconds
        trials = epochs / case.epochs
        beats = case.gpus / 60
        happen = {"epoch": epochs, "begin": trials, "end": trials, "heartbeat": beats}
        total = {
            field: sum(rate * getattr(steps[name], field) for name, rate in happen.items())
            for field in ("requests", "statements", "transactions", "server_cpu", "postgres_cpu")
        }
        rows.append(
            (
                case.name, epochs, trials, epochs + 4 * trials, epochs * case.checkpoint / 1e6,
                total["requests"], total["statements"], total["transactions"],
                total["server_cpu"] / 1000, total["postgres_cpu"] / 1000,
            )
        )  # fmt: skip
    head = (
        "512 GPUs, each second", "results at the driver", "trials", "ledger appends",
        "checkpoints, MB", "MLflow requests", "SQL statements", "transactions",
        "MLflow cores", "PostgreSQL cores",
    )  # fmt: skip
    return table(head, rows)


def loads(costs: Costs) -> str:
    """Return the load of every station as GPUs are added, and which is full first."""
    rows: list[list[object]] = []
    for case in CASES:
        name, count = first_full(case, costs)
        for gpus in LADDER:
            load = offered(replace(case, gpus=gpus), costs)
            rows.append([case.name, gpus, *load.values(), f"{name}, at {count:,} GPUs"])
    head = ("load (1 is full)", "GPUs", *offered(CASES[0], costs), "full first")
    return table(head, rows)


def outcomes(costs: Costs, default: Costs) -> str:
    """Return what becomes of the trials, as it is and with each mend."""
    cifar, image_net, small = CASES

    def sparse(case: Case) -> Case:
        """Save every fifth epoch."""
        return replace(case, checkpoint=case.checkpoint / 5)

    quick = replace(costs, pending=64)
    ways: list[tuple[str, Case, Costs]] = [
        ("as it is", cifar, costs),
        ("MLflow's default server", cifar, default),
        ("64 workers start at once", cifar, quick),
        ("a checkpoint each fifth epoch", sparse(cifar), costs),
        ("both", sparse(cifar), quick),
        ("as it is", image_net, costs),
        ("as it is", small, costs),
        ("MLflow's default server", small, default),
        ("both", sparse(small), quick),
    ]
    head = (
        "512 GPUs", "trials", "way", "hours", "hours of the GPUs alone", "MLflow has all, h",
        "GPU idle, %", "driver busy", "files busy", "delivery busy", "wait for the driver, ms",
        "epochs behind, at most",
    )  # fmt: skip
    return table(
        head,
        ((case.name, f"{case.trials:,}", way, *_row(simulate(case, c))) for way, case, c in ways),
    )


def _row(out: Outcome) -> tuple[object, ...]:
    return (
        out.hours, out.ideal_hours, out.delivered_hours, 100 * out.idle, out.driver, out.files,
        out.delivery, 1000 * out.driver_wait, f"{out.backlog:,}",
    )  # fmt: skip


def check(tune: Mapping[str, float], costs: Costs) -> str:
    """Return the throughput of a real small run, beside what the simulation says of it."""
    from benchmarks.scale.driver import ACTORS, CHECK

    trials, epochs, seconds = CHECK
    case = Case("", epochs, seconds, checkpoint=0, gpus=ACTORS, trials=10 * trials, spread=0)
    rows = []
    for name in ("cpu", "wall"):
        own = replace(
            costs, result=tune[f"{name}_result"] / 1000, turn=tune[f"{name}_trial"] / 1000,
            wait_per_gpu=0.0, latency=0.0, start=0.0,
        )  # fmt: skip
        said, was = simulate(case, own).trials_per_second, tune["check_trials_per_second"]
        rows.append((name, said, was, said / was))
    return table(("driver's times", "simulated, trials/s", "measured, trials/s", "ratio"), rows)


def write(text: str, path: Path = DOCUMENT) -> None:
    """Put text in the place of what is between the markers of a document."""
    head, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def document(
    stores: Mapping[str, Store],
    tune: Mapping[str, float],
    ledger: Mapping[str, tuple[float, str]],
) -> str:
    """Return all tables."""
    costs = costs_of(tune, stores["gunicorn"])
    default = costs_of(tune, replace(stores["uvicorn"], known=stores["gunicorn"].known))
    sections = {
        "What one thing takes": service_times(ledger, tune, stores),
        "What every station would see": per_second(stores["gunicorn"]),
        "Where it is full first": loads(costs),
        "What becomes of the sweep (simulated)": outcomes(costs, default),
        "The simulation beside a real run": check(tune, costs),
    }
    return "\n\n".join(f"### {title}\n\n{content}" for title, content in sections.items())


def main() -> None:
    """Measure, simulate and write the tables."""
    before = os.getloadavg()
    kinds = ("gunicorn", "uvicorn")
    stores = {kind: measure_store(kind, full=kind == "gunicorn") for kind in kinds}
    tune, ledger = tune_apart(), measure_ledger()
    after = os.getloadavg()  # the simulation is a load too
    write(f"{machine(before, after)}\n\n{document(stores, tune, ledger)}")


if __name__ == "__main__":
    main()
