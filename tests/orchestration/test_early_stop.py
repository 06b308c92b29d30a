"""The rules worked by hand, and that a decision stays what it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from spec.spaces import space_of

from sweep.orchestration.early_stop import EarlyStop
from sweep.plan import make_plan
from sweep.spec.trial import Trial

ASHA = "{method: asha, min_epochs: 1, reduction_factor: 3}"
MEDIAN = "{method: median, min_epochs: 2, min_trials: 3}"


def trial(folder: Path) -> Trial:
    """Return a trial of ELA; copies with other seeds are other trials of its group."""
    space = space_of(folder, attention="[ela]", recipe="{epochs: 9}")
    return make_plan(space).trials[0].trial


def copy(of: Trial, seed: int) -> Trial:
    return of.model_copy(update={"seed": seed})


def stopper(folder: Path, scheduler: str, path: Path | None = None, **fields: str) -> EarlyStop:
    chosen = {"attention": "[none, ela]", "recipe": "{epochs: 9}", **fields}
    space = space_of(folder, scheduler=scheduler, **chosen)
    return EarlyStop(space, path, "max")


def test_asha_lets_the_best_third_of_those_before_go_on(tmp_path: Path) -> None:
    """At a rung a trial goes on if it is among the best max(1, n // 3) of the n that reached it."""
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA)
    values = [0.5, 0.4, 0.6, 0.55, 0.58, 0.7, 0.59]
    #   n  best  the best so far     goes on
    #   1  1     0.5                 0.5
    #   2  1     0.5                 no
    #   3  1     0.6                 0.6
    #   4  1     0.6                 no
    #   5  1     0.6                 no
    #   6  2     0.7, 0.6            0.7
    #   7  2     0.7, 0.6            no
    reasons = [asha.reached(copy(ela, seed), 1, value) for seed, value in enumerate(values)]
    assert [not reason for reason in reasons] == [True, False, True, False, False, True, False]
    assert reasons[1] == "asha: 0.4 after epoch 1 is not among the best 1 of 2"
    assert reasons[6] == "asha: 0.59 after epoch 1 is not among the best 2 of 7"


def test_asha_judges_at_its_rungs_alone(tmp_path: Path) -> None:
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA)
    assert [asha.reached(ela, epoch, 0.5) for epoch in range(1, 10)] == [""] * 9
    better, worse = copy(ela, 1), copy(ela, 2)
    assert asha.reached(better, 1, 0.9) == ""
    assert asha.reached(better, 2, 0.1) == ""  # no rung
    assert asha.reached(better, 3, 0.4) == "asha: 0.4 after epoch 3 is not among the best 1 of 2"
    assert asha.reached(worse, 1, 0.2) != ""
    assert asha.rungs(ela) == [1, 3]  # 9 is its end
    assert asha.rungs(better) == [1]
    assert asha.rungs(worse) == []


def test_the_median_rule_waits_for_trials_that_are_done(tmp_path: Path) -> None:
    ela, median = trial(tmp_path), stopper(tmp_path, MEDIAN)
    for seed, value in enumerate([0.2, 0.4, 0.6]):
        for epoch in range(1, 10):
            assert median.reached(copy(ela, seed), epoch, value) == ""
    low, high, late = (copy(ela, seed) for seed in (3, 4, 5))
    assert median.reached(low, 1, 0.1) == ""  # before min_epochs
    assert median.reached(low, 2, 0.39) == (
        "median: 0.39 after epoch 2 is worse than half of 3 done trials"
    )
    assert median.reached(high, 2, 0.4) == ""  # the median itself is not worse
    assert median.reached(late, 1, 0.5) == ""
    assert median.reached(late, 2, 0.1) == ""  # its best counts
    assert median.rungs(high) == []


def test_small_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    space = space_of(tmp_path, attention="[ela]", recipe="{epochs: 9}", scheduler=ASHA)
    ela, asha = trial(tmp_path), EarlyStop(space, None, "min")
    assert asha.reached(ela, 1, 0.5) == ""
    assert asha.reached(copy(ela, 1), 1, 0.4) == ""
    assert asha.reached(copy(ela, 2), 1, 0.45) != ""


