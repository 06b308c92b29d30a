"""What is shown while a sweep runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from spec.spaces import space_of

from sweep.display import Display
from sweep.ledger import Share
from sweep.orchestration.attempt import Outcome
from sweep.plan import PlannedTrial, make_plan

METRICS = {"val_top1": 0.25, "epoch_seconds": 1.0}


@pytest.fixture
def trials(tmp_path: Path) -> list[PlannedTrial]:
    return list(make_plan(space_of(tmp_path, seeds="[0, 1, 2]")).trials)


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def test_nothing_to_run_is_shown_on_a_terminal() -> None:
    for terminal, shown in ((True, "0/0 trials"), (False, "")):
        where = console(terminal=terminal)
        with Display([], "top1", where):
            pass
        assert shown in where.file.getvalue()


def test_how_a_trial_ended(trials: list[PlannedTrial]) -> None:
    where = console(terminal=False)
    ends = {
        "done, test top1 0.5000": Outcome({"test_top1": 0.5}),
        "stopped, asha: not among the best": Outcome(METRICS, "asha: not among the best"),
        "failed, loss is nan": Outcome({}, "loss is nan", "final"),
    }
    with Display(trials, "top1", where) as display:
        for planned, outcome in zip(trials, ends.values(), strict=True):
            display.started(planned.trial.trial_id)
            display.ended(planned.trial.trial_id, outcome)
    lines = where.file.getvalue().splitlines()
    assert lines[0] == "running 3 trials"
    for number, (line, planned, end) in enumerate(zip(lines[1:], trials, ends, strict=True), 1):
        assert line.startswith(f"[{number}/3] {planned.name}: {end}; ")


def test_a_store_that_takes_nothing_is_told_and_that_it_does_again() -> None:
    where = console(terminal=False)
    with Display([], "top1", where) as display:
        display.undelivered("MlflowException: error code 401")
        display.undelivered("")
    assert where.file.getvalue().splitlines() == [
        "MLflow does not take the results: MlflowException: error code 401; training goes on, they "
        "follow",
        "MLflow takes the results again",
    ]


@pytest.mark.parametrize(
    ("share", "needed"),
    [
        (Share(1, 0), "1 CPU core"),
        (Share(4, 0.5), "4 CPU cores and 0.5 GPU"),
        (Share(2, 2), "2 GPUs"),
    ],
)
def test_a_sweep_that_waits_for_a_node_says_so(share: Share, needed: str) -> None:
    where = console(terminal=False)
    with Display([], "top1", where) as display:
        display.waiting(share)
    assert f"{needed} for a trial; the sweep goes on when one comes" in where.file.getvalue()
