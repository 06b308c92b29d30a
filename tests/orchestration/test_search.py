"""What a search proposes, by made-up results: nothing is trained.

The grid's expansion is the reference for what there is to propose; a quadratic and a front that are
known are the reference for what is good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from spec.spaces import space_of

from sweep.orchestration import search as searching
from sweep.orchestration.search import Configuration, Search, search_path
from sweep.plan import Cost, Plan, PlannedTrial, make_plan
from sweep.spec.axes import Choices
from sweep.spec.schema import Space
from sweep.spec.trial import BackboneChoice, Trial

FINITE = {
    "attention": "[none, {name: ela, kernel_size: [5, 7], groups: [in_channels, 1]}, "
    "{name: ema, factor: [16, 32]}, {name: sa, groups: [32, 64]}]",
    "seeds": "[0, 1]",
}
MIXED = {
    "attention": "[none, {name: ela, kernel_size: {low: 3, high: 21, step: 2}}, "
    "{name: ema, factor: [16, 32]}]",
    "recipe": "{epochs: 2, lr: {low: 0.01, high: 1, log: true}}",
}


def quick_plan(space: Space) -> Plan:
    """Plan without building models: a module of kernel size or factor n costs n M and n G."""
    (backbone,), (attention,) = space.backbones, space.attention
    hyperparameters = attention.hyperparameters
    size = hyperparameters.get("kernel_size", hyperparameters.get("factor", 1))
    refused = attention.name == "sa" and hyperparameters["groups"] == 64
    trials = [
        PlannedTrial(
            trial=Trial(
                task="classification",
                dataset=space.dataset,
                dataset_settings=space.dataset_settings,
                dataset_content={},
                num_classes=10,
                backbone=BackboneChoice(name=backbone.name, stem="cifar"),
                placement="stage3",
                sites=(),
                attention=attention.name,
                preset=None,
                hyperparameters=hyperparameters,
                nondefault=attention.nondefault,
                plugins=(),
                on_indivisible="refuse",
                recipe=space.recipe,
                patience=None,
                metric="top1",
                seed=seed,
            ),
            label="",
            status="refused" if refused else "planned",
            reason="groups (=64) must divide C=96" if refused else "",
            cost=Cost(
                params_true=size * 10**6, params_thop_like=0, params_no_norm=0, macs=size * 10**9
            ),
        )
        for seed in space.general.seeds
    ]
    return Plan(
        study="small", question="", metric="top1", trials=trials, duplicates=0, train_images=1
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "make_plan", quick_plan)


def search_of(folder: Path, method: str, path: Path | None = None, **fields: str) -> Search:
    return Search(space_of(folder, search=method, **fields), path)


def results(configuration: Configuration, value: float) -> list[dict[str, float]]:
    return [{"best_val_top1": value, "test_top1": 0.0} for _ in configuration.trials]


def go(
    search: Search, value_of: Callable[[Configuration], float], asks: int = 10**6
) -> list[Configuration]:
    """Ask and tell one at a time, up to the end."""
    asked = []
    while len(asked) < asks and (configuration := search.ask()):
        search.tell(configuration, results(configuration, value_of(configuration)))
        asked.append(configuration)
    return asked


def ids(configurations: list[Configuration]) -> list[str]:
    return [planned.trial.trial_id for one in configurations for planned in one.trials]


def by_size(configuration: Configuration) -> float:
    hyperparameters = configuration.trials[0].trial.hyperparameters
    return -abs(hyperparameters.get("kernel_size", 0) - 13) / 100


# What is proposed --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2"])
@pytest.mark.usefixtures("quick")
def test_a_finite_space_is_proposed_once_and_whole(tmp_path: Path, method: str) -> None:
    grid = space_of(tmp_path, **FINITE)
    expected = {
        repr((point.name, point.hyperparameters, seed))
        for point in grid.attention
        for seed in grid.general.seeds
        if point.hyperparameters.get("groups") != 64
    }
    search = search_of(tmp_path, f"{{method: {method}, trials: 100}}", **FINITE)
    found = [
        repr((p.trial.attention, p.trial.hyperparameters, p.trial.seed))
        for one in go(search, by_size)
        for p in one.trials
    ]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert search.ask() is None


def test_trials_are_those_of_the_grid(tmp_path: Path) -> None:
    """With models: the same identities, costs and refusals; labels as in the grid's tables."""
    fields = {
        "attention": "[none, {name: ela, preset: [B, L]}, {name: sa, groups: [32, 4096]}]",
        "seeds": "[0, 1]",
    }
    grid = make_plan(space_of(tmp_path, **fields))
    search = search_of(tmp_path, "random", **fields)
    go(search, by_size)
    found = {p.trial.trial_id: p for p in search.plan().trials}
    assert found == {p.trial.trial_id: p for p in grid.runnable}
    assert search.plan().train_images == grid.train_images
    refused = search._proposals("refused")
    assert {t.user_attrs["proposal"]["reason"] for t in refused} == {p.reason for p in grid.refused}


