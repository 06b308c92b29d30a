"""The JSON Schema for editors: valid by a peer, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sweep.registry import ATTENTION, BACKBONES, DATASETS
from sweep.spec.plain_yaml import parse_yaml
from sweep.spec.recipes import PRESETS
from sweep.spec.schema import FIELDS, json_schema

from .spaces import call, space_of, text_of
from .test_bad_spaces import BAD

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
SCHEMA = json_schema()

BEYOND_A_SCHEMA = {
    # it depends on another field, on the backbone's own modules, or is no matter of data
    "a placement that the backbone has not",
    "a site that the backbone has not",
    "a site that has no feature map",
    "weights that are not offered",
    "an unknown metric",
    "a seed twice",
    "a data set for another task",
    "a backbone for another task",
    "the CIFAR stem on a detector",
    "a backbone of a module that the space has not",
    "a backbone of a module twice",
    "a backbone without a module",
    "a value in a grid that cannot work",
    "a hyperparameter without effect",
    "fields that do not go together",
    "a field that another one needs",
    "a field that belongs to another one",
    "a budget of a grid",
    "a field of another scheduler",
    "a first objective that is not compared",
    "an objective that there is not",
    "a scheduler of two objectives",
    "trials that end before they are compared",
    "trials that are compared while they warm up",
    "a range of warm-ups that end after a comparison",
    "a field of no population",
    "a population of a grid",
    "a population of three",
    "a population that is one generation",
    "a population that is compared while it warms up",
    "a population of trials that may end before",
    "a population without a range",
    "a population of batch sizes",
    "a population of modules",
    "a range of one backbone's population",
    "a backbone whose population is not searched",
    "a population of steps",
    "a range in a grid",
    "a range of a module in a grid",
    "a range the wrong way round",
    "a logarithmic range from zero",
    "a step that misses the end",
    "an end of a range that cannot work",
    "a value between the ends that cannot work",
    "a fraction in a range of whole numbers",
    "a step of a fraction between whole numbers",
    "a grid in a module that is taken apart",
    "parts in a grid",
    "a part that this setting has not",
    "a part that is not there",
    "the last part",
    "a baseline without a module",
    "a pair without a baseline",
    "a pair without a baseline on one backbone",
    "too few pairs",
    "fewer pairs than are asked for",
    "pairs in a grid",
    "an unknown name in an expression",
    "no expression",
    "an expression that is no condition",
    "an expression that calls",
    "an expression without an answer",
    "a field twice",
    "a field that is no text",
    "no YAML",
}
NOT_IN_THE_DATA = {"a field twice", "a field that is no text", "no YAML"}


def errors(text: str) -> list[Any]:
    return list(Draft202012Validator(SCHEMA).iter_errors(parse_yaml(text).value))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_command_prints_it() -> None:
    result = call("schema")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == SCHEMA


def test_it_names_everything_that_is_registered() -> None:
    properties = SCHEMA["properties"]
    assert set(properties) == set(FIELDS)
    datasets = [branch["properties"]["name"]["const"] for branch in properties["dataset"]["oneOf"]]
    assert datasets == DATASETS.names()
    backbone, with_options = properties["backbones"]["items"]["anyOf"]
    assert backbone["enum"] == BACKBONES.names()
    assert with_options["properties"]["recipe"] == {
        **properties["recipe"],
        "description": "Changes of the space's recipe for this backbone.",
    }
    short, *modules = properties["attention"]["items"]["anyOf"]
    assert short["enum"] == ATTENTION.names()
    assert [module["properties"]["name"]["const"] for module in modules] == ATTENTION.names()
    assert properties["recipe"]["properties"]["preset"]["enum"] == list(PRESETS)


def test_every_field_of_it_is_described() -> None:
    def fields(schema: Any, path: str = "") -> Any:
        if isinstance(schema, dict):
            for name, field in schema.get("properties", {}).items():
                yield f"{path}.{name}", field
            for key, value in schema.items():
                yield from fields(value, f"{path}.{key}")
        elif isinstance(schema, list):
            for item in schema:
                yield from fields(item, path)

    silent = [path for path, field in fields(SCHEMA) if not described(field)]
    assert silent == []


def described(field: dict[str, Any]) -> bool:
    return bool(field.get("description")) or "const" in field


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_the_search_spaces_of_the_repository_are_valid(path: Path) -> None:
    assert errors(path.read_text(encoding="utf-8")) == []


GOOD: list[dict[str, str | None]] = [
    {},
    {"attention": "[none, ela, {name: ela, preset: [T, B], shared: [true, false]}]"},
    {"attention": "[{name: eca, kernel_size: [3, adaptive]}]"},
    {"attention": "[{name: ela, groups: [1, in_channels]}]"},
    {"backbones": "[resnet50, {name: resnet18, stem: [cifar, auto], placement: [stage3]}]"},
    {"backbones": "[{name: resnet18, placement: {name: mine, sites: [layer1, layer2]}}]"},
    {"backbones": "[resnet50, {name: resnet18, recipe: {preset: ema_cifar, epochs: 3}}]"},
    {"backbones": "[{name: resnet18, recipe: {}}]", "recipe": "{schedule: poly}"},
    {"attention": "[{name: none, backbones: resnet18}, {name: ela, backbones: [resnet18]}]"},
    {
        "task": "detection",
        "dataset": "{name: voc2007}",
        "backbones": "[{name: yolox_nano, stem: [auto, imagenet]}]",
        "metric": "map50",
    },
    {
        "task": "segmentation",
        "dataset": "{name: voc2012_aug}",
        "backbones": "[deeplabv3_resnet50]",
        "recipe": "{preset: ela_deeplabv3}",
    },
    {"dataset": "{name: imagefolder, root: here, val_size: 0.2}"},
    {"dataset": "{name: cifar100, val_size: 5000, subset: 100}"},
    {"recipe": "{preset: ema_cifar, epochs: 1, milestones: [1, 2]}"},
    {"resources": "{gpus: 0.25, max_concurrent: 2}", "stopping": "{patience: 3}"},
    {"resources": "{gpus: auto}", "tracking": "{uri: 'http://localhost:5000'}"},
    {"kind": "one_at_a_time", "attention": "[{name: ema, factor: [32, 16]}]"},
    {"kind": "leave_one_out", "attention": "[none, {name: ela, parts: [no GN, height only]}]"},
    {
        "kind": "paired",
        "seeds": "[0, 1, 2]",
        "attention": "[none, ela]",
        "paired": "{alpha: 0.1, margin: 0.01}",
    },
    {
        "kind": "paired",
        "seeds": "[0, 1]",
        "attention": "[none, ela]",
        "paired": "{margin: null, min_seeds: 2}",
    },
    {"constraints": "{max_params_m: 12, max_macs_g: 0.5, where: [factor < 9, not shared]}"},
    {"search": "tpe", "scheduler": "none"},
    {
        "search": "{method: nsga2, trials: 9, seed: 1, objectives: [top1, latency]}",
        "attention": "[none, {name: ela, kernel_size: {low: 3, high: 9, step: 2}, "
        "groups: [1, in_channels], num_groups: {low: 1, high: 64, log: true}}]",
        "recipe": "{epochs: 5, lr: {low: 0.01, high: 1, log: true}}",
        "backbones": "[resnet18, {name: resnet50, recipe: {momentum: {low: 0, high: 0.9}}}]",
    },
    {"recipe": "{epochs: 9}", "scheduler": "asha", "search": "{method: random}"},
    {"recipe": "{epochs: 9}", "scheduler": "{method: median, min_epochs: 4, min_trials: 2}"},
    {
        "attention": "[none, {name: ela, preset: [T, B]}]",
        "recipe": "{epochs: 9, lr: {low: 0.01, high: 1, log: true}, momentum: {low: 0, high: 0.9}}",
        "scheduler": "{method: pbt, interval: 3}",
        "search": "{method: random, trials: 4}",
    },
    {"metric": "top5", "task": "classification", "on_indivisible": "nearest"},
]


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_what_the_loader_takes_is_valid(tmp_path: Path, fields: dict[str, str | None]) -> None:
    space_of(tmp_path, **fields)
    assert errors(text_of(**fields)) == []


@pytest.mark.parametrize("name", sorted(set(BAD) - BEYOND_A_SCHEMA))
def test_what_the_loader_refuses_is_invalid(name: str) -> None:
    assert errors(text_of(**BAD[name][0]))


def test_the_list_of_what_a_schema_cannot_see_is_true() -> None:
    seen = {name for name in BEYOND_A_SCHEMA - NOT_IN_THE_DATA if errors(text_of(**BAD[name][0]))}
    assert seen == set()
