"""Searches and schedulers through a real sweep in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from spec.spaces import space_of

from sweep.ledger import Ledger, Share
from sweep.orchestration.search import Search
from sweep.orchestration.searched import Searched, uneven_latencies
from sweep.tracking import names
from tests.orchestration.conftest import Recorder, Run
from tests.orchestration.test_inline import runs_of

Runner = Callable[..., Run]

SEARCH = """
study: {study}
question: Does it find one?
dataset: {{name: digits, subset: 48, val_size: 32}}
backbones: [mobilenet_v2]
attention: [none, {{name: eca, kernel_size: {{low: 3, high: 7, step: 2}}}}]
recipe: {{epochs: 2, batch_size: 16, lr: {{low: 0.001, high: 0.1, log: true}}, schedule: constant}}
search: {{method: random, trials: 4}}
resources: {{cpus: 1, gpus: 0, max_concurrent: 1}}
"""


def test_search_that_was_cut_off_comes_to_the_same_trials(
    run: Runner, folder: Path, tmp_path: Path
) -> None:
    whole = run(text=SEARCH, into=tmp_path / "undisturbed")
    ids = [p.trial.trial_id for p in whole.plan.trials]
    assert len(set(ids)) == 4
    assert whole.recorder.found == ids
    assert whole.summary.done == whole.summary.ran == 4

    def stop(trial_id: str, report: object) -> None:
        if trial_id == ids[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(text=SEARCH, recorder=Recorder(on_epoch=stop))
    again = run(text=SEARCH)
    assert [p.trial.trial_id for p in again.plan.trials] == ids
    assert again.recorder.starts == ids[1:]
    for trial_id in ids:
        found = [Ledger(f).result(trial_id)["metrics"] for f in (folder, tmp_path / "undisturbed")]
        assert found[0]["test_loss"] == found[1]["test_loss"]
    members = names.per_sweep(names.MEMBER, "small")
    assert [r.data.tags[members] for r in runs_of(folder, "trial")] == ["yes"] * 4
    assert run(text=SEARCH).summary.ran == 0


def test_latency_is_measured_where_it_is_kept_small(run: Runner, folder: Path) -> None:
    found = run("search.trials=2", "search.objectives=[top1, latency]", text=SEARCH)
    for planned in found.plan.trials:
        result = Ledger(folder).result(planned.trial.trial_id)
        assert result["metrics"]["latency_ms"] > 0


HALVING = """
study: {study}
question: Which go on?
dataset: {{name: digits, subset: 48, val_size: 32}}
backbones: [mobilenet_v2]
attention: [none, {{name: eca, kernel_size: [3, 5, 7]}}, {{name: se, reduction: [8, 16]}}]
recipe: {{epochs: 3, batch_size: 16, lr: 0.01, schedule: constant}}
scheduler: {{method: asha, min_epochs: 1, reduction_factor: 2}}
metric: loss
resources: {{cpus: 1, gpus: 0, max_concurrent: 1}}
"""


def test_halving_marks_who_ended_early_and_who_went_on(run: Runner, folder: Path) -> None:
    first = run(text=HALVING)
    ledger = Ledger(folder)
    entries = {p.trial.trial_id: ledger.entry(p.trial.trial_id) for p in first.plan.trials}
    baseline = first.plan.trials[0].trial.trial_id
    assert entries[baseline].state == "done"  # all others are compared with it
    stopped = [i for i, entry in entries.items() if entry.state == "stopped"]
    assert first.summary.stopped == len(stopped) > 0
    assert first.summary.done == 6 - len(stopped)
    assert not first.summary.failures
    # The rule, by hand: at a rung one in two of those that have come to it goes on.
    for rung in (1, 2):
        seen: list[float] = []
        for planned in first.plan.trials:
            trial_id = planned.trial.trial_id
            values = {line.epoch: line.metrics["val_loss"] for line in ledger.journal(trial_id)}
            if rung not in values:
                continue
            seen.append(values[rung])
            among = sorted(seen)[: max(1, len(seen) // 2)]
            goes_on = values[rung] in among
            if trial_id != baseline:
                assert (rung in entries[trial_id].promoted) == goes_on
                assert (max(values) == rung and trial_id in stopped) == (not goes_on)
    states = {r.data.tags[names.TRIAL_ID]: r for r in runs_of(folder, "trial")}
    for trial_id in stopped:
        assert states[trial_id].info.status == "KILLED"
        assert states[trial_id].data.tags[names.STATE] == "stopped"
        assert states[trial_id].data.tags[names.REASON].startswith("asha: ")
        assert not ledger.checkpoint_folder(trial_id).exists()
    again = run(text=HALVING)
    assert again.summary.ran == 0
    assert again.summary.stopped == len(stopped)


class Told:
    """A search's configurations, trained by hand: each with its trials' devices and latencies."""

    def __init__(self, folder: Path) -> None:
        space = space_of(
            folder,
            search="{method: random, trials: 3, objectives: [top1, latency]}",
            attention="[none, {name: se, reduction: [4, 8]}]",
            seeds="[0, 1]",
        )
        self.search = Search(space, None)
        self.ledger = Ledger(folder)
        self.source = Searched(self.search, self.ledger, lambda planned: None)

    def train(self, *ends: tuple[str, float]) -> None:
        """Train the trials of the next configuration, one on each device, with its latency."""
        for device, latency in ends:
            planned = self.source.next()
            assert planned is not None
            trial_id = planned.trial.trial_id
            self.ledger.begin(planned.trial, Share(1, 0.0))
            metrics = {"best_val_top1": 0.5, "latency_ms": latency}
            result = {"metrics": metrics, "environment": {"device": device}}
            self.ledger.store_result(trial_id, result)
            self.ledger.finish(trial_id)
            self.source.settled(trial_id)

    @property
    def values(self) -> list[list[float] | None]:
        return [trial.values for trial in self.search.study.trials]


def test_only_latencies_of_one_device_are_compared(tmp_path: Path) -> None:
    """By hand: the first two trials end on A, so that what B measured is never told."""
    told = Told(tmp_path)
    told.train(("A", 2.0), ("A", 4.0))
    assert told.search.timed_on == "A"
    assert uneven_latencies(told.search, told.ledger) == ""
    told.train(("B", 90.0), ("A", 6.0))
    told.train(("B", 80.0), ("B", 80.0))
    assert told.values == [[0.5, 3.0], [0.5, 6.0], None]
    assert told.search.study.trials[2].state.name == "FAIL"
    said = uneven_latencies(told.search, told.ledger)
    assert "do not compare (3 on A; 3 on B): the search was told that of A alone" in said


def test_a_first_configuration_on_two_devices_counts_by_the_one_with_more(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.train(("B", 9.0), ("A", 3.0))  # as many: the first
    told.train(("A", 2.0), ("A", 2.0))
    assert told.search.timed_on == "B"
    assert told.values == [[0.5, 9.0], None]
