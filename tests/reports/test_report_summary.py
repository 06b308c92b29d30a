from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.comparisons import against_baseline
from reports.configs import config_rows
from reports.rows import SEQUENTIAL, StudyRows, TrialRow
from reports.summary import sentence, summarise

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]

BASE, NEAR = [0.90, 0.92, 0.91, 0.93], [0.91, 0.92, 0.93, 0.93]
FAR, WORSE = [0.95, 0.9702, 0.9603, 0.9801], [0.80, 0.8203, 0.8101, 0.8302]
VALIDATION = {"baseline": 0.5, "CA": 0.9, "ELA": 0.8, "SE": 0.7}


@pytest.fixture
def rows(trial: Make, study: Study) -> Callable[..., StudyRows]:
    """A study of test scores by configuration and seed; None is a trial that failed."""

    def make(
        test: dict[str, Sequence[float | None]], validation: dict[str, float], **more: Any
    ) -> StudyRows:
        return study(
            trial(name, seed, metrics=metrics, status="failed" if score is None else "done", **more)
            for name, scores in test.items()
            for seed, score in enumerate(scores)
            for metrics in [{"test_top1": score, "best_val_top1": validation.get(name, math.nan)}]
        )

    return make


def _findings(rows: StudyRows) -> str:
    return "\n".join(summarise(rows, config_rows(rows)).findings)


def _warnings(rows: StudyRows) -> tuple[str, ...]:
    return summarise(rows, config_rows(rows)).warnings


def test_a_difference_that_is_shown(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "CA": FAR}, VALIDATION)
    difference = [100 * (a - b) for a, b in zip(FAR, BASE, strict=True)]
    low, high = stats.t.interval(0.95, 3, sum(difference) / 4, stats.sem(difference))
    assert _findings(study) == (
        "ResNet-18: CA, chosen on validation, improves on the baseline by "
        f"{sum(difference) / 4:.2f} ± {stats.tstd(difference):.2f} points over 4 seeds "
        f"(95 % interval {low:.2f} to {high:.2f}; p < 0.001)."
    )


def test_a_difference_that_is_not_shown(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "ELA": NEAR, "SE": NEAR}, VALIDATION)
    p = 2 * stats.ttest_rel(NEAR, BASE).pvalue
    difference = [100 * (a - b) for a, b in zip(NEAR, BASE, strict=True)]
    low, high = stats.t.interval(0.95, 3, sum(difference) / 4, stats.sem(difference))
    (first, _) = against_baseline(config_rows(study), study.compared)
    assert first.seeds_needed is not None
    assert _findings(study).startswith(
        "ResNet-18: for ELA, chosen on validation, no difference from the baseline can be shown "
        f"with n = 4 (+0.75 ± 0.96 points; 95 % interval {low:+.2f} to {high:+.2f}; "
        f"p = {p:.2f} after Holm's correction for 2 comparisons); "
        f"about {first.seeds_needed} seeds would be needed if the truth is as observed. "
        "It cannot be distinguished from any of the 2 others. "
        "Next on validation is SE: ELA scores exactly what SE does in each of 4 seeds"
    )
    assert _findings(study).endswith("Against the baseline, the other one shows no difference.")


def test_the_answer_of_a_study_comes_first(rows: Callable[..., StudyRows]) -> None:
    def answer(scores: dict[str, Sequence[float]]) -> str:
        study = rows(scores, VALIDATION)
        return summarise(study, config_rows(study)).answer

    assert answer({"baseline": BASE, "ELA": NEAR, "SE": WORSE}) == (
        "No configuration is shown to improve on its baseline (2 of 2 comparisons could be tested)."
    )
    assert answer({"baseline": BASE, "CA": FAR, "ELA": NEAR, "EMA": [b + 0.02 for b in BASE]}) == (
        "Shown to improve on the baseline: CA (ResNet-18) (2 of 3 comparisons could be tested)."
    )
    assert answer({"ELA": NEAR}) == answer({"baseline": BASE}) == ""


def test_what_is_worse_is_called_worse(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "SE": WORSE}, VALIDATION)
    assert "SE, chosen on validation, is worse than the baseline by 9.98 ±" in _findings(study)


