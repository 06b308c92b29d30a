"""A trial's identity: everything that determines its result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sweep.plan import make_plan
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Segment, Trial

from .spaces import space_of

TRIAL = Trial(
    task="classification",
    dataset="digits",
    dataset_settings={
        "root": None,
        "image_size": 8,
        "val_size": 0.1,
        "split_seed": 0,
        "subset": None,
    },
    dataset_content={},
    num_classes=10,
    backbone=BackboneChoice(name="resnet18", stem="cifar"),
    placement="stem_stage",
    sites=("maxpool", "layer1"),
    attention="ela",
    preset="S",
    hyperparameters={
        "kernel_size": 5,
        "groups": "in_channels/8",
        "num_groups": 16,
        "shared": True,
    },
    nondefault=("groups", "kernel_size"),
    plugins=(),
    on_indivisible="refuse",
    recipe=Recipe(epochs=2, lr=0.05),
    patience=None,
    metric="top1",
    seed=0,
)

CANONICAL = (
    '{"attention":"ela","backbone":{"name":"resnet18","stem":"cifar","weights":null},'
    '"dataset":"digits","dataset_content":{},'
    '"hyperparameters":{"groups":"in_channels/8","kernel_size":5},"metric":"top1",'
    '"num_classes":10,"on_indivisible":"refuse","patience":null,"plugins":[],'
    '"recipe":{"epochs":2,"lr":0.05},"seed":0,"sites":["maxpool","layer1"],'
    '"task":"classification","version":1}'
)


def test_the_identity_is_the_hash_of_its_canonical_json() -> None:
    # If this fails, every result that users have is unknown to them: was that meant?
    assert TRIAL.trial_id == hashlib.sha256(CANONICAL.encode()).hexdigest()[:12] == "4458d3fe906e"


def test_a_trial_that_was_stored_is_the_same_trial() -> None:
    read = Trial.model_validate_json(TRIAL.model_dump_json())
    assert read == TRIAL
    assert read.trial_id == TRIAL.trial_id


RECIPE: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 64,
    "accumulate": 2,
    "optimizer": "adamw",
    "lr": 0.1,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.0,
    "decay_norm_and_bias": False,
    "schedule": "constant",
    "milestones": (1,),
    "gamma": 0.2,
    "warmup_epochs": 1.0,
    "label_smoothing": 0.1,
    "augmentation": "none",
    "precision": "bf16",
    "channels_last": True,
    "evaluate": "last",
}

DETERMINES: dict[str, Any] = {
    "task": "other",
    "dataset": "cifar10",
    "dataset_content": {"subset": 10},
    "num_classes": 11,
    "backbone": BackboneChoice(name="resnet18", stem="cifar", weights="IMAGENET1K_V1"),
    "sites": ("layer1",),
    "attention": "ema",
    "nondefault": (),
    "plugins": ("other==1.0",),
    "on_indivisible": "nearest",
    "patience": 3,
    "metric": "top5",
    "seed": 1,
    "segment": Segment(until=2, parent=None),
}

NO_MATTER: dict[str, Any] = {
    "dataset_settings": {"root": "elsewhere"},
    "placement": "mine",
    "preset": None,
    "part": "no GN",
}


def test_every_field_of_a_trial_is_known_to_matter_or_not() -> None:
    compound = {"hyperparameters", "recipe"}
    assert set(Trial.model_fields) == {*DETERMINES, *NO_MATTER, *compound}
    assert set(Recipe.model_fields) == set(RECIPE)


def test_every_field_that_matters_makes_another_trial() -> None:
    changed = [TRIAL.model_copy(update={name: value}) for name, value in DETERMINES.items()]
    for name, value in RECIPE.items():
        recipe = TRIAL.recipe.model_copy(update={name: value})
        changed.append(TRIAL.model_copy(update={"recipe": recipe}))
    for name, value in {"name": "resnet50", "stem": "imagenet"}.items():
        backbone = TRIAL.backbone.model_copy(update={name: value})
        changed.append(TRIAL.model_copy(update={"backbone": backbone}))
    hyperparameters = {**TRIAL.hyperparameters, "kernel_size": 3}
    changed.append(TRIAL.model_copy(update={"hyperparameters": hyperparameters}))
    assert len({trial.trial_id for trial in [TRIAL, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("name", NO_MATTER)
def test_every_other_field_does_not(name: str) -> None:
    changed = Trial.model_validate({**TRIAL.model_dump(), name: NO_MATTER[name]})
    assert changed != TRIAL
    assert changed.trial_id == TRIAL.trial_id


def test_the_ancestors_of_a_segment_matter() -> None:
    segments = [
        Segment(until=1, parent=None),
        Segment(until=2, parent=None),
        Segment(until=2, parent="4458d3fe906e"),
        Segment(until=2, parent="4458d3fe906f"),
    ]
    trials = [TRIAL.model_copy(update={"segment": segment}) for segment in segments]
    assert len({trial.trial_id for trial in [TRIAL, *trials]}) == 5
    assert [(trial.until, trial.partial) for trial in [TRIAL, *trials[:2]]] == [
        (2, False),
        (1, True),
        (2, False),
    ]
    read = Trial.model_validate_json(trials[2].model_dump_json())
    assert (read, read.trial_id) == (trials[2], trials[2].trial_id)


def test_a_hyperparameter_that_a_module_gains_later_does_not_matter() -> None:
    later = {**TRIAL.hyperparameters, "new": "default"}
    assert TRIAL.model_copy(update={"hyperparameters": later}).trial_id == TRIAL.trial_id


# Through a space -------------------------------------------------------------------------------


def ids(folder: Path, *overrides: str, **fields: str | None) -> list[str]:
    return [p.trial.trial_id for p in make_plan(space_of(folder, *overrides, **fields)).trials]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # a preset or its values; a default or its value
        (
            {"attention": "[{name: ela, preset: L}]"},
            {"attention": "[{groups: in_channels/8, name: ela, num_groups: 16, kernel_size: 7}]"},
        ),
        ({"attention": "[ela]"}, {"attention": "[{name: ela, preset: B, shared: true}]"}),
        (  # a module without a part or its values; all kinds
            {"attention": "[{name: ela, preset: T, parts: [no GN]}]", "kind": "leave_one_out"},
            {"attention": "[{name: ela, preset: T}, {name: ela, kernel_size: 5, norm: none}]"},
        ),
        (
            {"attention": "[{name: ela, preset: [B, L]}]"},
            {"kind": "one_at_a_time", "attention": "[ela, {name: ela, preset: L}]"},
        ),
        ({"seeds": "[0, 1]"}, {"seeds": "[0, 1]", "kind": "one_at_a_time"}),
        ({}, {"constraints": "{max_params_m: 12}"}),
        (
            {"recipe": "{preset: he2016_resnet}"},
            {
                "recipe": "{batch_size: 256, lr: 0.1, weight_decay: 0.0001, schedule: step, "
                "milestones: [30, 60]}"
            },
        ),
        ({"recipe": "{lr: 1}"}, {"recipe": "{lr: 1.0}"}),
        ({"dataset": "{name: digits}"}, {"dataset": "{name: digits, image_size: 8}"}),
        ({"stopping": "{}"}, {"stopping": "{patience: }"}),
        ({}, {"metric": "top1", "task": "classification", "on_indivisible": "nearest"}),
        # a policy, the default one, or own sites that name the same
        (
            {"attention": "[eca]", "backbones": "[resnet50]"},
            {"attention": "[eca]", "backbones": "[{name: resnet50, placement: stem_stage}]"},
        ),
        (
            {"attention": "[eca]", "backbones": "[resnet50]"},
            {
                "attention": "[eca]",
                "backbones": "[{name: resnet50, placement: {name: mine, sites: "
                "[layer4, layer3, layer2, layer1, relu]}}]",
            },
        ),
        ({"backbones": "[resnet18]"}, {"backbones": "[{name: resnet18, stem: cifar}]"}),
        # the recipe of a space or of a backbone; a module for all or for each
        ({"backbones": "[{name: resnet18, recipe: {epochs: 3}}]"}, {"recipe": "{epochs: 3}"}),
        (
            {
                "backbones": "[{name: resnet18, recipe: {preset: ema_cifar}}]",
                "recipe": "{preset: he2016_resnet, epochs: 3}",
            },
            {"recipe": "{preset: ema_cifar, epochs: 3}"},
        ),
        ({"attention": "[ela]"}, {"attention": "[{name: ela, backbones: [resnet18]}]"}),
        # what is called or lies otherwise
        ({}, {"study": "another", "question": "Another?"}),
        ({}, {"resources": "{cpus: 2, gpus: 0, workers: 3, max_concurrent: 1}"}),
        ({}, {"tracking": "{uri: 'http://localhost'}", "keep_checkpoints": "best"}),
        ({}, {"dataset": "{name: digits, root: elsewhere}"}),
    ],
)
def test_what_gives_the_same_result_is_the_same_trial(
    tmp_path: Path, one: dict[str, str], other: dict[str, str]
) -> None:
    assert ids(tmp_path, **one) == ids(tmp_path, **other)


@pytest.mark.parametrize(
    "override",
    [
        "dataset.image_size=16",
        "dataset.val_size=0.2",
        "dataset.split_seed=1",
        "dataset.subset=100",
        "backbones=[resnet50]",
        "backbones=[{name: resnet18, stem: imagenet}]",
        "backbones=[{name: resnet18, placement: block_last_bn}]",
        "backbones=[{name: resnet18, stem: imagenet, weights: IMAGENET1K_V1}]",
        "backbones=[{name: resnet18, recipe: {epochs: 3}}]",
        "attention=[ema]",
        "attention=[{name: ela, shared: false}]",
        "seeds=[1]",
        "metric=loss",
        "stopping.patience=3",
        "recipe.epochs=3",
        "recipe.precision=bf16",
    ],
)
def test_what_may_give_another_result_is_another_trial(tmp_path: Path, override: str) -> None:
    assert not set(ids(tmp_path, override, attention="[ela]")) & set(
        ids(tmp_path, attention="[ela]")
    )


def test_the_json_of_an_identity_is_plain() -> None:
    assert json.loads(json.dumps(TRIAL.identity)) == TRIAL.identity
