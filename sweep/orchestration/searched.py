"""The trials of a search, as a source of the agenda: asked for one configuration at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        results = [self.ledger.result(trial_id) for trial_id in ids]
        measured = [result["metrics"] for result in results if result]
        if "latency" in self.search.space.objectives:  # one that was trained without it has none
            measured = [metrics for metrics in measured if "latency_ms" in metrics]
        self.search.tell(configuration, measured if len(measured) == len(ids) else [])


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        raise OSError(f"the search's storage: {error}") from error
