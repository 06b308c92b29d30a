"""What an expression may say, what it is worked out to, and that nothing of it is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.plan import Plan, make_plan
from sweep.spec.constraints import check_expression

from .spaces import space_of

PARAMS = 11_173_962
"""Of ResNet-18 with the CIFAR stem and 10 classes: the convolutions, norms and the classifier."""


def plan_of(folder: Path, constraints: str, **fields: str | None) -> Plan:
    return make_plan(space_of(folder, constraints=constraints, **fields))


def kept(folder: Path, where: str, attention: str, **fields: str | None) -> list[str]:
    """Return the labels of the trials that an expression leaves."""
    plan = plan_of(folder, f"{{where: [{where!r}]}}", attention=attention, **fields)
    return [planned.label for planned in plan.runnable]


def test_more_parameters_than_allowed_are_pruned_and_as_many_are_not(tmp_path: Path) -> None:
    fields = {"attention": "[none, {name: eca, kernel_size: [1, 3]}]"}
    most = (PARAMS + 12) / 1e6  # of 12 sites with one weight each
    plan = plan_of(tmp_path, f"{{max_params_m: {most}}}", **fields)
    assert [(t.label, t.status) for t in plan.trials] == [
        ("baseline", "planned"),
        ("ECA-k1", "planned"),
        ("ECA-k3", "pruned"),
    ]
    (pruned,) = plan.pruned
    assert pruned.reason == "11.173998 M parameters, more than max_params_m = 11.173974"
    assert pruned.cost is not None
    assert pruned not in plan.runnable
    assert plan.refused == ()


def test_the_baseline_is_pruned_by_what_it_costs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{max_macs_g: 0.01, max_params_m: 11}")
    (pruned,) = plan.pruned
    assert pruned.reason == (
        "11.173962 M parameters, more than max_params_m = 11; "
        "0.03471872 G MACs, more than max_macs_g = 0.01"
    )
    assert plan.training_flops() == 0


def test_a_pruned_trial_says_which_expression_and_with_what_values(tmp_path: Path) -> None:
    where = "{where: ['epochs < 100', 'kernel_size * num_groups <= 128']}"
    attention = "[none, {name: ela, kernel_size: [7, 9], num_groups: 16}]"
    plan = plan_of(tmp_path, where, attention=attention, seeds="[0, 1]")
    assert [t.status for t in plan.trials] == ["planned"] * 4 + ["pruned"] * 2
    assert {t.reason for t in plan.pruned} == {
        "where[1]: kernel_size * num_groups <= 128 does not hold for kernel_size 9, num_groups 16"
    }


def test_what_is_refused_is_not_pruned(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{max_params_m: 1}", attention="[{name: sa, groups: 64}]")
    assert [t.status for t in plan.trials] == ["refused"]


def test_what_is_adjusted_may_be_pruned(tmp_path: Path) -> None:
    fields = {"attention": "[{name: sa, groups: 64}]", "on_indivisible": "nearest"}
    plan = plan_of(tmp_path, "{where: [groups < 64]}", **fields)
    assert [t.status for t in plan.trials] == ["pruned"]
    assert plan_of(tmp_path, "{where: [groups <= 64]}", **fields).trials[0].status == "adjusted"


MODULES = (
    "[none, {name: ela, preset: [B, L]}, {name: ema, factor: [8, 16]}, {name: se, bias: true}]"
)
ELA_B, ELA_L, EMA_8, EMA_16 = "ELA-B", "ELA-L", "EMA-G8", "EMA-G16"


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        ("factor < 16", ["baseline", ELA_B, ELA_L, EMA_8, "SE"]),
        ("factor % 16 != 0", ["baseline", ELA_B, ELA_L, EMA_8, "SE"]),
        ("8 < factor <= 16", ["baseline", ELA_B, ELA_L, EMA_16, "SE"]),
        ("groups == 'in_channels'", ["baseline", ELA_B, EMA_8, EMA_16, "SE"]),
        ("groups not in [1, 'in_channels']", ["baseline", ELA_L, EMA_8, EMA_16, "SE"]),
        ("'/8' in groups", ["baseline", ELA_L, EMA_8, EMA_16, "SE"]),
        ("not bias", ["baseline", ELA_B, ELA_L, EMA_8, EMA_16]),
        ("bias", ["baseline", ELA_B, ELA_L, EMA_8, EMA_16, "SE"]),
        ("bias == False", ["baseline", ELA_B, ELA_L, EMA_8, EMA_16]),
        ("attention in ('none', 'se')", ["baseline", "SE"]),
        ("attention == 'se' or attention == 'none'", ["baseline", "SE"]),
        ("not attention == 'se' and attention != 'none'", [ELA_B, ELA_L, EMA_8, EMA_16]),
        # of modules that have not all of its names an expression says nothing
        ("factor > 100 and groups == 3", ["baseline", ELA_B, ELA_L, EMA_8, EMA_16, "SE"]),
        ("backbone == 'resnet50' or reduction > 16", ["baseline", ELA_B, ELA_L, EMA_8, EMA_16]),
        # of the whole trial
        ("placement != 'stage3'", ["baseline"]),  # which has no placement
        ("stem == 'imagenet'", []),
        (
            "image_size // 3 == 2 and epochs * 2 == 4",
            ["baseline", ELA_B, ELA_L, EMA_8, EMA_16, "SE"],
        ),
        ("params_m < 11.174", ["baseline"]),
        ("macs_g - 0.03471872 < 1e-12", ["baseline"]),
        ("-params_m / 2 > -5.588", ["baseline"]),
    ],
)
def test_what_an_expression_leaves(tmp_path: Path, where: str, labels: list[str]) -> None:
    assert kept(tmp_path, where, MODULES) == labels


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true') == 0",
        "epochs.__class__ == 1",
        "open('space.yaml') == 1",
        "(lambda: 1) == 1",
        "[x for x in [1]] == [1]",
        "epochs[0] == 1",
        "epochs ** 9 ** 9 ** 9 == 1",
        "1 << 10000 == epochs",
        "(x := 1) == epochs",
        "f'{epochs}' == '1'",
        "{1: 2} == epochs",
        "epochs if epochs else 2",
        "epochs is None",
        "b'1' == epochs",
        "~epochs == 1",
        "await epochs == 1",
    ],
)
def test_code_is_not_allowed(expression: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed\. Allowed: names, numbers"):
        check_expression(expression)


@pytest.mark.parametrize(
    "expression",
    ["", "epochs <", "epochs = 3", "epochs < 3; epochs", "import os", "1or epochs < 2", "\0", "("],
)
def test_what_is_no_expression(expression: str) -> None:
    with pytest.raises(ValueError, match="is no expression"):
        check_expression(expression)


def test_an_expression_is_bounded() -> None:
    with pytest.raises(ValueError, match="is longer than 300 characters"):
        check_expression("epochs < " + "9" * 300)
    with pytest.raises(ValueError, match="has too many terms"):
        check_expression("-" * 250 + "epochs < 3")


@pytest.mark.parametrize("expression", ["not " * 70 + "shared", f"{'(' * 140}shared{')' * 140}"])
def test_the_longest_expressions_are_worked_out(tmp_path: Path, expression: str) -> None:
    assert kept(tmp_path, expression, "[ela]") == ["ELA"]


@pytest.mark.parametrize("expression", ["3", "'text'", "-epochs", "epochs + 1", "[epochs]"])
def test_what_is_neither_true_nor_false(expression: str) -> None:
    with pytest.raises(ValueError, match="is neither true nor false"):
        check_expression(expression)


def test_a_word_of_yaml_is_no_value_of_an_expression() -> None:
    with pytest.raises(ValueError, match="'true' is not known"):
        check_expression("shared == true")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("groups < 8", "it compares text with a number"),
        ("groups * 1000000 == groups", "it compares text with a number"),
        ("num_groups / (kernel_size - 7) > 2", "division by zero"),
        ("8 in num_groups", "it compares text with a number"),
    ],
)
def test_an_expression_without_an_answer(tmp_path: Path, where: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plan_of(tmp_path, f"{{where: ['{where}']}}", attention="[ela]")
