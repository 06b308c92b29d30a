"""Trials that do nothing, under this package and under plain Ray Tune: seconds and memory.

    python -m benchmarks.scheduling CANDIDATE TRIALS

runs one candidate in a process of its own and prints a JSON object. Both train one epoch that does
nothing, in actors that are reused and that have imported torch. Under this package every trial also
has its ledger folder, its locks, and its run in MLflow; plain Tune writes nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil

from sweep.ledger import Ledger, Share
from sweep.orchestration.attempt import Job, Outcome
from sweep.study import Study
from sweep.training.loop import EpochReport

EARLY = 100
"""Trials after which the memory is looked at for the first time."""


def compare(trials: int) -> dict[str, dict[str, float]]:
    """Return what each candidate measured, by its name."""
    return {
        name: json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.scheduling", name, str(trials)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.splitlines()[-1]
        )
        for name in CANDIDATES
    }


class Gauge:
    """Seconds since the first trial ended, and this process's memory on the way."""

    def __init__(self) -> None:
        self.ended = 0
        self.first = self.last = 0.0
        self.memory: dict[int, float] = {}

    def __call__(self) -> None:
        """Take note that a trial ended."""
        self.ended += 1
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.memory[self.ended] = psutil.Process().memory_info().rss / 2**20

    def result(self) -> dict[str, float]:
        return {
            "seconds_per_trial": (self.last - self.first) / (self.ended - 1),
            "mib_early": self.memory[EARLY],
            "mib_end": self.memory[self.ended],
        }


def plain_tune(trials: int) -> dict[str, float]:
    """Run the trials on Ray Tune alone."""
    from ray import tune

    from sweep.orchestration import ray_tune  # first: the same settings of Ray for both

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            import sweep.orchestration.attempt  # noqa: F401  # what ours imports too

        def step(self) -> dict[str, Any]:
            return {"done": True, "value": 0.5}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

    gauge = Gauge()

    class Count(tune.Callback):
        def on_trial_complete(self, **info: Any) -> None:
            gauge()

    with tempfile.TemporaryDirectory() as folder:
        runner = ray_tune.RayRunner(Study(Path(folder), "bench"))
        tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[Count()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
        runner.close()
    return gauge.result()


def with_sweep(trials: int) -> dict[str, float]:
    """Run the trials as a sweep, up to their delivery to MLflow."""
    from sweep.orchestration import ray_tune
    from sweep.orchestration.run import Where, run_sweep, running
    from sweep.plan import make_plan
    from sweep.spec.load import load_space
    from sweep.study import Study
    from sweep.tracking.store import open_client

    class NoOpActor(ray_tune.TrialActor):  # type: ignore[misc]
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            super().reset_config(new_config)
            self._epochs = nothing(ray_tune._job(new_config["job"]))
            return True

    ray_tune.TrialActor = NoOpActor  # type: ignore[misc]
    gauge = Gauge()
    space = load_space(
        Path("search_spaces/quickstart.yaml"),
        (
            "attention=[none]",
            "backbones=[mobilenet_v2]",
            "recipe={epochs: 1}",
            f"seeds={list(range(trials))}",
            "resources={cpus: 1, gpus: 0, max_concurrent: 1}",
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        open_client(f"sqlite:///{folder}/mlflow.db").search_experiments()
        plan = make_plan(space)
        with running(Study(Path(folder), plan.study), wait=False, tell=print):
            run_sweep(space, plan, "", Path(folder), where=Where("ray"), listener=_Counting(gauge))
    return gauge.result()


def nothing(job: Job) -> Generator[EpochReport, None, Outcome]:
    """Leave the traces of a trial of one epoch that did nothing."""
    ledger, trial_id = Ledger(Path(job.folder)), job.trial.trial_id
    lock = ledger.training(trial_id)
    lock.take()
    ledger.begin(job.trial, job.share)
    report = EpochReport(1, {"val_top1": 0.5, "epoch_seconds": 0.0})
    ledger.record(trial_id, 1, report.metrics)
    yield report
    metrics = {"test_top1": 0.5}
    counted = {"macs": None, "unsupported": []}
    result = {"metrics": metrics, "epochs": 1, "best_epoch": 1, "fvcore": counted}
    ledger.store_result(trial_id, {**result, "environment": {"device": "none"}})
    ledger.finish(trial_id)
    lock.release()
    return Outcome(metrics)


class _Counting:
    """A listener that counts."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge

    def planned(self, planned: Any) -> None: ...
    def started(self, trial_id: str) -> None: ...
    def retrying(self, trial_id: str, reason: str, seconds: float) -> None: ...
    def epoch(self, trial_id: str, report: Any) -> None: ...
    def waiting(self, share: Share) -> None: ...
    def undelivered(self, problem: str) -> None: ...

    def notice(self, text: str) -> None: ...
    def stopping(self) -> None: ...
    def ended(self, trial_id: str, outcome: Any) -> None:
        assert not outcome.reason, outcome.reason
        self.gauge()


CANDIDATES: dict[str, Callable[[int], dict[str, float]]] = {
    "plain Ray Tune": plain_tune,
    "sweep": with_sweep,
}

if __name__ == "__main__":
    print(json.dumps(CANDIDATES[sys.argv[1]](int(sys.argv[2]))))
