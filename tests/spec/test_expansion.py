"""From the lists of a space to its points: sizes, order, presets, and what is the same trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep.plan import Plan, make_plan

from .spaces import space_of


def plan_of(folder: Path, **fields: str | None) -> Plan:
    return make_plan(space_of(folder, **fields))


def points(
    folder: Path, attention: str, kind: str = "grid"
) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Return name, preset and what differs from the defaults, of every point of a grid."""
    return [
        (p.name, p.preset, {name: p.hyperparameters[name] for name in p.nondefault})
        for p in space_of(folder, attention=attention, kind=kind).attention
    ]


def test_each_module_has_its_own_grid_in_the_order_of_the_file(tmp_path: Path) -> None:
    grid = """[none,
        {name: ela, kernel_size: [5, 3], groups: [1, in_channels/8]},
        {name: ema, factor: [8, 16]},
        {name: ca, norm: gn, reduction: [4, 8], num_groups: 2}]"""
    common = {"norm": "gn", "num_groups": 2}
    assert points(tmp_path, grid) == [
        ("none", None, {}),
        ("ela", None, {"kernel_size": 5, "groups": 1}),
        ("ela", None, {"kernel_size": 5, "groups": "in_channels/8"}),
        ("ela", None, {"kernel_size": 3, "groups": 1}),
        ("ela", None, {"kernel_size": 3, "groups": "in_channels/8"}),
        ("ema", None, {"factor": 8}),
        ("ema", None, {"factor": 16}),
        ("ca", None, {"reduction": 4, **common}),
        ("ca", None, {"reduction": 8, **common}),
    ]


def test_the_last_field_of_an_entry_varies_fastest(tmp_path: Path) -> None:
    assert [p["num_groups"] for *_, p in points(tmp_path, "[{name: ela, num_groups: [1, 2]}]")] == [
        1,
        2,
    ]
    grid = points(tmp_path, "[{name: ela, num_groups: [1, 2], kernel_size: [3, 5]}]")
    assert [(p["num_groups"], p["kernel_size"]) for *_, p in grid] == [
        (1, 3),
        (1, 5),
        (2, 3),
        (2, 5),
    ]


def test_presets_are_an_axis_like_others(tmp_path: Path) -> None:
    assert points(tmp_path, "[{name: ela, preset: [T, B, L]}]") == [
        ("ela", "T", {"kernel_size": 5, "num_groups": 32}),
        ("ela", "B", {}),
        ("ela", "L", {"groups": "in_channels/8"}),
    ]
    assert points(tmp_path, "[{name: ca, preset: [official, ela_paper], reduction: [16, 32]}]") == [
        ("ca", "official", {"reduction": 16}),
        ("ca", "official", {}),
        ("ca", "ela_paper", {"reduction": 16, "bias": False, "min_channels": 1}),
        ("ca", "ela_paper", {"bias": False, "min_channels": 1}),
    ]


def test_a_preset_that_is_changed_is_that_preset_no_more(tmp_path: Path) -> None:
    assert points(tmp_path, "[{name: ela, preset: T, kernel_size: 3}]") == [
        ("ela", None, {"kernel_size": 3, "num_groups": 32}),
    ]


def test_a_recipe_preset_can_be_changed(tmp_path: Path) -> None:
    recipe = space_of(tmp_path, recipe="{preset: ema_cifar, weight_decay: 5.0e-4}").recipe
    assert (recipe.weight_decay, recipe.milestones, recipe.epochs) == (5e-4, (60, 120, 160), 200)
    recipe = space_of(tmp_path, recipe="{preset: ema_cifar, schedule: cosine}").recipe
    assert (recipe.schedule, recipe.milestones) == ("cosine", ())


@pytest.mark.parametrize(
    ("own", "overrides"),
    [
        ("{}", []),
        ("{lr: 0.3}", ["recipe.lr=0.3"]),
        ("{preset: ela_mobilenet_v2}", ["recipe.preset=ela_mobilenet_v2"]),
        (
            "{preset: ema_cifar, epochs: 9}",
            ["recipe.preset=ema_cifar", "recipe.epochs=9"],
        ),
        ("{schedule: poly}", ["recipe.schedule=poly"]),
    ],
)
def test_a_backbones_recipe_means_what_its_fields_mean_as_overrides(
    tmp_path: Path, own: str, overrides: list[str]
) -> None:
    fields = {"recipe": "{preset: he2016_resnet, epochs: 7, momentum: 0.8}"}
    shared = space_of(tmp_path, *overrides, **fields).recipe
    space = space_of(tmp_path, backbones=f"[{{name: resnet18, recipe: {own}}}]", **fields)
    assert space.backbones[0].recipe == shared


