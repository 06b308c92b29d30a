"""Trials on Ray Tune: over our own expansion, in actors that are reused, without Ray's own output.

Starting a worker process costs seconds, most of them the import of torch; so one actor trains many
trials, one after the other (``reuse_actors``, ``reset_config``). What could leak from one to the
next is reset in ``attempt.isolate``. Tune schedules, and restarts workers that died; what a trial
is, whether it ran, and from where it goes on is in the ledger and its checkpoints, not in Tune's.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables at any verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files that nobody reads
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own experiment state; ours is the ledger
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach the command; Tune's would swallow it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})

import ray  # noqa: E402  # reads the settings above when it is imported
from ray import tune  # noqa: E402

from sweep.ledger import Ledger  # noqa: E402
from sweep.orchestration.attempt import Job, Outcome, attempt  # noqa: E402
from sweep.orchestration.runner import Listener  # noqa: E402
from sweep.training.loop import EpochReport  # noqa: E402

WORKER_RESTARTS = 2
"""How often a trial goes on after the process that trained it died."""


class RayRunner:
    """Runs jobs on a Ray cluster of its own on this machine; see ``Runner``.

    Args:
        max_concurrent: upper limit of trials at once.
    """

    def __init__(self, max_concurrent: int | None = None) -> None:
        self.max_concurrent = max_concurrent
        with _own_signals():
            ray.init(
                address="local",  # never one that happens to run here
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )

    def capacity(self) -> tuple[float, float]:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return resources.get("CPU", 0.0), resources.get("GPU", 0.0)

    def run(self, jobs: Sequence[Job], listener: Listener, stop: Callable[[], bool]) -> None:
        first = jobs[0]
        scratch = Path(first.folder).absolute() / "ray"
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, {"cpu": first.cpus, "gpu": first.gpus}),
            param_space={"job": tune.grid_search([_plain(job) for job in jobs])},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=self.max_concurrent,
                trial_name_creator=_trial_id,
                trial_dirname_creator=_trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(scratch),
                verbose=0,
                stop=_Stopper(stop),
                progress_reporter=_Silent(),
                callbacks=[_Relay(listener, Ledger(Path(first.folder)))],
                # Ours are in the ledger; Tune would ask for one at the end of every trial.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=WORKER_RESTARTS),
            ),
        )
        try:
            with _quiet(Path(first.folder) / "ray.log"):
                tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def close(self) -> None:
        """Stop the cluster, and with it every trial that still runs."""
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the command's handler of SIGTERM; Ray's would end the process on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """Send what Ray prints to a file; the display holds the real terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with (
        log.open("a", encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


class TrialActor(tune.Trainable):
    """A worker process that trains one trial after the other, an epoch a step."""

    def setup(self, config: dict[str, Any]) -> None:
        self._epochs: Generator[EpochReport, None, Outcome] | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._epochs = attempt(_job(new_config["job"]))
        return True

    def step(self) -> dict[str, Any]:
        assert self._epochs is not None
        try:
            report = next(self._epochs)
        except StopIteration as end:
            outcome: Outcome = end.value
            return {"done": True, "metrics": outcome.metrics, "reason": outcome.reason}
        return {"done": False, "epoch": report.epoch, "metrics": report.metrics}

    def cleanup(self) -> None:
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None


class _Relay(tune.Callback):
    """Tells the listener what Tune tells its callbacks."""

    def __init__(self, listener: Listener | None, ledger: Ledger) -> None:
        self.listener, self.ledger = listener, ledger

    def __reduce__(self) -> tuple[Any, ...]:
        """Be stored without the listener: for a restore by Tune, which never happens."""
        return _Relay, (None, self.ledger)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.listener:
            self.listener.started(_trial_id(trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.listener:
            self.listener.restarted(_trial_id(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close a trial that Tune gave up, because its worker died too often."""
        trial_id = _trial_id(trial)
        if self.ledger.entry(trial_id).state != "failed":
            error = trial.get_error()
            last = str(error).strip().splitlines()[0] if error else "no reason given"
            reason = f"the worker process died {WORKER_RESTARTS + 1} times, at last: {last}"
            self.ledger.fail(trial_id, reason, str(error))
        if self.listener:
            self.listener.ended(trial_id, Outcome({}, self.ledger.entry(trial_id).reason))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self.listener is None:
            return
        if result["done"]:
            self.listener.ended(_trial_id(trial), Outcome(result["metrics"], result["reason"]))
        else:
            report = EpochReport(result["epoch"], result["metrics"])
            self.listener.epoch(_trial_id(trial), report)


class _Stopper(tune.Stopper):
    """Ends everything once the sweep was asked to stop; a step that runs comes to its end."""

    def __init__(self, stop: Callable[[], bool] | None) -> None:
        self.stop = stop

    def __reduce__(self) -> tuple[Any, ...]:
        """Be stored without the signals: for a restore by Tune, which never happens."""
        return _Stopper, (None,)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        return self.stop is not None and self.stop()


class _Silent(tune.ProgressReporter):
    """Prints nothing: the display is ours."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        """Is never called."""


def _plain(job: Job) -> dict[str, Any]:
    return {**vars(job), "trial": job.trial.model_dump(mode="json"), "id": job.trial.trial_id}


def _job(plain: dict[str, Any]) -> Job:
    from sweep.spec.trial import Trial

    fields = {key: value for key, value in plain.items() if key != "id"}
    return Job(**{**fields, "trial": Trial.model_validate(plain["trial"])})


def _trial_id(trial: Any) -> str:
    return str(trial.config["job"]["id"])
