"""Trials on Ray Tune: over our own expansion, in actors that are reused, without Ray's own output.

Starting a worker process costs seconds, most of them the import of torch; so one actor trains many
trials, one after the other (``reuse_actors``, ``reset_config``). What could leak from one to the
next is reset in ``attempt.isolate``. Tune places jobs on workers; which job is next, and what comes
after a worker that died, the agenda says. The ledger, no file of Tune, says where a trial stands.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables at any verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files that nobody reads
    "TUNE_MAX_PENDING_TRIALS_PG": "32",  # jobs that wait for a worker: the start of a large cluster
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
from ray.util.placement_group import placement_group, remove_placement_group  # noqa: E402
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: E402

from sweep.errors import UserError  # noqa: E402
from sweep.ledger import Share  # noqa: E402
from sweep.orchestration.agenda import Agenda  # noqa: E402
from sweep.orchestration.attached import (  # noqa: E402
    check_nodes,
    held_mark,
    needs_of,
    training_nodes,
)
from sweep.orchestration.attempt import Job, Outcome, attempt  # noqa: E402
from sweep.orchestration.cluster import ClusterError  # noqa: E402
from sweep.orchestration.connect import answers, join, start_alone  # noqa: E402
from sweep.orchestration.failures import failure_kind  # noqa: E402
from sweep.orchestration.machine import (  # noqa: E402
    Needs,
    Process,
    dataset_root,
    this_process,
)
from sweep.orchestration.nodes import alive_nodes  # noqa: E402
from sweep.orchestration.packing import gpu_came, measured_fractions  # noqa: E402
from sweep.orchestration.place import Place  # noqa: E402
from sweep.orchestration.resources import Room, fits  # noqa: E402
from sweep.plan import Plan  # noqa: E402
from sweep.spec.schema import Space  # noqa: E402
from sweep.spec.trial import Trial  # noqa: E402
from sweep.study import Study  # noqa: E402
from sweep.training.loop import EpochReport  # noqa: E402

RAY_RESTARTS = 3
"""How often Ray itself is started anew after it died under a sweep."""


RAY_GONE = (
    b"error: Ray's control service died; nothing is lost, the same command goes on from here\n"
)
WATCH_SECONDS = 1.0
"""Between a worker's looks at whether its command lives."""
PARKED_SECONDS = 5.0
"""Between two looks of a worker whether trials can be begun where it is."""
LOOK_SECONDS = 5.0
"""Between two looks at whether Ray lives."""
SIGNAL_SECONDS = 0.01
"""Within which a signal finds the command's handler again that Ray has taken off."""


COMMAND = this_process()
"""The process that this module was imported in: of the command, where it is told on."""


class RayLostError(UserError, RuntimeError):
    """Ray died, and went on dying."""

    exit_code = 1