def test_a_backbones_recipe_replaces_the_preset_and_keeps_what_is_said_beside_it(
    tmp_path: Path,
) -> None:
    space = space_of(
        tmp_path,
        backbones="[{name: mobilenet_v2, recipe: {preset: ela_mobilenet_v2}}, resnet18, "
        "{name: resnet50, placement: [stem_stage, block_last_bn], recipe: {lr: 0.3}}]",
        recipe="{preset: he2016_resnet, epochs: 7}",
    )
    shown = [(p.recipe.epochs, p.recipe.lr, p.recipe.schedule) for p in space.backbones if p.recipe]
    assert shown == [(7, 0.025, "cosine"), (7, 0.1, "step"), (7, 0.3, "step"), (7, 0.3, "step")]
    assert space.recipe == space.backbones[1].recipe


@pytest.mark.parametrize(
    ("own", "schedule", "milestones"),
    [
        ("{preset: ela_mobilenet_v2}", "cosine", ()),
        ("{schedule: poly}", "poly", ()),
        ("{preset: he2016_resnet}", "step", (3,)),  # what stands beside a preset stays
        ("{preset: ema_cifar}", "step", (3,)),
        ("{preset: ema_cifar, milestones: [4]}", "step", (4,)),
        ("{preset: ela_mobilenet_v2, schedule: step, milestones: [5]}", "step", (5,)),
        ("{lr: 1}", "step", (3,)),
    ],
)
def test_milestones_of_all_are_those_of_a_backbone_that_has_steps(
    own: str, schedule: str, milestones: tuple[int, ...], tmp_path: Path
) -> None:
    backbones = f"[{{name: resnet18, recipe: {own}}}, resnet50]"
    shared = "{preset: he2016_resnet, milestones: [3]}"
    changed, unchanged = space_of(tmp_path, backbones=backbones, recipe=shared).backbones
    assert changed.recipe is not None
    assert unchanged.recipe is not None
    assert (changed.recipe.schedule, changed.recipe.milestones) == (schedule, milestones)
    assert (unchanged.recipe.schedule, unchanged.recipe.milestones) == ("step", (3,))


def test_a_schedule_that_is_written_beside_a_preset_stays_for_all(tmp_path: Path) -> None:
    (point,) = space_of(
        tmp_path,
        backbones="[{name: resnet18, recipe: {preset: ela_mobilenet_v2}}]",
        recipe="{preset: he2016_resnet, schedule: step, milestones: [3]}",
    ).backbones
    assert point.recipe is not None
    assert (point.recipe.schedule, point.recipe.milestones) == ("step", (3,))
    assert point.recipe.lr == 0.025


def test_a_module_is_only_on_its_backbones(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[resnet18, mobilenet_v2, {name: resnet18, placement: block_last_bn}]",
        attention="[none, {name: eca, backbones: mobilenet_v2}, "
        "{name: se, reduction: [4, 8], backbones: [resnet18]}, "
        "{name: nam, backbones: [mobilenet_v2, resnet18]}]",
    )
    assert [(t.trial.backbone.name, t.trial.placement, t.label) for t in plan.trials] == [
        ("resnet18", "none", "baseline"),
        ("resnet18", "stage3", "SE-r4"),
        ("resnet18", "stage3", "SE-r8"),
        ("resnet18", "stage3", "NAM"),
        ("mobilenet_v2", "none", "baseline"),
        ("mobilenet_v2", "hidden", "ECA"),
        ("mobilenet_v2", "hidden", "NAM"),
        ("resnet18", "block_last_bn", "SE-r4"),
        ("resnet18", "block_last_bn", "SE-r8"),
        ("resnet18", "block_last_bn", "NAM"),
    ]
    assert plan.duplicates == 1  # the baseline of the second placement