@pytest.mark.usefixtures("quick")
def test_a_module_never_has_the_hyperparameters_of_another(tmp_path: Path) -> None:
    for configuration in go(search_of(tmp_path, "tpe", **MIXED), by_size):
        module = configuration.choices["attention"]
        own = {name for name in configuration.choices if name.startswith("attention.")}
        assert (
            own
            == {
                "none": set(),
                "ela": {"attention.ela.kernel_size"},
                "ema": {"attention.ema.factor"},
            }[str(module)]
        )
        (trial,) = (planned.trial for planned in configuration.trials)
        assert trial.attention == module
        assert trial.recipe.lr == float(f"{configuration.choices['recipe.lr']:.4g}")


@pytest.mark.usefixtures("quick")
def test_a_label_says_what_was_chosen(tmp_path: Path) -> None:
    asked = go(search_of(tmp_path, "{method: random, trials: 8}", **MIXED), by_size)
    for configuration in asked:
        trial = configuration.trials[0].trial
        module = {
            "none": "baseline",
            "ela": f"ELA-k{trial.hyperparameters.get('kernel_size')}",
            "ema": f"EMA-G{trial.hyperparameters.get('factor')}",
        }[trial.attention]
        assert configuration.trials[0].label == f"{module}-lr{trial.recipe.lr}"


@pytest.mark.usefixtures("quick")
def test_the_budget_counts_what_is_trained(tmp_path: Path) -> None:
    fields = {**FINITE, "attention": "[{name: sa, groups: [64, 32]}, none, ela]"}
    asked = go(search_of(tmp_path, "{method: random, trials: 3}", **fields), by_size)
    assert len(asked) == 3  # those refused and those repeated do not
    assert len(set(ids(asked))) == 6


@pytest.mark.usefixtures("quick")
def test_several_at_once_differ(tmp_path: Path) -> None:
    search = search_of(tmp_path, "{method: tpe, trials: 12}", **MIXED)
    go(search, by_size, asks=6)
    running = [search.ask() for _ in range(6)]
    assert None not in running
    assert search.ask() is None
    assert len(set(ids([one for one in running if one]))) == 6


@pytest.mark.usefixtures("quick")
def test_the_seed_determines_a_search(tmp_path: Path) -> None:
    first, again, other = (
        [one.choices for one in go(search_of(tmp_path, search, **MIXED), by_size)]
        for search in (
            "{method: tpe, trials: 8}",
            "{method: tpe, trials: 8, seed: 0}",
            "{method: tpe, trials: 8, seed: 1}",
        )
    )
    assert first == again != other


@pytest.mark.usefixtures("quick")
def test_a_space_of_more_points_than_can_be_listed_is_drawn_from(tmp_path: Path) -> None:
    search = search_of(
        tmp_path,
        "random",
        attention="[none, {name: ema, factor: {low: 1, high: 1000000}}]",
        recipe="{lr: {low: 0.01, high: 1, log: true}, batch_size: {low: 8, high: 512, step: 8}}",
    )
    first = search.ask()
    assert first is not None
    proposals = search._proposals()
    drawn = search._left(proposals)
    assert drawn is not None
    search.study.enqueue_trial(drawn)
    second = search.ask()
    assert second is not None
    assert second.choices == drawn


