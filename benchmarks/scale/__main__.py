"""The tables of docs/scale.md: measured on this machine, then simulated.

    python -m benchmarks.scale

measures for some minutes and writes the tables between the markers of the document.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

from benchmarks.scale.driver import ACTORS, KNOWN, RUNS, measure_ledger, tune_apart
from benchmarks.scale.services import DEPLOYED, SERVERS
from benchmarks.scale.simulation import (
    ASSUMED,
    Case,
    Costs,
    Outcome,
    full_at,
    measured,
    offered,
    simulate,
)
from benchmarks.scale.store import Store, measure_store

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
BEGIN, END = "<!-- begin: python -m benchmarks.scale -->", "<!-- end -->"
LADDER = (8, 64, 512, 4096)
FILES = "shared files"
TRIALS = 10_000
PASSES = 3
"""Over all histories, when a command starts over a sweep: the first figures in seconds of the
ledger."""
BEST = 1 / 3
"""Assumed: the part of the epochs that are the best so far."""
CASES = (
    Case("CIFAR: 60 epochs of 20 s", 60, 20.0, checkpoint=11.2e6 * 8, best=BEST),
    Case(
        "ImageNet: 100 epochs of 600 s (2,560 trials)",
        100,
        600.0,
        checkpoint=25.6e6 * 8,
        best=BEST,
        trials=2_560,
    ),
    Case("small: 10 epochs of 2 s", 10, 2.0, checkpoint=2.3e6 * 8, best=BEST),
)
"""Checkpoints: weights and momentum, in float32, of ResNet-18, ResNet-50 and MobileNetV2."""


def measured_costs(
    tune: Mapping[str, list[float]], ledger: Mapping[str, tuple[float, str]], store: Store
) -> dict[str, float]:
    """Return the seconds of ``Costs`` as they came out; differences of noise may be negative."""
    of = {name: median(values) / 1000 for name, values in tune.items()}
    steps = {name: step.milliseconds / 1000 for name, step in store.steps.items()}
    return {
        "result": of["cpu_result"],
        "turn": of["cpu_trial"],
        "wait_per_gpu": (of["wait_4096"] - of["wait_64"]) / (4096 - 64),
        "start": median(tune["start_seconds"]),
        "begin": steps["begin"],
        "epoch": steps["epoch"],
        "more": (steps["10 epochs"] - steps["epoch"]) / 9,
        "end": steps["end"],
        "beat": steps["heartbeat"],
        "look": store.known["look, ms a run"] / 1000,
        "digest": ledger["SHA-256 of a checkpoint, 1 MB"][0] / 1e9,
    }


def costs_of(figures: Mapping[str, float]) -> Costs:
    """Return the costs of a sweep, to as many digits as the document has; none is negative."""
    return Costs(**{k: float(f"{max(0.0, v):.6g}") for k, v in figures.items()}, pending=pending())


def pending() -> int:
    """Return how many workers Tune starts at once, as the product sets it."""
    from sweep.orchestration.ray_tune import QUIET

    return int(QUIET["TUNE_MAX_PENDING_TRIALS_PG"])


def given(figures: Mapping[str, float]) -> str:
    """Return the costs that all below is computed from, and where each is from."""
    rows = []
    for name, value in vars(costs_of(figures)).items():
        origin = "assumed" if name in ASSUMED else "measured"
        if name == "pending":
            origin = "`QUIET` in `sweep/orchestration/ray_tune.py`"
        elif figures.get(name, 0.0) < 0:
            origin = f"measured {figures[name]:.3g}, which is noise: taken as 0"
        rows.append((name, f"{value:.6g}", origin))
    return table(("cost", "seconds, or as `Costs` says", "from"), rows)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown; numbers with three digits."""

    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(f'{c:,.3g}' if isinstance(c, float) else str(c) for c in cells)} |"

    head = list(head)
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def versions() -> str:
    """Return those of the packages that the figures are of; each has to be there."""
    names = ("ray", "mlflow", "uvicorn", "uvloop", "pg8000")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def machine(packages: str, before: tuple[float, ...], after: tuple[float, ...]) -> str:
    """Return what the figures were measured on, and what else ran there."""
    loads = ", ".join(f"{load[0]:.1f}" for load in (before, after))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({platform.machine()}), "
        f"load before and after {loads}; Python {platform.python_version()}, {packages}, "
        "PostgreSQL 15."
    )