def test_the_same_module_for_all_and_for_one_is_planned_once(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[resnet18, mobilenet_v2]",
        attention="[eca, {name: eca, backbones: resnet18}]",
    )
    assert [t.trial.backbone.name for t in plan.trials] == ["resnet18", "mobilenet_v2"]
    assert plan.duplicates == 1


def test_trials_are_backbones_by_modules_by_seeds(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[resnet50, {name: resnet18, placement: [block_last_bn, stage3]}]",
        attention="[{name: eca}, {name: se, reduction: [4, 8]}]",
        seeds="[1, 0]",
    )
    assert [
        (t.trial.backbone.name, t.trial.placement, t.label, t.trial.seed) for t in plan.trials
    ] == [
        (backbone, placement, label, seed)
        for backbone, placement in (
            ("resnet50", "stem_stage"),
            ("resnet18", "block_last_bn"),
            ("resnet18", "stage3"),
        )
        for label in ("ECA", "SE-r4", "SE-r8")
        for seed in (1, 0)
    ]
    assert plan.duplicates == 0


def test_placements_of_a_backbone_share_its_baseline(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[{name: resnet18, placement: [stage3, block_last_bn]}]",
        attention="[none, eca]",
        seeds="[0, 1]",
    )
    assert [(t.trial.attention, t.trial.placement) for t in plan.trials if not t.trial.seed] == [
        ("none", "none"),
        ("eca", "stage3"),
        ("eca", "block_last_bn"),
    ]
    assert plan.duplicates == 2  # the baseline of the second placement, for each seed
    assert plan.trials[0].trial.sites == ()


def test_points_that_are_one_trial_are_planned_once_and_counted(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        attention="[{name: ela, preset: B}, {name: ela, kernel_size: [7, 7]}, ela, {name: ela, "
        "kernel_size: 7, groups: in_channels, num_groups: 16, shared: true}]",
    )
    assert [t.label for t in plan.trials] == ["ELA-B"]
    assert plan.duplicates == 4


def test_own_sites_are_the_policy_that_names_the_same(tmp_path: Path) -> None:
    own = "{name: mine, sites: [layer4, layer2, layer3, layer1, relu]}"
    plan = plan_of(
        tmp_path,
        backbones=f"[{{name: resnet18, placement: [{own}, stem_stage]}}]",
        attention="[eca]",
    )
    (only,) = plan.trials
    assert only.trial.placement == "mine"
    assert only.trial.sites == ("relu", "layer1", "layer2", "layer3", "layer4")
    assert plan.duplicates == 1


def test_the_stem_follows_the_size_of_the_images(tmp_path: Path) -> None:
    def stems(size: int, stem: str = "auto") -> list[str]:
        plan = plan_of(
            tmp_path,
            dataset=f"{{name: digits, image_size: {size}}}",
            backbones=f"[{{name: resnet18, stem: {stem}}}]",
        )
        return [t.trial.backbone.stem for t in plan.trials]

    assert stems(8) == stems(64) == ["cifar"]
    assert stems(65) == ["imagenet"]
    assert stems(8, "[imagenet, auto, cifar]") == ["imagenet", "cifar"]


@pytest.mark.parametrize(
    ("backbone", "attention", "reason"),
    [
        ("mobilenet_v2", "{name: ela, preset: T}", "num_groups (=32) must divide C=144"),
        ("mobilenet_v2", "{name: ema, factor: 32}", "factor (=32) must divide C=144"),
        ("resnet18", "{name: sa, groups: 64}", "groups (=64) must divide 32 (at C=64)"),
        (
            "resnet18",
            "{name: ca, norm: gn, num_groups: 3, reduction: 16}",
            "num_groups (=3) must divide 8 (at C=64)",
        ),
    ],
)
def test_what_cannot_exist_is_refused_with_the_reason(
    tmp_path: Path, backbone: str, attention: str, reason: str
) -> None:
    plan = plan_of(tmp_path, backbones=f"[{backbone}]", attention=f"[none, {attention}]")
    good, refused = plan.trials
    assert (good.status, good.reason, good.trial.attention) == ("planned", "", "none")
    assert (refused.status, refused.reason, refused.cost) == ("refused", reason, None)
    assert plan.runnable == (good,)
    assert plan.refused == (refused,)


