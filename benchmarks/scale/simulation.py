"""A sweep as stations that its trials pass: where they would wait, and what would fall behind.

Every GPU trains one epoch after the other. At the end of each its checkpoint goes to the shared
file system, and its result to the driver, one at a time; the GPU waits until the driver has had it
in hand. One thread delivers what is new of one trial after the other to MLflow; nobody waits for
it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, replace

POLL_SECONDS = 1.0
"""Between two rounds of the delivery."""
LOOK_SECONDS, BEAT_SECONDS = 30.0, 60.0
"""Between two looks at the runs in training, and two heartbeats of each."""
ASSUMED = ("bandwidth", "latency")
"""Costs that nobody measured."""


@dataclass(frozen=True)
class Costs:
    """Seconds that one thing has a station, unless the name says otherwise."""

    result: float
    """Of the driver."""
    turn: float
    """Of the driver: the end of a trial and the start of the next one."""
    wait_per_gpu: float
    """Of the driver, with every result: it waits for one of so many."""
    start: float
    """Of a worker process."""
    begin: float
    epoch: float
    more: float
    """Of each epoch but the first that are delivered together."""
    end: float
    beat: float
    look: float
    """Of the thread that looks for other folders' runs, for each in training."""
    digest: float
    """Of the worker, for the checksum of each byte of a checkpoint."""
    pending: int
    """Workers that Tune starts at once."""
    bandwidth: float = 1.25e9
    """Bytes per second that the shared file system takes."""
    latency: float = 0.02
    """Of the shared file system, with every epoch of a worker, turn of the driver and delivery of a
    trial's news: about 20 round trips of 1 ms."""


@dataclass(frozen=True)
class Case:
    """A kind of sweep."""

    name: str
    epochs: int
    seconds: float
    """Of an epoch, median."""
    checkpoint: float
    """Bytes of weights, and as many of momentum, that are saved to go on from."""
    every: int = 1
    """Epochs between two such."""
    best: float = 0.0
    """Part of the epochs that are the best so far; the weights of each are saved apart."""
    gpus: int = 512
    trials: int = 10_000
    spread: float = 0.1
    """Of the logarithm of an epoch's seconds."""


@dataclass
class Station:
    """A queue with one server, first come, first served."""

    free: float = 0.0
    busy: float = 0.0
    waited: float = 0.0
    served: int = 0

    def serve(self, now: float, seconds: float) -> float:
        """Return when one that comes now has been served; calls come in the order of time."""
        began = max(now, self.free)
        self.waited += began - now
        self.busy += seconds
        self.served += 1
        self.free = began + seconds
        return self.free


@dataclass(frozen=True)
class Outcome:
    """How a sweep went."""

    hours: float
    ideal_hours: float
    """Of the GPUs alone."""
    delivered_hours: float
    """When MLflow had everything."""
    epochs_per_second: float
    trials_per_second: float
    driver: float
    """Part of the time that it was busy; so the next two."""
    files: float
    delivery: float
    driver_wait: float
    """Seconds that a result waited for the driver, mean."""
    idle: float
    """Part of the GPUs' time, from the first trial to the end of the last."""
    backlog: int
    """Epochs that MLflow did not have yet, at most."""


def offered(case: Case, costs: Costs) -> dict[str, float]:
    """Return the load of every station if no GPU ever waited; above 1 it is the bottleneck."""
    epochs = case.gpus / case.seconds
    trials = epochs / case.epochs
    per_epoch = case.checkpoint * (1 / case.every + case.best / 2)
    turn, end = costs.turn + costs.latency, costs.begin + costs.end + 2 * costs.latency
    return {
        "driver": epochs * (costs.result + costs.wait_per_gpu * case.gpus) + trials * turn,
        "delivery": epochs * (costs.epoch + costs.latency)
        + trials * end
        + case.gpus / BEAT_SECONDS * costs.beat,
        "look at other folders": case.gpus / LOOK_SECONDS * costs.look,
        "shared files": epochs * per_epoch / costs.bandwidth,
    }


def measured(costs: Costs) -> Costs:
    """Return the costs without what is assumed: a shared file system that takes no time."""
    return replace(costs, bandwidth=math.inf, latency=0.0)


def full_at(case: Case, costs: Costs, name: str) -> int:
    """Return with how many GPUs the load of a station comes to 1."""
    low, high = 1, 2**24
    while low < high:
        middle = (low + high) // 2
        over = offered(replace(case, gpus=middle), costs)[name] >= 1
        low, high = (low, middle) if over else (middle + 1, high)
    return low


def simulate(case: Case, costs: Costs, seed: int = 0) -> Outcome:
    """Run a sweep from its first to its last trial."""
    return _Run(case, costs, seed).run()


