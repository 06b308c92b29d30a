"""The trials of a search, as a source of the agenda: asked for one configuration at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError

from sweep.ledger import Ledger
from sweep.orchestration.search import Configuration, Search
from sweep.plan import PlannedTrial


class Searched:
    """A source of the trials that a search proposes; see ``sweep.orchestration.agenda.Source``.

    Args:
        search: proposes, and is told the results.
        ledger: where the results are.
        found: is told of every trial before it is returned.

    Raises:
        OSError: the storage of the search cannot be written to.
    """

    def __init__(
        self, search: Search, ledger: Ledger, found: Callable[[PlannedTrial], None]
    ) -> None:
        self.search, self.ledger, self.found = search, ledger, found
        self.exhausted = False
        self._queue: deque[PlannedTrial] = deque()
        self._open: list[Configuration] = []
        self._returned: set[str] = set()
        for configuration in search.configurations():  # put back since the search was told of them
            self._want(configuration)

    def next(self) -> PlannedTrial | None:
        while not self._queue and not self.exhausted:
            self._ask()
        return self._queue.popleft() if self._queue else None

    def settled(self, trial_id: str) -> None:
        """Tell the search of every configuration that has ended with this trial."""
        for configuration in list(self._open):
            ids = [planned.trial.trial_id for planned in configuration.trials]
            if trial_id in ids and self._ended(ids):
                self._open.remove(configuration)
                with _writing():
                    self._tell(configuration, ids)

    def _ask(self) -> None:
        with _writing():
            configuration = self.search.ask()
        if configuration is None:
            self.exhausted = True
            return
        self._open.append(configuration)
        self._want(configuration)
        if self._ended(ids := [planned.trial.trial_id for planned in configuration.trials]):
            self.settled(ids[0])  # others have trained all of it

    def _want(self, configuration: Configuration) -> None:
        for planned in configuration.trials:
            trial_id = planned.trial.trial_id
            if trial_id not in self._returned and not self._ended([trial_id]):
                self._returned.add(trial_id)
                self._queue.append(planned)
            self.found(planned)

    def _ended(self, ids: list[str]) -> bool:
        """Tell whether trials are settled; what was lost is asked for again by the next run."""
        scheduled = self.search.space.scheduler.method != "none"
        return all(self.ledger.entry(i).settled_for(scheduled=scheduled) for i in ids)

    def _tell(self, configuration: Configuration, ids: list[str]) -> None:
        states = [self.ledger.entry(trial_id).state for trial_id in ids]
        if "stopped" in states:
            trial = configuration.trials[states.index("stopped")].trial
            last = self.ledger.journal(trial.trial_id)[-1]
            self.search.stopped(configuration, last.epoch, last.metrics[f"val_{trial.metric}"])
            return
        results = [result for i in ids if (result := self.ledger.result(i)) is not None]
        if len(results) < len(ids):
            self.search.tell(configuration, [])
        elif "latency" in self.search.space.objectives:
            self._tell_timed(configuration, results)
        else:
            self.search.tell(configuration, [result["metrics"] for result in results])

    def _tell_timed(self, configuration: Configuration, results: list[dict[str, Any]]) -> None:
        """Tell how a configuration ended, with latencies of the one device that is compared.

        That is the device of the first configuration told; of this, if it is the first, the one
        that most of its trials ended on. Without a latency of that device nothing is learnt.
        """
        found = [timed_on(result) for result in results]
        counts = Counter(device for device in found if device is not None)
        if not counts:  # all were trained where no latency was asked for
            self.search.tell(configuration, [])
            return
        device = self.search.timed_on or counts.most_common(1)[0][0]
        measured = [
            {k: v for k, v in result["metrics"].items() if k != "latency_ms" or where == device}
            for result, where in zip(results, found, strict=True)
        ]
        if device in counts:
            self.search.tell(configuration, measured, device)
        else:
            self.search.tell(configuration, [])


def timed_on(result: Mapping[str, Any]) -> str | None:
    """Return the device that a trial's own latency was measured on; None if it has none."""
    return str(result["environment"]["device"]) if "latency_ms" in result["metrics"] else None


def uneven_latencies(search: Search, ledger: Ledger) -> str:
    """Return that the trials of a search were timed on several devices; empty if they were not."""
    if "latency" not in search.space.objectives:
        return ""
    ids = [p.trial.trial_id for one in search.configurations() for p in one.trials]
    results = [result for i in ids if (result := ledger.result(i)) is not None]
    counts = Counter(device for result in results if (device := timed_on(result)) is not None)
    if len(counts) < 2:
        return ""
    listed = "; ".join(f"{count} on {device}" for device, count in counts.items())
    return (
        f"the trials' latency was measured on different devices, which do not compare ({listed}): "
        f"the search was told that of {search.timed_on} alone, and learnt nothing from "
        "configurations without it. Run such a search on devices of one type"
    )


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        raise OSError(f"the search's storage: {error}") from error