@pytest.mark.parametrize(
    ("backbone", "attention", "reason"),
    [
        ("mobilenet_v2", "{name: ela, preset: T}", "num_groups 32 -> 24 at C=144"),
        ("mobilenet_v2", "{name: ema, factor: 32}", "factor 32 -> 24 at C=144"),
        ("resnet18", "{name: sa, groups: 64}", "groups 64 -> 32 at C=64"),
    ],
)
def test_the_nearest_is_used_where_the_space_allows_it(
    tmp_path: Path, backbone: str, attention: str, reason: str
) -> None:
    plan = plan_of(
        tmp_path,
        backbones=f"[{backbone}]",
        attention=f"[none, {attention}]",
        on_indivisible="nearest",
    )
    baseline, adjusted = plan.trials
    assert adjusted.status == "adjusted"
    assert reason in adjusted.reason.split("; ")
    assert len(adjusted.reason.split("; ")) == len(set(adjusted.reason.split("; ")))
    assert adjusted.cost is not None
    assert adjusted.trial.on_indivisible == "nearest"
    # What needs no adjustment is the same trial as in a space that refuses.
    assert baseline.trial.on_indivisible == "refuse"
    assert baseline.status == "planned"


def test_a_plan_counts_the_images_of_an_epoch(tmp_path: Path) -> None:
    def images(dataset: str) -> int | None:
        return plan_of(tmp_path, dataset=dataset).train_images

    assert images("{name: digits}") == 1437 - 144
    assert images("{name: digits, val_size: 100, subset: 50}") == 50
    assert images("{name: cifar100}") == 45_000
    assert images("{name: imagenet}") == 1_281_167 - 50_000


def test_the_cost_of_training_is_six_operations_per_mac_image_and_epoch(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[mobilenet_v2]",
        attention="[none, {name: ela, preset: T}]",  # the second is refused and costs nothing
        seeds="[0, 1]",
        recipe="{epochs: 3}",
    )
    cost = plan.trials[0].cost
    assert cost is not None
    assert plan.training_flops() == 2 * 3 * 1293 * 6 * cost.macs


def test_the_cost_of_training_follows_the_recipe_of_each_backbone(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        backbones="[resnet18, {name: mobilenet_v2, recipe: {epochs: 5}}]",
        recipe="{epochs: 2}",
    )
    macs = {t.trial.backbone.name: t.cost.macs for t in plan.trials if t.cost}
    assert {t.trial.backbone.name: t.trial.recipe.epochs for t in plan.trials} == {
        "resnet18": 2,
        "mobilenet_v2": 5,
    }
    assert plan.training_flops() == (2 * macs["resnet18"] + 5 * macs["mobilenet_v2"]) * 6 * 1293


# One at a time ---------------------------------------------------------------------------------


def test_one_at_a_time_is_the_first_values_and_each_other_value_alone(tmp_path: Path) -> None:
    grid = """[none, {name: ela, kernel_size: [5, 3, 9], num_groups: [8, 4], groups: 1},
        {name: ema, factor: [16, 8]}, eca]"""
    assert points(tmp_path, grid, "one_at_a_time") == [
        ("none", None, {}),
        ("ela", None, {"kernel_size": 5, "num_groups": 8, "groups": 1}),
        ("ela", None, {"kernel_size": 3, "num_groups": 8, "groups": 1}),
        ("ela", None, {"kernel_size": 9, "num_groups": 8, "groups": 1}),
        ("ela", None, {"kernel_size": 5, "num_groups": 4, "groups": 1}),
        ("ema", None, {"factor": 16}),
        ("ema", None, {"factor": 8}),
        ("eca", None, {}),
    ]


def test_a_preset_is_one_of_the_fields_that_vary_alone(tmp_path: Path) -> None:
    grid = "[{name: ca, preset: [official, ela_paper], reduction: [16, 8]}]"
    assert points(tmp_path, grid, "one_at_a_time") == [
        ("ca", "official", {"reduction": 16}),
        ("ca", "ela_paper", {"reduction": 16, "bias": False, "min_channels": 1}),
        ("ca", "official", {"reduction": 8}),
    ]