class _Run:
    def __init__(self, case: Case, costs: Costs, seed: int) -> None:
        self.case, self.costs, self.random = case, costs, random.Random(seed)
        self.driver, self.files, self.delivery = Station(), Station(), Station()
        self.per_result = costs.result + costs.wait_per_gpu * min(case.gpus, case.trials)
        self.events: list[tuple[float, int, str, int]] = []
        self.count = 0
        self.left, self.ended_at, self.trained = case.trials, 0.0, 0.0
        self.epoch: dict[int, int] = {}
        """Of every trial in training."""
        self.news: dict[int, list[int]] = {}
        """Trial to what MLflow does not have of it: [begins, epochs, ends]."""
        self.round: deque[int] = deque()
        self.undelivered = self.backlog = 0

    def run(self) -> Outcome:
        case = self.case
        workers = min(case.gpus, case.trials)
        for worker in range(workers):  # so many start at once, then so many more
            self._at((worker // self.costs.pending + 1) * self.costs.start, "begin", -1)
        self._at(POLL_SECONDS, "deliver", -1)
        while self.events:
            now, _, what, trial = heapq.heappop(self.events)
            getattr(self, f"_{what}")(now, trial)
        total = case.trials * case.epochs
        return Outcome(
            hours=self.ended_at / 3600,
            ideal_hours=self.trained / workers / 3600,
            delivered_hours=self.delivery.free / 3600,
            epochs_per_second=total / self.ended_at,
            trials_per_second=case.trials / self.ended_at,
            driver=self.driver.busy / self.ended_at,
            files=self.files.busy / self.ended_at,
            delivery=self.delivery.busy / max(self.ended_at, self.delivery.free),
            driver_wait=self.driver.waited / self.driver.served,
            idle=1 - self.trained / (workers * self.ended_at),
            backlog=self.backlog,
        )

    def _at(self, when: float, what: str, trial: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, what, trial))

    def _begin(self, now: float, _: int) -> None:
        """Hand a free worker its next trial."""
        if self.left:
            self.left -= 1
            trial, self.epoch[trial] = self.left, 0
            self._tell(trial, begins=1)
            turn = self.costs.turn + self.costs.latency
            self._train(self.driver.serve(now, turn), trial)

    def _train(self, now: float, trial: int) -> None:
        seconds = self.case.seconds * self.random.lognormvariate(0, self.case.spread)
        self.trained += seconds
        self._at(now + seconds, "save", trial)

    def _save(self, now: float, trial: int) -> None:
        """Save what this epoch leaves: all at once, however few epochs do."""
        case, epoch = self.case, self.epoch[trial] + 1
        bytes_ = case.checkpoint if epoch % case.every == 0 or epoch == case.epochs else 0.0
        bytes_ += case.checkpoint / 2 if self.random.random() < case.best else 0.0
        saved = self.files.serve(now, bytes_ / self.costs.bandwidth) if bytes_ else now
        self._at(saved + bytes_ * self.costs.digest + self.costs.latency, "report", trial)

    def _report(self, now: float, trial: int) -> None:
        self.epoch[trial] += 1
        self._tell(trial, epochs=1)
        told = self.driver.serve(now, self.per_result)
        if self.epoch[trial] < self.case.epochs:
            self._train(told, trial)
            return
        del self.epoch[trial]
        self._tell(trial, ends=1)
        self.ended_at = told
        self._at(told, "begin", -1)

    def _tell(self, trial: int, begins: int = 0, epochs: int = 0, ends: int = 0) -> None:
        if trial not in self.news:
            self.news[trial] = [0, 0, 0]
        for place, more in enumerate((begins, epochs, ends)):
            self.news[trial][place] += more
        self.undelivered += epochs
        self.backlog = max(self.backlog, self.undelivered)

    def _deliver(self, now: float, _: int) -> None:
        """Deliver what is new of one trial; between two rounds over all of them, wait."""
        if not self.round:
            self.round.extend(self.news)
            if self.round or self.epoch or self.left:
                self._at(now + POLL_SECONDS, "deliver", -1)
            return
        begins, epochs, ends = self.news.pop(self.round.popleft())
        self.undelivered -= epochs
        costs = self.costs
        seconds = begins * costs.begin + ends * costs.end + costs.latency
        seconds += costs.epoch + (epochs - 1) * costs.more if epochs else 0.0
        beats = len(self.epoch) * costs.beat / BEAT_SECONDS  # of the trials in training, all along
        self._at(self.delivery.serve(now, seconds / max(1 - beats, 0.01)), "deliver", -1)