def test_less_loss_is_an_improvement(trial: Make, study: Study) -> None:
    losses = {"baseline": [0.5, 0.52, 0.51], "ELA": [0.40, 0.4203, 0.4101]}
    trials = [
        trial(name, seed, metrics={"test_loss": loss, "best_val_loss": loss})
        for name, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    (found,) = summarise(
        (made := study(trials, metrics=study([]).metrics[2:])), config_rows(made)
    ).findings
    assert "ELA, chosen on validation, improves on the baseline by 0.0999 ± 0.0002 nats" in found


def test_validation_may_choose_the_baseline(rows: Callable[..., StudyRows]) -> None:
    validation = VALIDATION | {"baseline": 0.95}
    found = _findings(rows({"baseline": BASE, "CA": FAR, "ELA": NEAR, "SE": WORSE}, validation))
    assert found.startswith(
        "ResNet-18: validation chooses the baseline (91.50 ± 1.29 % on test over 4 seeds). "
        "Next on validation is CA: CA improves on the baseline by 5.01 ±"
    )
    assert found.endswith(
        "Of 3 others, compared with the baseline, 1 is better beyond the noise (CA) and 1 is worse "
        "beyond the noise (SE)."
    )


def test_what_beats_every_other_is_said_to(rows: Callable[..., StudyRows]) -> None:
    found = _findings(rows({"baseline": BASE, "CA": FAR, "SE": WORSE}, VALIDATION))
    assert "It is better than every other configuration, beyond the noise." in found
    assert "Next on validation is SE: CA improves on SE by 15.00 ±" in found
    assert "after Holm's correction and one for the choice" in found


def test_a_choice_that_test_contradicts_is_told(rows: Callable[..., StudyRows]) -> None:
    validation = VALIDATION | {"ELA": 0.99}
    far = [0.95, 0.96, 0.9703, 0.9701]
    found = _findings(rows({"baseline": BASE, "CA": far, "ELA": NEAR}, validation))
    assert (
        "On test, CA did better, beyond the noise. It cannot be distinguished from 1 of 2 others"
        in found
    )


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"ELA": NEAR}, "but there is no baseline with a result: no gain can be stated"),
        ({"baseline": [None] * 4, "ELA": NEAR}, "but there is no baseline with a result"),
        ({"baseline": [0.9], "ELA": [None, 0.9]}, "but it shares no finished seed with the base"),
        ({"baseline": [0.9], "ELA": [0.91]}, "by +1.00 points in the one seed that both have"),
        (
            {"baseline": [0.9, 0.8], "ELA": [0.91, 0.81]},
            "by +1.00 points in each of 2 seeds: equal ones",
        ),
        ({"baseline": [0.9, 0.8], "ELA": [0.9, 0.8]}, "scores exactly what the baseline does in"),
        ({"baseline": [0.9, 0.8, 0.7], "ELA": [0.91, 0.81]}, "each of the 2 seeds that both"),
        ({"baseline": BASE[:2], "ELA": NEAR[:2]}, "can be shown with n = 2 (+0.50 ± 0.71 points"),
        ({"baseline": BASE}, "There is no other configuration to compare it with"),
        ({"ELA": [math.nan, None]}, "no trial has finished with a finite Top-1, so nothing can"),
        ({"ECA": NEAR}, "no finished trial has a validation Top-1, so nothing is chosen"),
    ],
)
def test_what_can_and_cannot_be_said(
    rows: Callable[..., StudyRows], test: dict[str, list[float | None]], said: str
) -> None:
    assert said in _findings(rows(test, VALIDATION))


def test_without_validation_the_baseline_is_still_compared_with(
    rows: Callable[..., StudyRows],
) -> None:
    found = _findings(rows({"baseline": BASE, "CA": FAR, "ELA": NEAR}, {}))
    assert "so nothing is chosen: what is best of many on the test split may be so by" in found
    assert "Of 2 others, compared with the baseline, 1 is better beyond the noise (CA)." in found


