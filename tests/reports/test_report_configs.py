"""Configurations of a study: which trials are one, and which of them compare."""

from __future__ import annotations

from collections.abc import Callable

from reports.configs import by_group, config_rows
from reports.facts import devices
from reports.rows import StudyRows, TrialRow

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


def test_devices_are_those_of_all_trials(trial: Make, study: Study) -> None:
    """As the warning of several devices is."""
    failed = trial("ELA", 0, status="failed", metrics={}, device="a GPU")
    rows = study([trial("baseline", 0), failed, trial("SE", 0, device="")])
    assert devices(rows) == "CPU x86_64, 1 threads; a GPU"
