"""Paired studies: which seeds are run, and when a comparison has its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.ledger import Ledger, Share
from sweep.orchestration.paired import Paired, comparisons
from sweep.plan import Plan, PlannedTrial
from sweep.tasks.base import Metric
from tests.test_ledger import TRIAL, finish

TOP1 = Metric("top1", "Top-1 (%)", "max", 100.0)
LOSS = Metric("loss", "Loss", "min")


def plan_of(*modules: str, seeds: int) -> Plan:
    trials = [
        TRIAL.model_copy(
            update={"seed": seed, "attention": module, "sites": () if module == "none" else ("x",)}
        )
        for module in ("none", *modules)
        for seed in range(seeds)
    ]
    planned = [
        PlannedTrial(trial=t, label=t.attention, status="planned", reason="", cost=None)
        for t in trials
    ]
    return Plan(
        study="s",
        question="q",
        metric="top1",
        trials=tuple(planned),
        duplicates=0,
        train_images=None,
    )


class Study:
    """A paired study whose trials are told their scores at once."""

    def __init__(self, folder: Path, plan: Plan, scores: dict[str, list[float | None]]) -> None:
        self.ledger, self.plan, self.scores = Ledger(folder), plan, scores
        self.ran: list[tuple[str, int]] = []

    def source(self, metric: Metric = TOP1, **settings: object) -> Paired:
        chosen = {"alpha": 0.05, "margin": None, "min_seeds": 3, **settings}
        return Paired(self.plan, self.ledger, metric, **chosen)

    def run(self, source: Paired, at_once: int = 1, metric: str = "top1") -> None:
        """Run what the source wants, several at once, until it wants no more."""
        while not source.exhausted:
            batch = [p for _ in range(at_once) if (p := source.next())]
            assert batch, "it wants something and does not say what"
            for planned in batch:
                self.end(planned, metric)
                source.settled(planned.trial.trial_id)

    def end(self, planned: PlannedTrial, metric: str) -> None:
        trial = planned.trial
        self.ran.append((trial.attention, trial.seed))
        score = self.scores[trial.attention][trial.seed]
        self.ledger.begin(trial, Share(1, 0.0))
        if score is None:
            self.ledger.fail(trial.trial_id, "final", "diverged", "")
        else:
            finish(self.ledger, trial.trial_id, {"metrics": {f"test_{metric}": score}})


BASE = [0.700, 0.702, 0.698, 0.701, 0.699, 0.700, 0.703, 0.697]
CLEAR = [0.750, 0.753, 0.747, 0.751, 0.749, 0.750, 0.753, 0.747]
NOISY = [0.730, 0.672, 0.718, 0.676, 0.709, 0.690, 0.723, 0.677]


def test_clear_answer_needs_the_first_seeds_alone(tmp_path: Path) -> None:
    study = Study(tmp_path, plan_of("ela", seeds=8), {"none": BASE, "ela": CLEAR})
    source = study.source()
    study.run(source)
    assert study.ran == [(m, s) for s in range(3) for m in ("none", "ela")]
    ((_, decision),) = source.decisions()
    assert decision.verdict == "better"
    assert decision.mean == pytest.approx(5.0)


def test_open_answer_takes_one_more_seed_at_a_time_and_ends_with_the_last(tmp_path: Path) -> None:
    study = Study(tmp_path, plan_of("ela", seeds=8), {"none": BASE, "ela": NOISY})
    source = study.source()
    first = [source.next() for _ in range(7)]
    assert first[6] is None  # three seeds of two; the others wait for their answer
    assert not source.exhausted
    for planned in first[:6]:
        study.end(planned, "top1")
        source.settled(planned.trial.trial_id)
    study.run(source)
    assert [seed for _, seed in study.ran] == [s for s in range(8) for _ in range(2)]
    ((_, decision),) = source.decisions()
    assert (decision.verdict, decision.n) == ("undecided", 8)


def test_baseline_runs_as_long_as_one_of_its_modules_asks(tmp_path: Path) -> None:
    scores = {"none": BASE, "ela": CLEAR, "ca": NOISY}
    study = Study(tmp_path, plan_of("ela", "ca", seeds=6), scores)
    source = study.source()
    study.run(source, at_once=4)
    seeds = {m: sum(module == m for module, _ in study.ran) for m in scores}
    assert seeds == {"none": 6, "ela": 3, "ca": 6}
    verdicts = {name.split()[1]: d.verdict for name, d in source.decisions()}
    assert verdicts == {"ela": "better", "ca": "undecided"}


def test_going_on_later_asks_for_what_is_left(tmp_path: Path) -> None:
    study = Study(tmp_path, plan_of("ela", seeds=5), {"none": BASE, "ela": NOISY})
    source = study.source()
    for _ in range(4):
        planned = source.next()
        study.end(planned, "top1")
        source.settled(planned.trial.trial_id)
    study.run(study.source())
    assert len(study.ran) == len(set(study.ran)) == 10
    assert study.source().exhausted
    assert study.source().next() is None


def test_failed_seed_is_no_seed_and_another_one_is_run(tmp_path: Path) -> None:
    diverged = [CLEAR[0], None, *CLEAR[2:]]
    study = Study(tmp_path, plan_of("ela", seeds=8), {"none": BASE, "ela": diverged})
    source = study.source()
    study.run(source)
    assert len(study.ran) == 8
    ((_, decision),) = source.decisions()
    assert (decision.verdict, decision.n) == ("better", 3)


def test_study_whose_seeds_all_fail_ends_without_an_answer(tmp_path: Path) -> None:
    study = Study(tmp_path, plan_of("ela", seeds=4), {"none": BASE, "ela": [None] * 4})
    source = study.source()
    study.run(source)
    assert len(study.ran) == 8
    ((_, decision),) = source.decisions()
    assert (decision.verdict, decision.n) == ("open", 0)


def test_hosts_of_one_backbone_have_answers_of_their_own(tmp_path: Path) -> None:
    plan = plan_of("ela", seeds=3)
    other = [
        p.model_copy(
            update={
                "trial": p.trial.model_copy(
                    update={"backbone": p.trial.backbone.model_copy(update={"stem": "imagenet"})}
                )
            }
        )
        for p in plan.trials
    ]
    names = [
        c.name for c in comparisons(plan.model_copy(update={"trials": (*plan.trials, *other)}))
    ]
    assert names == ["resnet18 cifar stem ela (none)", "resnet18 imagenet stem ela (none)"]


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path, plan_of("ela", seeds=3), {"none": CLEAR, "ela": BASE})
    source = study.source(LOSS)
    study.run(source, metric="loss")
    ((_, decision),) = source.decisions()
    assert decision.verdict == "better"


def test_modules_without_a_baseline_are_no_comparison() -> None:
    plan = plan_of("ela", seeds=2)
    alone = plan.model_copy(
        update={"trials": tuple(p for p in plan.trials if p.trial.attention != "none")}
    )
    assert len(comparisons(plan)) == 1
    assert comparisons(alone) == []