# What is remembered ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2"])
@pytest.mark.usefixtures("quick")
def test_a_search_that_was_killed_proposes_what_it_would_have(tmp_path: Path, method: str) -> None:
    settings = f"{{method: {method}, trials: 9}}"
    undisturbed = [one.choices for one in go(search_of(tmp_path, settings, **MIXED), by_size)]
    path = search_path(tmp_path, "small")
    proposed: list[Choices] = []
    for asks in [2, 1, 3, 9]:
        search = search_of(tmp_path, settings, path, **MIXED)
        done = go(search, by_size, asks=asks)
        lost = search.ask()  # handed out, never told
        proposed += [one.choices for one in done]
        search.close()
        search = search_of(tmp_path, settings, path, **MIXED)
        again = search.ask()
        assert again == lost
        if again is not None:
            search.tell(again, results(again, by_size(again)))
            proposed.append(again.choices)
        search.close()
    assert proposed == undisturbed


@pytest.mark.usefixtures("quick")
def test_a_proposal_that_was_torn_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "{method: tpe, trials: 6}"
    undisturbed = [one.choices for one in go(search_of(tmp_path, settings, **MIXED), by_size)]
    path = search_path(tmp_path, "small")
    search = search_of(tmp_path, settings, path, **MIXED)
    proposed = [one.choices for one in go(search, by_size, asks=4)]
    with monkeypatch.context() as patch:
        patch.setattr(search, "_standing", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search.ask()
    search.close()
    search = search_of(tmp_path, settings, path, **MIXED)
    proposed += [one.choices for one in go(search, by_size)]
    assert proposed == undisturbed
    search.close()


@pytest.mark.usefixtures("quick")
def test_a_failed_configuration_counts_and_is_not_proposed_again(tmp_path: Path) -> None:
    search = search_of(tmp_path, "{method: tpe, trials: 100}", **FINITE)
    asked = []
    while configuration := search.ask():
        search.tell(configuration, [])
        asked.append(configuration)
    assert len(ids(asked)) == len(set(ids(asked))) == 2 * (1 + 4 + 2 + 1)


@pytest.mark.usefixtures("quick")
def test_a_stopped_configuration_is_known_as_a_bad_one(tmp_path: Path) -> None:
    search = search_of(tmp_path, "{method: tpe, trials: 30}", **MIXED)
    while configuration := search.ask():
        value = by_size(configuration)
        if value < -0.1:
            search.stopped(configuration, 1, value)
        else:
            search.tell(configuration, results(configuration, value))
    late = [by_size(one) for one in search.configurations()[15:]]
    assert sum(value >= -0.1 for value in late) > len(late) / 2


@pytest.mark.usefixtures("quick")
def test_a_larger_space_keeps_what_was_learnt(tmp_path: Path) -> None:
    path = search_path(tmp_path, "small")
    search = search_of(tmp_path, "{method: tpe, trials: 6}", path, **MIXED)
    before = go(search, by_size)
    search.close()
    attention = MIXED["attention"].replace("high: 21", "high: 31").replace("]}]", "]}, se]")
    larger = {**MIXED, "attention": attention}
    search = search_of(tmp_path, "{method: tpe, trials: 10}", path, **larger)
    kept = search.configurations()
    assert sorted(ids(kept)) == sorted(ids(before))
    new = go(search, by_size)
    assert len(new) == 4
    assert not set(ids(new)) & set(ids(before))
    search.close()


@pytest.mark.usefixtures("quick")
def test_a_seed_more_asks_the_same_configurations_first(tmp_path: Path) -> None:
    path = search_path(tmp_path, "small")
    search = search_of(tmp_path, "{method: tpe, trials: 4}", path, **MIXED)
    before = go(search, by_size)
    search.close()
    search = search_of(tmp_path, "{method: tpe, trials: 5}", path, seeds="[0, 1]", **MIXED)
    again = go(search, by_size)
    assert [one.choices for one in again[:4]] == [one.choices for one in before]
    assert set(ids(again[:4])) > set(ids(before))
    assert len(again) == 5
    search.close()


@pytest.mark.usefixtures("quick")
def test_results_of_another_recipe_are_no_results_of_this_one(tmp_path: Path) -> None:
    path = search_path(tmp_path, "small")
    search = search_of(tmp_path, "random", path, **FINITE)
    go(search, by_size, asks=3)
    search.close()
    search = search_of(tmp_path, "random", path, recipe="{epochs: 3}", **FINITE)
    assert search.configurations() == []
    search.close()


# What is good ------------------------------------------------------------------------------


def quadratic(configuration: Configuration) -> float:
    recipe = configuration.trials[0].trial.recipe
    return -((math.log10(recipe.lr) + 1) ** 2) - 4 * (recipe.momentum - 0.5) ** 2


@pytest.mark.usefixtures("quick")
def test_tpe_comes_nearer_to_an_optimum_than_chance(tmp_path: Path) -> None:
    recipe = "{lr: {low: 0.001, high: 10, log: true}, momentum: {low: 0, high: 0.99}}"
    regret = dict.fromkeys(["random", "tpe"], 0.0)
    for method in regret:
        for seed in range(4):
            settings = f"{{method: {method}, trials: 40, seed: {seed}}}"
            asked = go(search_of(tmp_path, settings, recipe=recipe), quadratic)
            regret[method] -= max(map(quadratic, asked)) / 4
    assert regret["tpe"] < regret["random"] / 2


def found_of_the_front(folder: Path, method: str, seed: int = 0) -> int:
    """Return how many points of a known front of six a search of 60 among 300 finds.

    A kernel of size k costs k and is worth -|k - 13| / 100, less what the momentum takes off: the
    front is every k up to 13, without momentum.
    """
    settings = f"{{method: {method}, trials: 60, seed: {seed}, objectives: [top1, params]}}"
    search = search_of(
        folder,
        settings,
        attention="[{name: ela, kernel_size: {low: 3, high: 61, step: 2}}]",
        recipe="{momentum: {low: 0, high: 0.9, step: 0.1}}",
    )
    go(search, lambda one: by_size(one) - one.trials[0].trial.recipe.momentum)
    front = {tuple(trial.values) for trial in search.study.best_trials}
    return len(front & {(-(13 - size) / 100, float(size)) for size in range(3, 14, 2)})


@pytest.mark.usefixtures("quick")
def test_tpe_finds_a_known_front(tmp_path: Path) -> None:
    assert found_of_the_front(tmp_path, "tpe") == 6


@pytest.mark.usefixtures("quick")
def test_nsga2_finds_more_of_a_known_front_than_chance(tmp_path: Path) -> None:
    found = {
        method: sum(found_of_the_front(tmp_path, method, seed) for seed in range(3))
        for method in ("nsga2", "random")
    }
    assert found["nsga2"] > found["random"]


@pytest.mark.usefixtures("quick")
def test_values_are_of_validation_and_means_over_seeds(tmp_path: Path) -> None:
    settings = "{method: tpe, objectives: [top1, latency]}"
    search = search_of(tmp_path, settings, seeds="[0, 1]", attention="[{name: ema, factor: 16}]")
    configuration = search.ask()
    assert configuration is not None
    search.tell(
        configuration,
        [
            {"best_val_top1": 0.5, "test_top1": 0.9, "latency_ms": 3.0},
            {"best_val_top1": 0.7, "test_top1": 0.9, "latency_ms": 5.0},
        ],
    )
    (trial,) = search.study.trials
    assert trial.values == [pytest.approx(0.6), 4.0]
    assert [direction.name for direction in search.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert trial.user_attrs["values"]["params"] == 16.0
    assert trial.user_attrs["values"]["macs"] == 16.0


@pytest.mark.usefixtures("quick")
def test_a_result_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    search = search_of(tmp_path, "tpe", attention="[none, ela]")
    configuration = search.ask()
    assert configuration is not None
    search.tell(configuration, results(configuration, math.nan))
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"]