class RayRunner:
    """Runs the jobs of an agenda on a Ray cluster; see ``Runner``.

    Args:
        study: whose working folder has Ray's log, and, while it runs, Tune's own files.
        address: of a cluster that this machine belongs to; by default one is started here.

    Raises:
        ClusterError: there is no cluster at the address, or it does not let this process in.
    """

    def __init__(self, study: Study, address: str | None = None) -> None:
        self.study, self.address = study, address
        self.folder, self.scratch = study.folder, study.scratch
        self._needs: Needs | None = None
        """What a node must have that comes while the sweep runs."""
        self._rooms: Sequence[Room] = ()
        self._held = ExitStack()
        self._start()

    def rooms(self) -> Sequence[Room]:
        # Once there were nodes, nobody waits here for others: a trial does, and says so.
        now = [node for node in alive_nodes() if node.cpus]
        self._rooms = now or self._rooms or training_nodes()
        return self._rooms

    def locate(self, space: Space, plan: Plan) -> str | None:
        if self.address is None:
            return dataset_root(space)
        needs = needs_of(space, plan, self._held.enter_context(held_mark(self.study)))
        check_nodes(needs)
        self._needs = needs
        return needs.settings.get("root")

    def pack(
        self,
        trials: Sequence[Trial],
        stop: Callable[[], bool],
        tell: Callable[[str], object],
    ) -> Mapping[str, float]:
        gpu = placement_group([{"CPU": 1, "GPU": 1}])
        try:
            if not gpu_came(lambda: bool(gpu.wait(1)), stop, tell):
                return {}
            # In a process that ends with it, so that nothing of it stays on the GPU.
            measure = ray.remote(num_gpus=1, max_calls=1)(measured_fractions)
            place = PlacementGroupSchedulingStrategy(gpu)
            with _quiet(self.folder / "ray.log"):
                parts = measure.options(scheduling_strategy=place).remote(
                    list(trials), self.folder.absolute()
                )
                while not stop():
                    if ray.wait([parts], timeout=1)[0]:
                        return ray.get(parts)
        except ray.exceptions.RayError:
            pass  # its process died: every trial gets a whole GPU
        finally:
            remove_placement_group(gpu)
        return {}

    def run(self, agenda: Agenda, stop: Callable[[], bool]) -> None:
        deaths = 0
        while not stop() and not agenda.over:
            try:
                self._fit(agenda, stop)
            except (ray.exceptions.RayError, tune.TuneError, RayLostError, OSError) as error:
                if failure_kind(error) == "disk":
                    raise
                deaths += 1
                if deaths > RAY_RESTARTS:
                    raise RayLostError(f"Ray died {deaths} times, at last: {error}") from error
                for trial_id in agenda.running:
                    agenda.lost(trial_id, "Ray died", str(error))
                self._leave()
                self._start()

    def close(self) -> None:
        """Leave the cluster, and stop it if it is ours; every trial that still runs ends."""
        self._leave()
        self._held.close()

    def _leave(self) -> None:
        self._closed.set()
        _shut_down()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _start(self) -> None:
        for last in (False, True):
            try:
                self._init()
                break
            except ClusterError:
                raise
            except Exception as error:  # Ray has no class of its own for it
                _shut_down()
                if last:
                    raise RayLostError(f"Ray cannot be started: {error}") from error
        self._closed = threading.Event()
        address = ray.get_runtime_context().gcs_address
        threading.Thread(target=_end_without, args=(address, self._closed), daemon=True).start()

    def _init(self) -> None:
        with _own_signals():
            if self.address is not None:
                join(self.address)
            else:
                start_alone()

    def _fit(self, agenda: Agenda, stop: Callable[[], bool]) -> None:
        """Let Tune run jobs until the agenda is over, or the sweep was asked to stop."""
        ear = _Ear(agenda, stop)
        about = {
            "command": COMMAND,
            "needs": self._needs,
            "places": self._places(),
        }
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, _resources),
            tune_config=tune.TuneConfig(
                search_alg=_Jobs(ear, about),
                num_samples=-1,  # the searcher says when it is over
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.scratch.absolute()),
                verbose=0,
                stop=ear,
                progress_reporter=_Silent(),
                callbacks=[_Relay(ear)],
                # Ours are in the ledger; Tune would ask for one at the end of every trial.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                # The agenda tries again, after a while, and with what the trial needs.
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        with _quiet(self.folder / "ray.log"):
            tuner.fit()

    def _places(self) -> str | None:
        """Return the folder for failures by place; None where there is one place only."""
        if self.address is None and not any(node.gpus > 1 for node in alive_nodes()):
            return None
        return str(self.scratch.absolute() / "places")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the command's handler of SIGTERM.

    Ray would put one of its own in the place of it, which ends the process; and below Python, where
    that cannot be seen, it takes it off near the end of its start, and again of its shutdown.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler, rays = signal.getsignal(signal.SIGTERM), ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = rays
        signal.signal(signal.SIGTERM, handler)