def service_times(
    ledger: Mapping[str, tuple[float, str]],
    tune: Mapping[str, list[float]],
    stores: Mapping[str, Store],
) -> str:
    """Return the tables of what each component takes for one thing."""
    names = {
        "cpu_result": ("one result (CPU)", "ms"),
        "wall_result": ("one result (wall, the workers on the same cores)", "ms"),
        "cpu_trial": ("end of a trial and start of the next (CPU)", "ms"),
        "wall_trial": ("the same (wall)", "ms"),
        **{f"wait_{n}": (f"wait for one of {n:,} results (CPU)", "ms") for n in LADDER},
        "kib_a_trial": ("memory of a trial", "KiB"),
        "first_start_seconds": ("first worker process, imports and all", "s"),
        "start_seconds": ("each later one", "s"),
    }
    rows: list[tuple[object, ...]] = [
        (f"driver: {what}", median(tune[name]), _between(tune[name]), unit)
        for name, (what, unit) in names.items()
    ]
    rows += [(f"ledger: {name}", value, "", unit) for name, (value, unit) in ledger.items()]
    for store in stores.values():
        rows += [(f"MLflow: {name}", value, "", "") for name, value in store.known.items()]
    head = ("MLflow, per trial", "server", "ms", "between", "CPU ms: own", "server", "PostgreSQL")
    steps = [
        (name, kind, *vars(store.steps[name]).values())
        for name in next(iter(stores.values())).steps
        for kind, store in stores.items()
    ]
    return "\n\n".join(
        [
            table(("what", "median", "between", "unit"), rows),
            table((*head, "requests", "statements", "transactions"), steps),
        ]
    )


def _between(values: Sequence[float]) -> str:
    return f"{min(values):,.3g} to {max(values):,.3g}" if len(values) > 1 else "once"


def head_node(
    ledger: Mapping[str, tuple[float, str]], tune: Mapping[str, list[float]], store: Store
) -> str:
    """Return what 10,000 trials take of the cluster's head: memory, and the time to start."""
    own = median(tune["mib_driver"]) / 1024
    tuned = TRIALS * median(tune["kib_a_trial"]) / 2**20
    runs = TRIALS * store.known["memory, KiB a run"] / 2**20
    passes = [value for name, (value, unit) in ledger.items() if unit == "s"]
    reads = sum(passes[:PASSES]) * TRIALS / KNOWN
    rows = [
        ("memory of the command, few trials", own, "GiB", "measured"),
        (f"more for {TRIALS:,} trials: Tune and agenda", tuned, "GiB", "in proportion"),
        (f"more for {TRIALS:,} runs that the delivery knows", runs, "GiB", "in proportion"),
        ("memory of the command in the end", own + tuned + runs, "GiB", "sum"),
        (f"a start over {TRIALS:,} histories, local disk", reads, "s", "in proportion"),
        ("more, of 4 round trips of 1 ms a pass", PASSES * TRIALS * 4e-3, "s", "assumed"),
    ]  # fmt: skip
    return table(("the head", "", "unit", "from"), rows)


def per_second(store: Store, costs: Costs) -> str:
    """Return what every station would see in a second, if no GPU ever waited."""
    steps, megabyte = store.steps, replace(costs, bandwidth=1e6)
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
                case.name, epochs, trials, epochs + 4 * trials, offered(case, megabyte)[FILES],
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
    """Return the load of every station as GPUs are added; of the files alone it is assumed."""
    rows: list[list[object]] = []
    for case in CASES:
        for gpus in LADDER:
            own = replace(case, gpus=gpus)
            load = {**offered(own, measured(costs)), FILES: offered(own, costs)[FILES]}
            rows.append([case.name, gpus, *load.values()])
    *names, files = offered(CASES[0], costs)
    return table(("load (1 is full)", "GPUs", *names, f"{files} (assumed)"), rows)


