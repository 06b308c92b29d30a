"""Overrides of the command line: typed and checked like the file, and told apart from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweep.plan import make_plan
from sweep.spec.document import SpecError, read_document

from .spaces import space_of

LIST = "a list up to seeds[0]"


def test_values_are_yaml_and_keep_their_type(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "recipe.epochs=3",
        "recipe.lr=1e-4",
        "recipe.nesterov=true",
        "recipe.precision=bf16",
        "seeds=[4, 5]",
        "study=no",
        "stopping.patience=2",
    )
    assert (space.recipe.epochs, space.recipe.lr) == (3, 1e-4)
    assert (space.recipe.nesterov, space.recipe.precision) == (True, "bf16")
    assert (space.general.seeds, space.general.study) == ([4, 5], "no")
    assert space.stopping.patience == 2


def test_what_is_not_overridden_stays(tmp_path: Path) -> None:
    space = space_of(tmp_path, "recipe.lr=0.2", recipe="{epochs: 7, momentum: 0.5}")
    assert (space.recipe.epochs, space.recipe.momentum, space.recipe.lr) == (7, 0.5, 0.2)


@pytest.mark.parametrize("index", ["1", "[1]"])
def test_an_entry_of_a_list_has_its_number(tmp_path: Path, index: str) -> None:
    name = f"attention.{index}".replace(".[", "[")
    fields = {"attention": "[none, {name: ela, preset: B}]"}
    space = space_of(tmp_path, f"{name}.preset=[T, L]", "seeds.0=9", **fields)
    assert [point.preset for point in space.attention] == [None, "T", "L"]
    assert space.general.seeds == [9]


def test_a_later_override_wins(tmp_path: Path) -> None:
    space = space_of(tmp_path, "recipe.epochs=3", "recipe={lr: 1}", "recipe.epochs=4")
    assert (space.recipe.epochs, space.recipe.lr) == (4, 1.0)
    with pytest.raises(SpecError, match=r"^override 'recipe=\{epochs: 0\}': recipe.epochs: 0"):
        space_of(tmp_path, "recipe.epochs=0", "recipe={epochs: 0}")


def test_the_data_set_can_be_switched_by_its_name(tmp_path: Path) -> None:
    space = space_of(tmp_path, "dataset.name=digits", dataset="{name: imagenet}")
    assert space.dataset == "digits"
    assert space.dataset_settings["image_size"] == 8


def test_settings_that_the_new_data_set_lacks_are_refused(tmp_path: Path) -> None:
    fields = {"dataset": "{name: digits, root: here, val_size: 100}"}
    space = space_of(tmp_path, "dataset.name=cifar10", **fields)
    assert space.dataset_settings["val_size"] == 100
    with pytest.raises(SpecError, match=r"^override 'dataset.nam=cifar10': dataset.nam: unknown"):
        space_of(tmp_path, "dataset.nam=cifar10", **fields)


def test_a_value_may_hold_an_equals_sign(tmp_path: Path) -> None:
    space = space_of(tmp_path, "question=is a=b?", " recipe.epochs = 3 ")
    assert (space.general.question, space.recipe.epochs) == ("is a=b?", 3)


def epochs(folder: Path, *overrides: str) -> list[int]:
    """Return the epochs of three backbones: without a recipe, with one, with one that has them."""
    space = space_of(
        folder,
        *overrides,
        backbones="[{name: resnet18}, {name: resnet50, recipe: {lr: 1}}, "
        "{name: resnet101, recipe: {epochs: 9}}]",
    )
    return [point.recipe.epochs for point in space.backbones if point.recipe]


def test_overrides_reach_the_recipe_of_a_backbone(tmp_path: Path) -> None:
    assert epochs(tmp_path) == [2, 2, 9]
    assert epochs(tmp_path, "backbones.0.recipe.epochs=3") == [3, 2, 9]
    assert epochs(tmp_path, "backbones[1].recipe.epochs=3", "backbones.2.recipe={}") == [2, 3, 2]
    assert epochs(tmp_path, "backbones.0.recipe.preset=ema_cifar") == [2, 2, 9]


def test_the_recipe_of_all_reaches_what_a_backbone_does_not_say(tmp_path: Path) -> None:
    assert epochs(tmp_path, "recipe.epochs=3") == [3, 3, 9]
    assert epochs(tmp_path, "recipe.preset=ema_cifar") == [2, 2, 9]
    assert epochs(tmp_path, "recipe={preset: ema_cifar}") == [200, 200, 9]


TWO = {
    "backbones": "[resnet18, {name: resnet50}]",
    "attention": "[none, {name: ela, backbones: resnet18}, {name: ca, backbones: resnet50}]",
}


def test_overrides_reach_the_backbones_of_a_module(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "attention.0.backbones=[resnet50]",
        attention="[{name: ela}, none]",
        backbones="[resnet18, resnet50]",
    )
    assert [point.backbones for point in space.attention] == [("resnet50",), None]


def test_fewer_backbones_leave_out_what_is_for_others(tmp_path: Path) -> None:
    plan = make_plan(space_of(tmp_path, "backbones=[resnet18]", **TWO))
    assert [planned.label for planned in plan.trials] == ["baseline", "ELA"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backbones.1.recipe.epochs=0", "backbones[1].recipe.epochs: 0 is not a whole number"),
        ("backbones.1.recipe.epohs=1", "backbones[1].recipe.epohs: unknown field; did you mean"),
        ("backbones.1.recipe=3", "backbones[1].recipe: 3 is not a mapping of fields"),
        ("backbones.0.recipe.epochs=1", "there is no backbones[0].recipe: backbones[0] is"),
        ("attention.1.backbones=[vgg]", "attention[1].backbones[0]: 'vgg' is not known. Allowed:"),
        ("attention.1.backbones=[]", "attention[1].backbones: is an empty list"),
    ],
)
def test_a_wrong_override_of_either_is_said_with_its_text(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        space_of(tmp_path, override, **TWO)
    (line,) = caught.value.lines
    assert line.startswith(f"override {override!r}: {message}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # the form
        ("recipe.epochs", "write it as field=value, like recipe.epochs=1"),
        ("=3", "write it as field=value, like recipe.epochs=1"),
        ("recipe.=3", "write it as field=value, like recipe.epochs=1"),
        ("recipe..lr=3", "write it as field=value, like recipe.epochs=1"),
        # the place
        ("study.x=1", "there is no study.x: study is 'small'"),
        ("seeds.1=1", f"there is no seeds.1: seeds is {LIST}"),
        ("seeds[1]=1", f"there is no seeds.1: seeds is {LIST}"),
        ("seeds.-1=1", f"there is no seeds.-1: seeds is {LIST}"),
        ("seeds.first=1", f"there is no seeds.first: seeds is {LIST}"),
        (
            "seeds.99999999999999999999=1",
            "there is no seeds.99999999999999999999: seeds is " + LIST,
        ),
        ("seeds.²=1", f"there is no seeds.²: seeds is {LIST}"),
        ("backbones.0.stem=cifar", "there is no backbones[0].stem: backbones[0] is 'resnet18'"),
        # the field
        ("epochs=1", "epochs: unknown field"),
        ("recipe.epohs=1", "recipe.epohs: unknown field; did you mean 'epochs'? Allowed: epochs,"),
        ("recip.epochs=1", "recip: unknown field; did you mean 'recipe'? Allowed: study,"),
        ("recipe.1=1", "recipe.1: unknown field. Allowed: epochs,"),
        # the value
        ("recipe.epochs=", "recipe.epochs: null is not a whole number above 0"),
        ("recipe.epochs=two", "recipe.epochs: 'two' is not a whole number above 0"),
        ("recipe.epochs=[1", "is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("recipe=3", "recipe: 3 is not a mapping of fields"),
        ("recipe={lr: 1, lr: 2}", "recipe.lr: is given twice"),
        ("recipe.lr=!!float 1", "recipe.lr: tags such as !name are not allowed"),
        ("seeds=range(3)", "seeds: 'range(3)' is not a list with at least one entry"),
        ("seeds=[0,-1]", "seeds[1]: -1 is not a whole number from 0"),
        ("metric=no", "metric: 'no' is not known. Allowed: top1, top5, loss"),
        ("dataset.name=digit", "dataset.name: 'digit' is not known; did you mean 'digits'?"),
        ("attention=[ela, em]", "attention[1].name: 'em' is not known; did you mean 'ema'?"),
    ],
)
def test_a_wrong_override_is_said_with_its_text(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        space_of(tmp_path, override)
    (line,) = caught.value.lines
    assert line.startswith(f"override {override!r}: {message}")


def test_all_wrong_overrides_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        space_of(tmp_path, "seeds=[0,0]", "nonsense", "recipe.lr=x", "study.x=1", metric="top2")
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        str(tmp_path / "space.yaml"),
        "override 'seeds=[0,0]'",
        "override 'recipe.lr=x'",
        "override 'nonsense'",
        "override 'study.x=1'",
    ]


@pytest.mark.parametrize(
    ("override", "data"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a.1=1", {"a": {"1": 1}}),
        ("l.0=x", {"l": ["x", 2]}),
        ("l[1].c=3", None),
    ],
)
def test_where_a_value_is_laid(tmp_path: Path, override: str, data: Any) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("l: [1, 2]\n")
    document = read_document(path, (override,))
    assert document.sound is (data is not None)
    assert document.data == {"l": [1, 2], **(data or {})}