@pytest.mark.parametrize("lengths", [(1, 1), (4, 1), (2, 3), (3, 3)])
def test_every_list_of_k_values_brings_k_less_one_points(
    tmp_path: Path, lengths: tuple[int, int]
) -> None:
    kernels, groups = ([1, 3, 5, 7][: lengths[0]], [1, 2, 4, 8][: lengths[1]])
    grid = f"[{{name: ela, kernel_size: {kernels}, groups: {groups}}}]"
    found = points(tmp_path, grid, "one_at_a_time")
    assert len(found) == 1 + sum(length - 1 for length in lengths)
    changed = [sum(p.get(k) != v for k, v in found[0][2].items()) for *_, p in found[1:]]
    assert all(count <= 1 for count in changed)


def test_entries_of_backbones_and_attention_are_combined_all_the_same(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        kind="one_at_a_time",
        backbones="[{name: resnet18, placement: [stage3, stem_stage], stem: [cifar, imagenet]}]",
        attention="[{name: se, reduction: [4, 8]}, eca]",
    )
    places = [("cifar", "stage3"), ("cifar", "stem_stage"), ("imagenet", "stage3")]
    assert [(t.trial.backbone.stem, t.trial.placement, t.label) for t in plan.trials] == [
        (stem, placement, label)
        for stem, placement in places
        for label in ("SE-r4", "SE-r8", "ECA")
    ]


# Leave one out ---------------------------------------------------------------------------------


def test_a_module_is_whole_and_then_without_each_of_its_parts(tmp_path: Path) -> None:
    assert points(tmp_path, "[none, {name: ela, preset: [T, B]}]", "leave_one_out") == [
        ("none", None, {}),
        ("ela", "T", {"kernel_size": 5, "num_groups": 32}),
        ("ela", "T", {"kernel_size": 5, "norm": "none"}),
        ("ela", "T", {"kernel_size": 5, "norm": "bn"}),
        ("ela", "T", {"num_groups": 32, "conv": False}),
        ("ela", "T", {"kernel_size": 5, "num_groups": 32, "directions": "height"}),
        ("ela", "T", {"kernel_size": 5, "num_groups": 32, "directions": "width"}),
        ("ela", "B", {}),
        ("ela", "B", {"norm": "none"}),
        ("ela", "B", {"norm": "bn"}),
        ("ela", "B", {"conv": False}),
        ("ela", "B", {"directions": "height"}),
        ("ela", "B", {"directions": "width"}),
    ]


def test_only_the_parts_that_are_asked_for_in_their_order(tmp_path: Path) -> None:
    attention = "[{name: ela, num_groups: 4, parts: [width only, no GN]}, {name: ema, factor: 8}]"
    found = space_of(tmp_path, attention=attention, kind="leave_one_out").attention
    assert [(p.name, p.part, {n: p.hyperparameters[n] for n in p.nondefault}) for p in found] == [
        ("ela", None, {"num_groups": 4}),
        ("ela", "width only", {"num_groups": 4, "directions": "width"}),
        ("ela", "no GN", {"norm": "none"}),
        ("ema", None, {"factor": 8}),
        ("ema", "no cross-spatial", {"factor": 8, "cross_spatial": False}),
        ("ema", "no 3x3 branch", {"factor": 8, "conv3x3": False}),
    ]


def test_what_presets_share_without_a_part_is_planned_once(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        kind="leave_one_out",
        attention="[{name: ela, preset: [B, L], parts: [no conv]}]",  # they differ by their groups
    )
    assert [(t.label, t.trial.preset, t.trial.part) for t in plan.trials] == [
        ("ELA-B", "B", None),
        ("ELA-B no conv", "B", "no conv"),
        ("ELA-L", "L", None),
    ]
    assert plan.duplicates == 1


# Paired ----------------------------------------------------------------------------------------


def test_a_paired_study_is_a_grid_with_its_own_settings(tmp_path: Path) -> None:
    fields = {"attention": "[none, {name: ela, preset: [B, L]}]", "seeds": "[0, 1, 2]"}
    space = space_of(tmp_path, kind="paired", paired="{margin: 0.01}", **fields)
    assert space.paired is not None
    assert (space.paired.alpha, space.paired.margin, space.paired.min_seeds) == (0.05, 0.01, 3)
    assert space.attention == space_of(tmp_path, **fields).attention
    assert space_of(tmp_path, **fields).paired is None
