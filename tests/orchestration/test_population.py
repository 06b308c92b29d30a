"""Decisions worked by hand, and populations of tiny models that are trained, cut off, and go on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from spec.spaces import call, space_of, text_of

from reports.configs import config_rows
from reports.rows import study_rows
from sweep.ledger import Ledger, Share
from sweep.orchestration.population import (
    Member,
    Population,
    first_generation,
    next_generation,
)
from sweep.plan import PlannedTrial
from sweep.spec.axes import Axis
from sweep.spec.schema import Range
from sweep.standing import put_back, standings
from sweep.study import Study
from sweep.tracking.reading import read_study
from tests.orchestration.conftest import SPACE, Recorder, Run
from tests.test_ledger import finish

Runner = Callable[..., Run]

LR = {"lr": Axis("recipe.lr", range=Range(low=0.01, high=1.0, log=True))}
FIELDS = {
    "search": "{method: random, trials: 4}",
    "scheduler": "{method: pbt, interval: 1}",
    "recipe": "{epochs: 3, lr: {low: 0.001, high: 0.1, log: true}, momentum: {low: 0, high: 0.9}}",
}
PBT = SPACE + "search: {{method: random, trials: 4}}\nscheduler: {{method: pbt, interval: 1}}\n"
OVERRIDES = (
    "attention=[none]",
    "recipe={epochs: 3, batch_size: 16, lr: {low: 0.001, high: 0.1, log: true}, "
    "weight_decay: {low: 1.0e-5, high: 1.0e-2, log: true}}",
)


class Scripted(random.Random):
    """Chooses what it was told to."""

    def __init__(self, *choices: Any) -> None:
        super().__init__()
        self.choices_left = list(choices)

    def choice(self, options: Sequence[Any]) -> Any:
        chosen = self.choices_left.pop(0)
        assert chosen in options
        return chosen


def generation(*rates: float) -> list[Member]:
    return [Member(place, {"lr": rate}) for place, rate in enumerate(rates)]


# Decisions ---------------------------------------------------------------------------------


def test_the_worst_quarter_goes_on_as_members_of_the_best() -> None:
    """Of eight, the two worst (6 and 1) draw from the two best (3 and 4)."""
    members = generation(0.1, 0.2, 0.3, 0.4, 0.9, 0.6, 0.7, 0.8)
    scores = [0.5, 0.1, 0.6, 0.9, 0.8, 0.4, 0.0, 0.7]
    source = Scripted(3, 0.8, 4, 1.25)
    assert next_generation(members, scores, LR, source) == [
        Member(0, {"lr": 0.1}),
        Member(3, {"lr": 0.32}),  # 0.8 * 0.4
        Member(2, {"lr": 0.3}),
        Member(3, {"lr": 0.4}),
        Member(4, {"lr": 0.9}),
        Member(5, {"lr": 0.6}),
        Member(4, {"lr": 1.0}),  # 1.25 * 0.9, clipped
        Member(7, {"lr": 0.8}),
    ]


def test_of_equal_scores_the_first_is_better() -> None:
    members = generation(0.1, 0.2, 0.3, 0.4)
    found = next_generation(members, [0.5] * 4, LR, Scripted(0, 1.25))
    assert [member.parent for member in found] == [0, 1, 2, 0]


def test_what_failed_is_replaced_and_is_nobodys_parent() -> None:
    members = generation(0.1, 0.2, 0.3, 0.4)
    found = next_generation(members, [None, -0.9, -0.5, None], LR, Scripted(2, 0.8, 2, 1.25))
    assert found == [
        Member(2, {"lr": 0.24}),
        Member(1, {"lr": 0.2}),  # the worst quarter is one that failed
        Member(2, {"lr": 0.3}),
        Member(2, {"lr": 0.375}),
    ]


def test_a_population_that_failed_as_a_whole_ends() -> None:
    assert next_generation(generation(0.1, 0.2, 0.3, 0.4), [None] * 4, LR, Scripted()) == []


def test_members_that_are_alike_are_drawn_again() -> None:
    members = generation(1.0, 0.2, 0.3, 0.4)
    source = Scripted(0, 1.25, 0, 0.8)  # first the best one itself: 1.25 is clipped to 1
    found = next_generation(members, [0.9, 0.5, 0.6, 0.7], LR, source)
    assert found[1] == Member(0, {"lr": 0.8})


def test_where_nothing_new_can_be_drawn_members_may_be_alike() -> None:
    members = generation(0.1, 0.2, 0.3, 0.4)
    found = next_generation(members, [0.5, None, None, None], LR, random.Random(0))
    assert found[0] == Member(0, {"lr": 0.1})
    assert {member.values["lr"] for member in found[1:]} == {0.08, 0.125}


def test_every_number_is_multiplied_by_itself() -> None:
    axes = {**LR, "momentum": Axis("recipe.momentum", range=Range(low=0.0, high=0.9))}
    values = {"lr": 0.1, "momentum": 0.4}
    members = [
        Member(None, values),
        *(Member(None, {**values, "lr": lr}) for lr in (0.2, 0.3, 0.4)),
    ]
    drawn = {
        tuple(next_generation(members, [4, 3, 2, 1], axes, random.Random(seed))[3].values.values())
        for seed in range(40)
    }
    assert drawn == {(0.08, 0.32), (0.08, 0.5), (0.125, 0.32), (0.125, 0.5)}


def test_the_first_generation_is_spread_over_its_range() -> None:
    members = first_generation(400, LR, random.Random(0))
    rates = [member.values["lr"] for member in members]
    assert all(member.parent is None for member in members)
    assert 0.01 <= min(rates) <= max(rates) <= 1
    assert sum(rate < 0.1 for rate in rates) == pytest.approx(200, abs=40)  # logarithmic


# A population from its ledger --------------------------------------------------------------


def settle(ledger: Ledger, planned: PlannedTrial, value: float | None) -> None:
    """Let a segment end with a validation metric, or fail."""
    trial = planned.trial
    ledger.begin(trial, Share(1, 0.0))
    if value is None:
        ledger.fail(trial.trial_id, "final", "loss is nan", "")
        return
    assert trial.segment is not None
    ledger.record(trial.trial_id, trial.segment.until, {"val_top1": value, "val_loss": -value})
    if trial.partial:
        ledger.stop(trial.trial_id, "segment")
    else:
        finish(ledger, trial.trial_id, {"metrics": {}})


def by_rate(planned: PlannedTrial) -> float | None:
    return planned.trial.recipe.lr


def go(
    population: Population, value_of: Callable[[PlannedTrial], float | None], most: int = 10**6
) -> list[PlannedTrial]:
    """Settle one segment after the other; return those that had not been."""
    returned = []
    while len(returned) < most and (planned := population.next()):
        entry = population.ledger.entry(planned.trial.trial_id)
        if not entry.settled_for(scheduled=True):
            settle(population.ledger, planned, value_of(planned))
            returned.append(planned)
        population.settled(planned.trial.trial_id)
    return returned


def ids(trials: Sequence[PlannedTrial]) -> list[str]:
    return [planned.trial.trial_id for planned in trials]


def test_each_model_and_seed_has_a_population(tmp_path: Path) -> None:
    fields = {**FIELDS, "attention": "[none, eca, {name: sa, groups: 4096}]", "seeds": "[0, 1]"}
    population = Population(space_of(tmp_path, **fields), Ledger(tmp_path))
    (first, *_), *others = (
        [p for p in population.plan.runnable if (p.trial.attention, p.trial.seed) == of]
        for of in [("none", 0), ("none", 1), ("eca", 0), ("eca", 1)]
    )
    assert [len(other) for other in others] == [4] * 3
    assert first.label == (
        f"baseline-lr{first.trial.recipe.lr}-momentum{first.trial.recipe.momentum} "
        "(member 1, to epoch 1)"
    )
    rates = [{p.trial.recipe.lr for p in other} for other in others]
    assert rates[0] == rates[1] == rates[2]  # all begin alike
    assert {p.trial.attention for p in population.plan.refused} == {"sa"}
    assert len(go(population, by_rate)) == 4 * 4 * 3
    assert population.exhausted
    assert len(population.plan.runnable) == 4 * 4 * 3


def test_segments_go_on_from_segments(tmp_path: Path) -> None:
    population = Population(space_of(tmp_path, **FIELDS), Ledger(tmp_path))
    generations = [go(population, by_rate, 4) for _ in range(3)]
    assert population.next() is None
    assert population.exhausted
    known: list[str | None] = [None]
    for until, generation in enumerate(generations, start=1):
        segments = [planned.trial.segment for planned in generation]
        assert {segment.until for segment in segments if segment} == {until}
        assert {segment.parent for segment in segments if segment} <= set(known)
        known = list(ids(generation))
    assert [planned.trial.partial for planned in generations[2]] == [False] * 4
    first, second = ({p.trial.recipe.lr: p for p in generation} for generation in generations[:2])
    worst, best = min(first), max(first)
    assert worst not in second
    (new,) = second.keys() - first.keys()
    factor = 1.25 if new > best else 0.8
    assert new == pytest.approx(min(factor * best, 0.1), rel=1e-3)
    assert second[new].trial.segment.parent == first[best].trial.trial_id  # type: ignore[union-attr]


@pytest.mark.parametrize("most", [1, 3, 5])
def test_decisions_are_those_of_the_ledger(tmp_path: Path, most: int) -> None:
    """A run that is killed after every few segments comes to what one in one go comes to."""
    space = space_of(tmp_path, **FIELDS, seeds="[0, 1]")
    whole = Population(space, Ledger(tmp_path / "whole"))
    expected = go(whole, by_rate)
    returned: list[PlannedTrial] = []
    for _ in range(100):
        population = Population(space, Ledger(tmp_path / "parts"))
        if population.exhausted:
            break
        returned += go(population, by_rate, most)
    assert len(ids(returned)) == 24
    assert set(ids(returned)) == set(ids(expected))
    assert population.plan == whole.plan


def test_the_order_of_fields_is_no_decision(tmp_path: Path) -> None:
    one = Population(space_of(tmp_path, **FIELDS), Ledger(tmp_path)).plan
    recipe = "{momentum: {high: 0.9, low: 0.0}, lr: {log: true, low: 1.0e-3, high: 0.1}, epochs: 3}"
    assert (
        Population(space_of(tmp_path, **{**FIELDS, "recipe": recipe}), Ledger(tmp_path)).plan == one
    )


def test_another_search_draws_others(tmp_path: Path) -> None:
    searches = ("{method: random, trials: 4, seed: 1}", "{method: random, trials: 5}")
    plans = [
        set(
            ids(
                Population(
                    space_of(tmp_path, **{**FIELDS, "search": s}), Ledger(tmp_path)
                ).plan.trials
            )
        )
        for s in (FIELDS["search"], *searches)
    ]
    assert len(set.union(*plans)) == 4 + 4 + 5


def test_a_loss_is_better_the_smaller_it_is(tmp_path: Path) -> None:
    population = Population(space_of(tmp_path, metric="loss", **FIELDS), Ledger(tmp_path))
    first = go(population, by_rate, 4)  # the loss is minus the rate
    best = max(first, key=lambda planned: planned.trial.recipe.lr)
    parents = [p.trial.segment.parent for p in go(population, by_rate, 4) if p.trial.segment]
    assert parents.count(best.trial.trial_id) == 2


def test_one_that_failed_for_good_is_replaced_and_one_that_was_lost_is_waited_for(
    tmp_path: Path,
) -> None:
    space, ledger = space_of(tmp_path, **FIELDS), Ledger(tmp_path)
    population = Population(space, ledger)
    lost, failed, *others = (population.next() for _ in range(4))
    assert lost
    assert failed
    for planned in others:
        assert planned
        settle(ledger, planned, 0.5)
        population.settled(planned.trial.trial_id)
    settle(ledger, failed, None)
    population.settled(failed.trial.trial_id)
    ledger.begin(lost.trial, Share(1, 0.0))
    ledger.fail(lost.trial.trial_id, "transient", "the worker process died", "")
    population.settled(lost.trial.trial_id)
    assert population.next() is None
    assert population.exhausted  # of this run

    population = Population(space, ledger)
    assert len(population.plan.trials) == 4
    go(population, by_rate, 4)
    parents = {p.trial.segment.parent for p in population.plan.trials if p.trial.segment}
    assert len(population.plan.trials) == 8
    assert failed.trial.trial_id not in parents


def test_a_population_that_failed_is_over(tmp_path: Path) -> None:
    population = Population(space_of(tmp_path, **FIELDS), Ledger(tmp_path))
    assert len(go(population, lambda planned: None)) == 4
    assert population.exhausted


def test_a_generation_that_is_longer_than_what_is_left(tmp_path: Path) -> None:
    fields = {**FIELDS, "scheduler": "{method: pbt, interval: 2}"}
    population = Population(space_of(tmp_path, **fields), Ledger(tmp_path))
    assert [p.trial.until for p in go(population, by_rate)] == [2] * 4 + [3] * 4


def test_smoothing_that_a_task_cannot_have_is_told_before_anything_runs(tmp_path: Path) -> None:
    fields = {
        "task": "detection",
        "dataset": "{name: voc2007}",
        "backbones": "[yolox_nano]",
        "recipe": "{epochs: 3, label_smoothing: {low: 0, high: 0.1}}",
    }
    path = tmp_path / "space.yaml"
    path.write_text(text_of(**{**FIELDS, **fields}), encoding="utf-8")
    result = call("plan", path)
    assert result.code == 2
    assert "space.yaml:7:21: recipe.label_smoothing: 0.1" in result.err


def test_the_plan_shows_the_first_generation(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text_of(**FIELDS), encoding="utf-8")
    result = call("plan", path, "--dir", tmp_path)
    assert result.code == 0
    assert result.out.count("to epoch 1)") == 4
    assert "4 members train for 3 generations of 1 epoch, by top1; a population for" in result.out


# Trained -----------------------------------------------------------------------------------


def outcome_of(ledger: Ledger, trial_id: str) -> Any:
    """Return how a trial stands and what it measured, but for the times."""
    times = ("epoch_seconds", "images_per_second", "train_seconds")

    def untimed(metrics: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if name not in times}

    result = ledger.result(trial_id)
    return (
        ledger.entry(trial_id).state,
        ledger.entry(trial_id).reason,
        [(line.epoch, untimed(line.metrics)) for line in ledger.journal(trial_id)],
        result and untimed(result["metrics"]),
    )


def test_a_population_that_was_cut_off_ends_like_one_that_was_not(
    run: Runner, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "undisturbed")
    whole = run(*OVERRIDES, text=PBT, into=tmp_path / "undisturbed")
    epochs = 0

    def stop(trial_id: str, report: object) -> None:
        nonlocal epochs
        epochs += 1
        if epochs in (2, 8):  # in the first generation, and in the second
            raise KeyboardInterrupt

    recorder = Recorder(on_epoch=stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(*OVERRIDES, text=PBT, recorder=recorder)
    parts = run(*OVERRIDES, text=PBT, recorder=recorder)
    assert parts.plan == whole.plan
    assert (parts.summary.done, parts.summary.segments, parts.summary.stopped) == (4, 8, 0)
    assert set(recorder.starts) <= set(recorder.found)  # the display knows them all
    ledgers = [Ledger(tmp_path / "undisturbed"), Ledger(folder)]
    for trial_id in ids(whole.plan.trials):
        one, other = (outcome_of(ledger, trial_id) for ledger in ledgers)
        assert one == other
    for ledger in ledgers:  # and nothing is left on the disk
        assert not any(ledger.checkpoint_folder(i).exists() for i in ledger.trial_ids())

    first, last = whole.plan.trials[:4], whole.plan.trials[8:]
    assert {outcome_of(ledgers[0], i)[:2] for i in ids(first)} == {
        ("stopped", "segment of a population, until epoch 1")
    }
    for planned in last:  # with the epochs of its ancestors
        journal = ledgers[0].journal(planned.trial.trial_id)
        assert [line.epoch for line in journal] == [1, 2, 3]
        rate = {line.epoch: line.metrics["lr"] for line in journal}[3]
        assert rate == pytest.approx(planned.trial.recipe.lr / 4)  # (1 + cos(2 pi / 3)) / 2

    assert put_back(whole.plan, ledgers[1], failed_only=False) == []
    stored = Study(folder, "small").stored()
    assert stored is not None
    assert [(s.epoch, s.epochs) for s in standings(stored, ledgers[1])] == [
        (number // 4 + 1, number // 4 + 1) for number in range(12)
    ]
    rows = study_rows(read_study(f"sqlite:///{folder / 'mlflow.db'}", "small"))
    assert {row.trial_id for row in rows.trials} == set(ids(last))
    assert rows.planned == 4
    assert [config.count("done") for config in config_rows(rows)] == [1] * 4
    assert rows.notes == (
        "8 segments of populations are left out: the last of each member is its row, and names "
        "the last recipe of several",
    )


def test_a_segment_whose_parent_was_lost_fails_and_says_so(run: Runner, folder: Path) -> None:
    ledger = Ledger(folder)

    def lose(trial_id: str, report: object) -> None:
        trial = ledger.trial(trial_id)
        assert trial
        assert trial.segment
        if trial.segment.parent is not None:
            raise KeyboardInterrupt
        begun.append(trial_id)

    begun: list[str] = []
    fields = (*OVERRIDES, "recipe.epochs=2")
    with pytest.raises(KeyboardInterrupt):
        run(*fields, text=PBT, recorder=Recorder(on_epoch=lose))
    for trial_id in begun:
        (file,) = ledger.checkpoint_folder(trial_id).glob("epoch-*.pt")
        file.write_bytes(file.read_bytes()[:-1])
    again = run(*fields, text=PBT)
    assert again.summary.done == 1  # it had begun before, and has a copy
    assert len(again.summary.failures) == 3
    for failure in again.summary.failures:
        trial = ledger.trial(failure.trial_id)
        assert trial
        assert trial.segment
        assert failure.reason == (
            f"LostParentError: the last state of trial {trial.segment.parent}, from which it goes "
            "on, is gone or damaged"
        )
