"""Two commands at once in one working folder, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sweep.ledger import Ledger
from sweep.study import Study
from sweep.tracking import names
from tests.orchestration.conftest import SPACE
from tests.orchestration.test_inline import hold, runs_of


def start(folder: Path, study: str, *arguments: str) -> subprocess.Popen[str]:
    spec = folder.parent / f"{study}.yaml"
    spec.write_text(SPACE.format(study=study), encoding="utf-8")
    command = [sys.executable, "-m", "sweep.cli", "run", spec, "--dir", folder]
    return subprocess.Popen(
        [*map(str, command), "--runner", "inline", "recipe.epochs=1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_sweeps_that_share_a_trial_train_it_once(folder: Path) -> None:
    both = [
        start(folder, "one", "attention=[none]"),
        start(folder, "two", "attention=[none, {name: se}]"),
    ]
    ended = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    ledger = Ledger(folder)
    for study, count in (("one", 1), ("two", 2)):
        stored = Study(folder, study).stored()
        assert stored is not None
        assert stored.complete
        assert len(stored.plan.trials) == count
    assert [ledger.entry(trial_id).attempts for trial_id in ledger.trial_ids()] == [1, 1]
    runs = runs_of(folder, "trial")
    assert sorted(run.data.tags[names.TRIAL_ID] for run in runs) == ledger.trial_ids()
    assert {run.info.status for run in [*runs, *runs_of(folder, "sweep")]} == {"FINISHED"}
    (shared,) = (run for run in runs if run.data.params["attention"] == "none")
    for study in ("one", "two"):
        assert shared.data.tags[names.per_sweep(names.MEMBER, study)] == "yes"


def test_a_second_command_waits_and_runs_when_the_first_has_ended(folder: Path) -> None:
    with hold(Study(folder, "small").path / "lock") as first:
        second = start(folder, "small", "attention=[none]", "--wait")
        assert second.stdout is not None
        told = second.stdout.readline()
        assert told.startswith(f"sweep small is run by another command (process {first.pid} on ")
        assert told.endswith("; waiting until it ends\n")
        assert Ledger(folder).trial_ids() == []
        first.kill()
    out, err = second.communicate()
    assert (second.returncode, err) == (0, "")
    assert "small: 1 of 1 trials done" in out