def _shut_down() -> None:
    """Leave Ray, and keep the command's handler of SIGTERM.

    Ray takes every handler off in the middle of its shutdown, a second before the end of it: a
    signal would end the process from then on, without a word.
    """
    with ThreadPoolExecutor(1) as pool:
        shutdown = pool.submit(ray.shutdown)
        while not shutdown.done():
            with _own_signals():
                wait([shutdown], SIGNAL_SECONDS)
    shutdown.result()


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
    """A worker process that trains one trial after the other, an epoch a step.

    Where trials cannot be begun now it gives its trial back, and keeps what it has of the node to
    itself until they can; else the next trial would come to the same place.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._epochs: Generator[EpochReport, None, Outcome] | None = None
        threading.Thread(target=_end_with, args=(config["command"],), daemon=True).start()
        self._place = _place(config)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._id = new_config["job"]["id"]
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._epochs = attempt(_job(new_config["job"]), address)
        self._begun = self._parked = self._worked = False
        return True

    def step(self) -> dict[str, Any]:
        if self._parked:
            time.sleep(PARKED_SECONDS)
        if self._parked or not self._begun:
            reason = self._place.refusal()
            if self._parked or reason:
                self._parked = True
                return {"id": self._id, "done": not reason, "parked": reason}
        self._begun = True
        return {"id": self._id, **self._trained()}

    def _trained(self) -> dict[str, Any]:
        assert self._epochs is not None
        try:
            report = next(self._epochs)
        except StopIteration as end:
            outcome: Outcome = end.value
            if outcome.kind == "transient" and not self._worked:
                self._place.failed()
            return {"done": True, **vars(outcome)}
        except Exception:
            if not self._worked:
                self._place.failed()
            raise
        if not self._worked:
            self._worked = True
            self._place.worked()
        return {"done": False, **vars(report)}

    def cleanup(self) -> None:
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None


def _place(config: Mapping[str, Any]) -> Place:
    """Return where this process trains."""
    context = ray.get_runtime_context()
    gpus = [str(number) for number in ray.get_gpu_ids()]
    name = f"node {platform.node()} ({ray.util.get_node_ip_address()})"  # type: ignore[no-untyped-call]
    file = "-".join([context.get_node_id(), *gpus]).replace("/", "_")
    return Place(
        ", ".join([name, *(f"GPU {number}" for number in gpus)]),
        Path(config["places"]) / f"{file}.json" if config["places"] else None,
        config["needs"],
        gpus=bool(gpus),
    )


def _end_with(command: Process) -> None:
    """End this process soon after the command that it trains for, or the node that started it.

    Ray does so too, but can take a minute, in which the trial may be somebody else's already.
    """
    node = os.getppid()
    while os.getppid() == node and command.may_live:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


class _Ear(tune.Stopper):
    """Hears the result of every step, and says which trial ends with it, or that all do."""

    def __init__(self, agenda: Agenda | None, stop: Callable[[], bool]) -> None:
        self.agenda, self.stop = agenda, stop
        self.parked: set[str] = set()
        """Tune's trials whose workers wait, and have no trial of the agenda any more."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Be stored without the agenda: for a restore by Tune, which never happens."""
        return _Ear, (None, bool)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if self.agenda is None:
            return False
        if "parked" in result:
            if trial_id not in self.parked:
                self.parked.add(trial_id)
                self.agenda.ended(result["id"], Outcome({}, result["parked"], "transient"))
            return self.stopping
        if result["done"]:
            outcome = Outcome(result["metrics"], result["reason"], result["kind"], result["node"])
            self.agenda.ended(result["id"], outcome)
            return False
        report = EpochReport(result["epoch"], result["metrics"])
        ended = self.agenda.epoch(result["id"], report)
        if self.stopping and not ended:
            self.agenda.cut_off(result["id"])
        return ended or self.stopping

    @property
    def stopping(self) -> bool:
        """Whether no other trial is to start."""
        return self.agenda is not None and (self.stop() or self.agenda.over)

    def stop_all(self) -> bool:
        # Tune kills what runs then; a trial in the middle of an epoch comes to the end of it.
        return self.agenda is not None and self.stopping and not self.agenda.training


