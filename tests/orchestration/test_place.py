"""Places where trials cannot be begun: looked at again, left out for a while, and no sinkhole."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from sweep.ledger import Ledger
from sweep.lock import Lock
from sweep.orchestration.agenda import Agenda
from sweep.orchestration.failures import backoff
from sweep.orchestration.machine import Needs
from sweep.orchestration.packed import code_digest
from sweep.orchestration.place import LOOK_SECONDS, Place
from sweep.orchestration.ray_tune import _Ear, _Relay
from tests.orchestration.test_agenda import Bench, planned


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_node_that_lacks_something_is_looked_at_until_it_has_it(tmp_path: Path) -> None:
    clock, mark = Clock(), tmp_path / "sweeps" / "mark"
    needs = Needs(mark, code="0", dataset="digits", settings={}, content=None)
    place = Place("node a", tmp_path / "place", needs, gpus=False, clock=clock)
    assert place.refusal().startswith(
        f"node a takes no trial: {mark.parent} is another folder there than here"
    )
    ready = Lock(mark)
    assert ready.take()
    place.needs = replace(needs, code=code_digest())
    assert place.refusal()  # as it was found last
    clock.now = LOOK_SECONDS
    assert place.refusal() == ""
    ready.release()


def test_failures_in_a_row_keep_a_place_out_for_longer_each_time(tmp_path: Path) -> None:
    clock = Clock()

    def place() -> Place:  # a new process, after one that a broken GPU ended
        return Place("node a, GPU 1", tmp_path / "place", None, gpus=False, clock=clock)

    pauses = []
    for _ in range(5):
        place().failed()
        began = clock.now
        while reason := place().refusal():
            assert reason.startswith("node a, GPU 1 takes no trial for a while: ")
            clock.now += 5
        pauses.append(clock.now - began)
    assert pauses == [30, 120, 480, 1800, 1800]
    place().worked()
    place().failed()
    clock.now += 30
    assert place().refusal() == ""


def test_one_bad_place_beside_eight_good_ones_fails_no_trial(tmp_path: Path) -> None:
    """Simulated: 400 trials of ten minutes; at the bad place each fails after ten seconds."""
    clock = Clock()
    place = Place("bad", tmp_path / "place", None, gpus=False, clock=clock)
    assert simulated(place, clock) == 0


def simulated(place: Place, clock: Clock) -> int:
    """Return how many trials fail for good."""
    queue, later = deque(range(400)), list[tuple[float, int]]()
    fruitless, failed = Counter[int](), 0
    free = [(0.0, slot) for slot in range(9)]  # the last one is bad
    while queue or later:
        clock.now, slot = heapq.heappop(free)
        while later and later[0][0] <= clock.now:
            queue.appendleft(heapq.heappop(later)[1])
        if not queue:
            heapq.heappush(free, (clock.now + 1, slot))
        elif slot < 8:
            queue.popleft()
            heapq.heappush(free, (clock.now + 600, slot))
        elif place.refusal():
            heapq.heappush(free, (clock.now + 5, slot))
        else:
            trial = queue.popleft()
            clock.now += 10
            place.failed()
            fruitless[trial] += 1
            wait = backoff(fruitless[trial])
            failed += wait is None
            if wait is not None:
                heapq.heappush(later, (clock.now + wait, trial))
            heapq.heappush(free, (clock.now, slot))
    return failed


def test_a_worker_that_waits_gives_its_trial_back_once_and_uncounted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [planned(0)])
    agenda: Agenda = bench.agenda
    ear, trial_id = _Ear(agenda, bool), bench.next_id()
    assert trial_id is not None
    agenda.started(trial_id)
    parked = {"id": trial_id, "done": False, "parked": "node a takes no trial: no files"}
    assert not ear("first", parked)
    assert bench.recorder.retries == [(trial_id, "node a takes no trial: no files")]
    assert (agenda.running, agenda.training, agenda.over) == ([], False, False)
    bench.now += 5
    assert bench.next_id() == trial_id  # elsewhere, while the first worker waits on
    agenda.started(trial_id)
    assert not ear("first", parked)

    died = SimpleNamespace(
        trial_id="first", config={"job": {"id": trial_id}}, get_error=lambda: None
    )
    _Relay(ear).on_trial_error(1, [], died)
    assert agenda.running == [trial_id]
    assert len(bench.recorder.retries) == 1
    assert Ledger(tmp_path).entry(trial_id).attempts == 0
    agenda.release()