def test_what_is_no_number_is_stopped_at_a_rung_and_teaches_nothing_at_the_end(
    tmp_path: Path,
) -> None:
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA)
    assert asha.reached(ela, 1, math.nan).startswith("asha: nan after epoch 1")
    median = stopper(tmp_path, MEDIAN)
    for epoch in range(1, 10):
        last = median.reached(ela, epoch, math.nan if epoch == 9 else 0.5)
    assert last == ""


def test_the_baseline_goes_on(tmp_path: Path) -> None:
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA)
    baseline = ela.model_copy(update={"attention": "none", "sites": ()})
    assert asha.reached(ela, 1, 0.9) == ""
    assert asha.reached(baseline, 1, 0.1) == ""
    searched = stopper(
        tmp_path, ASHA, search="random", recipe="{epochs: 9, lr: {low: 0.1, high: 1}}"
    )
    assert searched.reached(ela, 1, 0.9) == ""
    assert searched.reached(baseline, 1, 0.1) != ""  # one of many recipes


def test_only_comparable_trials_are_compared(tmp_path: Path) -> None:
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA)
    assert asha.reached(ela, 1, 0.9) == ""
    others = {
        "backbone": ela.backbone.model_copy(update={"name": "resnet50"}),
        "recipe": ela.recipe.model_copy(update={"lr": 0.2}),
        "dataset_content": {**ela.dataset_content, "subset": 10},
        "patience": 3,
    }
    for field, value in others.items():
        assert asha.reached(ela.model_copy(update={field: value}), 1, 0.1) == "", field
    assert asha.reached(ela.model_copy(update={"hyperparameters": {}, "seed": 7}), 1, 0.1) != ""


def test_searched_recipes_of_one_length_are_compared(tmp_path: Path) -> None:
    recipe = "{epochs: 9, lr: {low: 0.1, high: 1, log: true}}"
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA, search="random", recipe=recipe)
    assert asha.reached(ela, 1, 0.9) == ""
    other = ela.model_copy(update={"recipe": ela.recipe.model_copy(update={"lr": 0.2})})
    assert asha.reached(other, 1, 0.1) != ""
    longer = ela.model_copy(update={"recipe": ela.recipe.model_copy(update={"epochs": 18})})
    assert asha.reached(longer, 1, 0.1) == ""


@pytest.mark.parametrize("again", [True, False], ids=["restarted", "in one go"])
def test_a_decision_stays_what_it_was(tmp_path: Path, again: bool) -> None:
    path = tmp_path / "studies" / "small" / "search.db"
    ela, asha = trial(tmp_path), stopper(tmp_path, ASHA, path)
    first, worse = copy(ela, 0), copy(ela, 1)
    assert asha.reached(first, 1, 0.5) == ""
    reason = asha.reached(worse, 1, 0.4)
    assert reason
    if again:
        asha.close()
        asha = stopper(tmp_path, ASHA, path)
    for seed in range(2, 8):
        asha.reached(copy(ela, seed), 1, 0.9)
    assert asha.reached(first, 1, 0.5) == ""  # by now it would be stopped
    assert asha.reached(first, 2, 0.5) == ""
    assert asha.reached(worse, 1, 0.95) == reason
    assert asha.reached(worse, 2, 0.95) == reason  # whatever it learnt since
    assert (asha.rungs(first), asha.rungs(worse)) == ([1], [])
    asha.close()


def test_a_trial_that_goes_through_its_epochs_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "search.db"
    ela, median = trial(tmp_path), stopper(tmp_path, MEDIAN, path)
    for seed in range(3):
        for epoch in [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]:
            assert median.reached(copy(ela, seed), epoch, 0.5) == ""
    assert "3 done trials" in median.reached(copy(ela, 3), 2, 0.4)
    assert "3 done trials" in median.reached(copy(ela, 3), 2, 0.4)
    median.close()