def bottlenecks(costs: Costs) -> str:
    """Return where the first bottleneck is, by measured figures and by assumed ones."""

    def first(case: Case, costs: Costs, names: Iterable[str]) -> str:
        count, name = min((full_at(case, costs, name), name) for name in names)
        return f"{name}, at {count:,} GPUs"

    alone = measured(costs)
    rows = [
        (
            case.name,
            first(case, alone, ("driver", "delivery", "look at other folders")),
            first(case, alone, ("driver",)),
            first(case, costs, ("driver", FILES)),
        )
        for case in CASES
    ]
    head = (
        "sweep", "full first, measured", "first that GPUs wait for, measured",
        "first that GPUs wait for, files assumed",
    )  # fmt: skip
    return table(head, rows)


def outcomes(costs: Costs) -> str:
    """Return what becomes of the trials, as it is and with each mend."""
    cifar, image_net, small = CASES
    alone = measured(costs)
    ways: list[tuple[str, Case, Costs]] = [
        ("as it is", cifar, costs),
        ("measured figures alone", cifar, alone),
        ("a checkpoint each fifth epoch", replace(cifar, every=5), costs),
        ("as it is", image_net, costs),
        ("as it is", small, costs),
        ("measured figures alone", small, alone),
    ]
    head = (
        "512 GPUs", "trials", "way", "hours", "hours of the GPUs alone", "MLflow has all, h",
        "GPU idle, %", "driver busy", "files busy (assumed)", "delivery busy",
        "wait for the driver, ms", "epochs behind, at most",
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


def check(tune: Mapping[str, list[float]], costs: Costs) -> str:
    """Return the throughput of a real small run, beside what the simulation says of it."""
    trials, epochs, seconds = RUNS["check"]
    case = Case(
        "", int(epochs), seconds, checkpoint=0, gpus=ACTORS, trials=10 * int(trials), spread=0
    )
    rows = []
    was = tune["check_trials_per_second"]
    for name in ("cpu", "wall"):
        result, turn = (max(0.0, median(tune[f"{name}_{of}"])) / 1000 for of in ("result", "trial"))
        own = replace(costs, result=result, turn=turn, wait_per_gpu=0.0, latency=0.0, start=0.0)
        said = simulate(case, own).trials_per_second
        rows.append((name, said, median(was), _between(was), said / median(was)))
    head = ("driver's times", "simulated, trials/s", "measured, trials/s", "between", "ratio")
    return table(head, rows)


def write(text: str, path: Path = DOCUMENT) -> None:
    """Put text in the place of what is between the markers of a document."""
    head, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def document(
    stores: Mapping[str, Store],
    tune: Mapping[str, list[float]],
    ledger: Mapping[str, tuple[float, str]],
) -> str:
    """Return all tables."""
    deployed = stores[DEPLOYED]
    figures = measured_costs(tune, ledger, deployed)
    costs = costs_of(figures)
    sections = {
        "The first bottleneck": bottlenecks(costs),
        "What one thing takes": service_times(ledger, tune, stores),
        "What 10,000 trials take of the head": head_node(ledger, tune, deployed),
        "What all below is computed from": given(figures),
        "What every station would see": per_second(deployed, costs),
        "How full it is": loads(costs),
        "What becomes of the sweep (simulated)": outcomes(costs),
        "The simulation beside a real run": check(tune, costs),
    }
    return "\n\n".join(f"### {title}\n\n{content}" for title, content in sections.items())


def main() -> None:
    """Measure, simulate and write the tables; SIGTERM ends what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    packages, before = versions(), os.getloadavg()  # now: a server without uvloop is another one
    stores = {kind: measure_store(kind, full=kind == DEPLOYED) for kind in SERVERS}
    tune, ledger = tune_apart(), measure_ledger()
    after = os.getloadavg()  # the simulation is a load too
    write(f"{machine(packages, before, after)}\n\n{document(stores, tune, ledger)}")


if __name__ == "__main__":
    main()
