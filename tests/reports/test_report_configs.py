"""Configurations of a study: which trials are one, and which of them compare."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.configs import by_group, config_rows, repeat_notes
from reports.facts import devices
from reports.rows import StudyRows, TrialRow
from reports.summary import summarise
from reports.tables.trials import all_trials, without_result

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]

SETTINGS = {"task": "classification", "dataset": "digits"}


def test_a_setting_that_was_not_recorded_is_not_one_that_is_none(trial: Make, study: Study) -> None:
    """Groups are told apart by their titles: those of two recipes must not be the same."""
    none = {**SETTINGS, "recipe.warmup": "none"}
    configs = config_rows(
        study(
            [
                trial("baseline", 0, 0.5, settings=SETTINGS),
                trial("baseline", 0, 0.9, settings=none),
                trial("ELA", 0, 0.6, settings=SETTINGS),
            ]
        )
    )
    assert {group: len(members) for group, members in by_group(configs).items()} == {
        "ResNet-18, recipe.warmup not recorded": 2,
        "ResNet-18, recipe.warmup none": 1,
    }


def test_of_one_seed_the_first_that_finished_counts_and_it_is_said(
    trial: Make, study: Study
) -> None:
    """Worked by hand: of 0.6, 0.9 and 0.1, all of seed 0, 0.6 is first in the grid."""
    failed = trial("ELA", 0, status="failed", metrics={}, run_id="f")
    tops = [(0, 0.6, "first"), (1, 0.7, "other"), (0, 0.9, "again"), (0, 0.1, "once more")]
    trials = [trial("ELA", seed, top1, run_id=run) for seed, top1, run in tops]
    rows = study([trial("baseline", 0, 0.5), failed, *trials])
    configs = config_rows(rows)
    _, ela = configs
    assert [t.run_id for t in ela.trials] == ["f", "first", "other"]
    assert [t.run_id for t in ela.repeats] == ["again", "once more"]
    assert (ela.spreads["top1"].n, ela.count("done")) == (2, 2)
    assert ela.spreads["top1"].mean == pytest.approx(0.65)
    assert ela.differences["top1"].mean == pytest.approx(0.1)
    (said,) = [w for w in summarise(rows, configs).warnings if "finished with seed" in w]
    assert said.startswith("ResNet-18, ELA: 3 trials finished with seed 0 that this report cannot")
    assert said.endswith("the first in the order of the grid counts, the rest enters no number.")
    every, without = all_trials(rows, configs), without_result(rows, configs)
    assert every is not None
    assert without is not None
    assert len(every.sections[0].rows) == 6
    assert [row[4].text for row in without.sections[0].rows] == [
        "none was recorded",
        *["another trial of its configuration and seed counts"] * 2,
    ]


def test_what_was_run_once_is_not_said_to_repeat(trial: Make, study: Study) -> None:
    failed = trial("ELA", 0, status="failed", metrics={})
    configs = config_rows(study([failed, trial("ELA", 0), trial("ELA", 1), trial("SE", 0)]))
    assert repeat_notes(configs) == ()


def test_devices_are_those_of_all_trials(trial: Make, study: Study) -> None:
    """As the warning of several devices is."""
    failed = trial("ELA", 0, status="failed", metrics={}, device="a GPU")
    rows = study([trial("baseline", 0), failed, trial("SE", 0, device="")])
    assert devices(rows) == "1 trial on CPU x86_64; 1 on a GPU"