def test_recipes_that_differ_are_not_compared(trial: Make, study: Study) -> None:
    trials = [
        replace(
            trial(label, 0, metrics={"test_top1": 0.9, "best_val_top1": score}),
            chosen={"recipe.lr": lr},
        )
        for label, lr, score in (("baseline", "0.1", 0.8), ("ELA", "0.1", 0.7), ("ELA", "0.3", 0.9))
    ]
    made = study(trials)
    assert "but no baseline with a result was trained with its recipe" in _findings(made)
    assert any("in common with a baseline, so no Δ: ELA" in warning for warning in _warnings(made))


def test_seeds_that_a_test_asked_for_are_no_fixed_sample(rows: Callable[..., StudyRows]) -> None:
    found = rows({"baseline": BASE, "CA": FAR}, VALIDATION)
    said = "These p-values do not account for seeds that a sequential test asked for."
    assert said not in _findings(found)
    assert _findings(replace(found, notes=("CA: better", SEQUENTIAL))).endswith(said)


def test_many_configurations_are_counted_not_listed(trial: Make, study: Study) -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, size=(667, 3))
    trials = [
        trial(
            name, seed, metrics={"test_top1": base + noise[i, seed], "best_val_top1": 1 / (i + 1)}
        )
        for i, (name, base) in enumerate(
            [("baseline", 0.5), *((f"E-{i}", 0.9) for i in range(666))]
        )
        for seed in range(3)
    ]
    made = study(trials)
    (found,) = summarise(made, config_rows(made)).findings
    assert len(found) < 600
    assert re.search(r"Of 666 others, compared .* are better .* and \d+ more", found)


def test_the_summary_counts_and_warns(trial: Make, study: Study) -> None:
    trials = [trial("ELA", 0, 0.9), trial("ELA", 1, 0.9, status="stopped")]
    made = study([*trials, trial("ELA", 2, math.nan, device="another")], planned=5)
    found = summarise(made, config_rows(made))
    assert found.trials.startswith(
        "5 trials: 2 done (1 without a finite Top-1), 0 failed, 1 stopped early, 2 not started, "
        "1 combination refused. "
        "Seeds: 0, 1, 2."
    )
    assert found.warnings == (
        "1 finished trial without a finite Top-1: in no mean.",
        "ResNet-18: there is no baseline without attention, so Δ cannot be computed.",
        "ResNet-18: one seed shows no spread, and no difference can be distinguished from chance.",
        "The trials were trained on different devices (2 trials on CPU x86_64; 1 on another): "
        "their scores are compared all the same; times, throughput and memory of training do not "
        "compare.",
    )


def test_the_summary_does_not_count_what_it_cannot_know(trial: Make, study: Study) -> None:
    made = study([trial("ELA", 0)], planned=3, exported=True, refused_complete=False)
    said = summarise(made, config_rows(made)).trials
    assert said.startswith("3 trials: 1 done, 0 failed, 2 not in the file, at least 1 combination")
    made = study([trial("ELA", 0)], refused=(), refused_complete=False)
    said = summarise(made, config_rows(made)).trials
    assert said.startswith("1 trial: 1 done, 0 failed, what was refused is unknown.")


def test_a_baseline_without_a_result_and_unequal_seeds_are_warned_of(
    rows: Callable[..., StudyRows],
) -> None:
    test = {"baseline": [None, None], "ELA": [0.9, 0.8], "CA": [0.9]}
    assert _warnings(rows(test, VALIDATION)) == (
        "ResNet-18: the baseline has no result, so Δ cannot be computed.",
        "ResNet-18: configurations have from 1 to 2 seeds: validation chooses by the mean over all "
        "of one, and two are compared over those that both have.",
    )


def test_nothing_to_report(study: Study) -> None:
    assert _warnings(study([])) == ("No trial of this study has started.",)
    segments = study([], notes=("4 segments of populations are left out",))
    assert _warnings(segments)[1:] == ("No whole trial of this study can be reported yet.",)
    assert _findings(study([])) == ""


def test_a_sentence_needs_no_choice(rows: Callable[..., StudyRows]) -> None:
    study = rows({"baseline": BASE, "CA": FAR}, {})
    (contrast,) = against_baseline(config_rows(study), study.compared)
    assert sentence(contrast).startswith("CA improves on the baseline by 5.01 ±")