class _Jobs(tune.search.Searcher):
    """Suggests the jobs of the agenda to Tune, one by one."""

    def __init__(self, ear: _Ear, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.ear, self.about = ear, about

    def suggest(self, trial_id: str) -> Any:
        agenda = self.ear.agenda
        if agenda is None or self.ear.stopping:
            return self.FINISHED
        job = agenda.next()
        return {"job": _plain(job), **self.about} if job else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Change nothing: the agenda was told by the ear."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: what is to run is in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Is never called."""


class _Relay(tune.Callback):
    """Tells the agenda of starts, and of processes that died; ends a run under which Ray died.

    Raises:
        RayLostError: no node is left. Tune would wait for one for ever.
    """

    def __init__(self, ear: _Ear) -> None:
        self.ear = ear
        self._looked = time.monotonic()
        self._stuck = False
        """Whether it was said that no node can take a trial."""

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            _check_nodes()
            self._tell_stuck(trials)

    def _tell_stuck(self, trials: list[Any]) -> None:
        """Say, once each time, that a trial waits for a node that there is not; one may come."""
        nodes = alive_nodes()
        waiting = [Share(**t.config["job"]["share"]) for t in trials if t.status == "PENDING"]
        stuck = [share for share in waiting if not any(fits(share, node) for node in nodes)]
        if stuck and not self._stuck and self.ear.agenda:
            self.ear.agenda.listener.waiting(stuck[0])
        self._stuck = bool(stuck)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.ear.agenda:
            self.ear.agenda.started(trial.config["job"]["id"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = str(trial.get_error() or "").strip()  # there is none of one that was killed
        if self.ear.agenda and trial.trial_id not in self.ear.parked:
            reason = ": ".join(["the worker process died", *error.splitlines()[:1]])
            self.ear.agenda.lost(trial.config["job"]["id"], reason, error)


def _check_nodes() -> None:
    """Look whether a node of Ray lives.

    Raises:
        RayLostError: none does. Tune would wait for one for ever.
    """
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    # Ray itself takes a minute to notice that a node has died.
    if not any(
        node["Alive"] and answers(node["NodeManagerAddress"], node["NodeManagerPort"])
        for node in nodes
    ):
        raise RayLostError("Ray has no node left")


def _end_without(address: str, closed: threading.Event) -> None:
    """End this process, in words, once Ray's control service is gone.

    Nothing of Ray answers then, the main thread waits in it, and a minute later Ray ends the
    process without a word of what to do.
    """
    host, _, port = address.rpartition(":")
    missed = 0
    while not closed.wait(LOOK_SECONDS):
        missed = 0 if answers(host, port) else missed + 1
        if missed == 2 and not closed.is_set():
            os.write(2, RAY_GONE)
            os._exit(1)


class _Silent(tune.ProgressReporter):
    """Prints nothing: the display is ours."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        """Is never called."""


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    share = config["job"]["share"]
    return tune.PlacementGroupFactory([{"CPU": share["cpus"], "GPU": share["gpus"]}])


def _plain(job: Job) -> dict[str, Any]:
    return {**asdict(job), "trial": job.trial.model_dump(mode="json"), "id": job.trial.trial_id}


def _job(plain: dict[str, Any]) -> Job:
    fields = {key: value for key, value in plain.items() if key != "id"}
    trial, share = Trial.model_validate(plain["trial"]), Share(**plain["share"])
    return Job(**{**fields, "trial": trial, "share": share})


def _name(trial: Any) -> str:
    return f"{trial.config['job']['id']}-{trial.trial_id}"
