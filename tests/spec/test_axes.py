"""The axes of a space, against its grid where there is one, and by hand where there is none."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from sweep.plan import make_plan
from sweep.spec.axes import Axis, Choice, Choices, EndlessError, concrete, points, searches_recipes
from sweep.spec.document import Document, SpecError
from sweep.spec.load import check_space
from sweep.spec.schema import Range

from .spaces import space_of

GRID = {
    "backbones": "[resnet18, {name: mobilenet_v2, placement: [stem_stage, block_last_bn]}]",
    "attention": "[none, {name: ela, kernel_size: [5, 7], shared: [true, false]}, "
    "{name: ema, factor: [16, 32]}, {name: ela, preset: [B, L]}, "
    "{name: ca, backbones: [resnet18], reduction: [8, 16]}]",
    "seeds": "[0, 1]",
}
SEARCHED = {
    "search": "tpe",
    "attention": "[none, {name: ela, kernel_size: {low: 3, high: 9, step: 2}}]",
    "recipe": "{epochs: 2, lr: {low: 0.01, high: 1, log: true}, batch_size: {low: 16, high: 18}}",
}


def document_of(folder: Path, **fields: str | None) -> Document:
    return space_of(folder, **fields).document


def asked(document: Document, choices: Choices) -> list[Axis]:
    """Return the axes of a point, in their order."""
    axes: list[Axis] = []

    def choose(axis: Axis) -> Choice:
        axes.append(axis)
        return choices[axis.name]

    concrete(document, choose)
    return axes


def test_the_points_of_a_finite_space_are_those_of_its_grid(tmp_path: Path) -> None:
    grid = make_plan(space_of(tmp_path, **GRID))
    document = document_of(tmp_path, search="random", **GRID)
    plans = [
        make_plan(check_space(concrete(document, lambda axis, at=choices: at[axis.name])))
        for choices in points(document)
    ]
    ids = [planned.trial.trial_id for plan in plans for planned in plan.trials]
    assert set(ids) == {planned.trial.trial_id for planned in grid.trials}
    assert len(ids) == len(grid.trials) + grid.duplicates


def test_names_say_where_an_axis_stands(tmp_path: Path) -> None:
    document = document_of(tmp_path, search="random", **GRID)
    found = [tuple(choices) for choices in points(document)]
    on = "attention on resnet18"
    assert set(found) == {
        ("backbones", on),  # none
        ("backbones", on, "attention.ela.kernel_size", "attention.ela.shared"),
        ("backbones", on, "attention.ema.factor"),
        ("backbones", on, "attention.ela(2).preset"),
        ("backbones", on, "attention.ca.reduction"),
        *(
            ("backbones", "backbones.mobilenet_v2.placement", "attention on mobilenet_v2", *own)
            for own in (
                (),
                ("attention.ela.kernel_size", "attention.ela.shared"),
                ("attention.ema.factor",),
                ("attention.ela(2).preset",),
            )
        ),
    }


def test_an_entry_has_its_own_axes_alone(tmp_path: Path) -> None:
    document = document_of(tmp_path, search="random", **GRID)
    for choices in points(document):
        module = str(next(v for k, v in choices.items() if k.startswith("attention on")))
        own = [name for name in choices if name.startswith("attention.")]
        assert all(name.startswith(f"attention.{module}.") for name in own)


def test_one_value_is_no_choice(tmp_path: Path) -> None:
    document = document_of(tmp_path, attention="[{name: ela, kernel_size: [5]}]")
    assert list(points(document)) == [{}]
    (entry,) = concrete(document, pytest.fail).data["attention"]
    assert entry == {"name": "ela", "kernel_size": 5}


def test_a_range_is_filled_with_what_its_field_takes(tmp_path: Path) -> None:
    document = document_of(tmp_path, **SEARCHED)
    choices: Choices = {
        "attention": "ela",
        "attention.ela.kernel_size": 5,
        "recipe.lr": 0.123456789,
        "recipe.batch_size": 17,
    }
    point = concrete(document, lambda axis: choices[axis.name])
    assert point.data["attention"] == [{"name": "ela", "kernel_size": 5}]
    assert point.data["recipe"] == {"epochs": 2, "lr": 0.1235, "batch_size": 17}
    assert "search" not in point.data
    assert [axis.name for axis in asked(document, choices)] == list(choices)
    recipe = check_space(point).recipe
    assert (recipe.lr, recipe.batch_size) == (0.1235, 17)


@pytest.mark.parametrize(
    ("axis", "choices"),
    [
        (Axis("k", range=Range(low=3, high=9, step=2), whole=True), [3, 5, 7, 9]),
        (Axis("k", range=Range(low=1, high=3), whole=True), [1, 2, 3]),
        (Axis("m", range=Range(low=0, high=1, step=0.25)), [0, 0.25, 0.5, 0.75, 1]),
        (Axis("a", values={"none": {}, "ela": {}}), ["none", "ela"]),
    ],
)
def test_the_choices_of_an_axis(axis: Axis, choices: list[Any]) -> None:
    assert axis.choices() == choices


def test_any_number_is_endless(tmp_path: Path) -> None:
    with pytest.raises(EndlessError):
        Axis("lr", range=Range(low=0.1, high=1)).choices()
    with pytest.raises(EndlessError):
        Axis("groups", range=Range(low=1, high=10**12), whole=True).choices()
    with pytest.raises(EndlessError):
        list(points(document_of(tmp_path, **SEARCHED)))


@pytest.mark.parametrize("choice", ["five", 2, 11])
def test_what_is_no_choice_is_refused(choice: Choice) -> None:
    with pytest.raises(KeyError):
        Axis("k", range=Range(low=3, high=9, step=2), whole=True).value(choice)
    with pytest.raises(KeyError):
        Axis("k", values={"3": 3}).value(choice)


def test_rounding_stays_between_the_ends() -> None:
    axis = Axis("lr", range=Range(low=0.12344, high=0.98765))
    assert axis.value(0.12344) == 0.12344
    assert axis.value(0.98765) == 0.98765
    assert axis.value(0.55555555) == 0.5556


def test_what_a_backbone_says_itself_is_no_axis_there(tmp_path: Path) -> None:
    document = document_of(
        tmp_path,
        search="tpe",
        backbones="[resnet18, {name: resnet50, recipe: {lr: 0.5, momentum: {low: 0, high: 0.9}}}]",
        recipe="{epochs: 2, lr: {low: 0.01, high: 1}}",
    )
    chosen: Choices = {
        "recipe.lr": 0.1,
        "backbones.resnet50.recipe.momentum": 0.3,
        "backbones": "resnet18",
    }
    assert [a.name for a in asked(document, chosen)] == ["backbones", "recipe.lr"]
    chosen["backbones"] = "resnet50"
    names = ["backbones", "backbones.resnet50.recipe.momentum"]
    assert [a.name for a in asked(document, chosen)] == names
    (point,) = check_space(concrete(document, lambda axis: chosen[axis.name])).backbones
    assert point.recipe is not None
    assert (point.recipe.lr, point.recipe.momentum) == (0.5, 0.3)


@pytest.mark.parametrize(
    ("fields", "searches"),
    [
        ({"search": "tpe"}, False),
        ({"search": "tpe", "recipe": "{lr: {low: 0.1, high: 1}}"}, True),
        (
            {
                "search": "tpe",
                "backbones": "[{name: resnet18, recipe: {lr: {low: 0.1, high: 1}}}]",
            },
            True,
        ),
    ],
)
def test_whether_recipes_are_searched(
    tmp_path: Path, fields: dict[str, str], searches: bool
) -> None:
    assert searches_recipes(document_of(tmp_path, **fields)) == searches


def test_a_mistake_of_a_point_is_told_where_it_stands_in_the_file(tmp_path: Path) -> None:
    document = document_of(
        tmp_path, search="random", attention="[none, {name: ela, kernel_size: [5, 7]}]"
    )
    point = concrete(document, lambda axis: axis.choices()[-1])
    point.data["attention"][0]["kernel_size"] = 4
    with pytest.raises(SpecError) as caught:
        check_space(point)
    (line,) = caught.value.lines
    assert "space.yaml:5:31: attention[0].kernel_size: 4 must be odd" in line


def test_every_combination_of_a_list_is_one_point(tmp_path: Path) -> None:
    document = document_of(
        tmp_path,
        search="tpe",
        attention="[{name: ela, kernel_size: {low: 3, high: 7, step: 2}, shared: [true, false]}]",
    )
    expected = [
        {"attention.ela.kernel_size": size, "attention.ela.shared": shared}
        for size, shared in itertools.product([3, 5, 7], ["true", "false"])
    ]
    assert list(points(document)) == expected
