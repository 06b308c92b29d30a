"""The papers' contradictions: all are there, and none is left once its numbers are put right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reports.paper import statements as module
from reports.paper.audit import AuditedCell
from reports.paper.benchmarks import ela
from reports.paper.published import TABLES, Row
from reports.paper.statements import CHECKS, Statement, statements
from sweep.spec.recipes import PRESETS

NAMES = [
    "two-settings-called-t",
    "ela-t-on-resnet18",
    "ela-b-on-resnet18",
    "ca-on-resnet18",
    "ca-in-yolox",
    "ela-b-on-resnet50",
    "names-on-resnet101",
    "default-reduction",
    "sites-in-deeplabv3",
    "strip-pooling",
    "gains-on-mobilenet-v2",
    "growth-by-ca",
    "ela-l-against-ca",
    "lightweight",
    "recipe-of-resnets",
    "norms-left-out",
    "one-model-two-sizes",
    "folded-groups",
    "unit-of-flops",
    "weight-decay",
]


@pytest.fixture(scope="module")
def stated(audited: list[AuditedCell]) -> dict[str, Statement]:
    return {statement.name: statement for statement in statements(audited)}


@pytest.fixture
def holds(audited: list[AuditedCell]) -> Callable[..., bool]:
    """Whether one statement holds now, given the audit or other cells."""

    def check(name: str, cells: Sequence[AuditedCell] = audited) -> bool:
        result = CHECKS[NAMES.index(name)](cells)
        assert result.name == name
        return result.holds

    return check


Change = Callable[..., None]


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Change:
    """Print another number in a table, or set another field, in all rows with a label."""

    def replaced(row: Row, old: str, new: str) -> Row:
        assert row.cells.count(old) == 1
        return replace(row, cells=tuple(new if cell == old else cell for cell in row.cells))

    def apply(table: str, label: str, old: str = "", new: str = "", **fields: Any) -> None:
        def is_meant(row: Row) -> bool:
            return row.label == label and (not old or old in row.cells)

        published = TABLES[table]
        assert any(map(is_meant, published.rows))
        rows = tuple(
            replace(replaced(row, old, new) if old else row, **fields) if is_meant(row) else row
            for row in published.rows
        )
        monkeypatch.setitem(TABLES._parts, table, replace(published, rows=rows))

    return apply


def test_all_twenty_hold(stated: dict[str, Statement]) -> None:
    assert list(stated) == NAMES
    assert all(statement.holds for statement in stated.values())


def test_they_are_of_both_papers_and_end_like_sentences(stated: dict[str, Statement]) -> None:
    assert [s.paper for s in stated.values()] == 15 * ["ELA"] + 5 * ["EMA"]
    assert all(s.text.endswith(".") and "\n" not in s.text for s in stated.values())


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        # Read off PAPER_NOTES.md and the tables.
        ("ela-t-on-resnet18", ["70.68", "+ELA-k5-g8-ng32(T)", "11.704"]),
        ("ela-b-on-resnet18", ["70.79", "+ELA-k5-g8-ng16(S)", "11.710", "+0.93 %", "+0.58"]),
        ("ca-on-resnet18", ["69.77", "+CA(r=32)", "11.886", "+CA(r=16)"]),
        ("ca-in-yolox", ["72.62", "+CA(r=16)", "3.52", "+CA(r=32)"]),
        ("ela-b-on-resnet50", ["25.565 M", "25.584 M"]),
        ("names-on-resnet101", ["44.705 M", "44.768 M", "44.576 M", "45.595 M", "45.072 M"]),
        ("default-reduction", ["6 rows", "3.55", "3.56", "39.796", "39.875", "11.886", "45.595"]),
        ("sites-in-deeplabv3", ["39.790 M"]),
        ("gains-on-mobilenet-v2", ["+2.39", "+2.00"]),
        ("growth-by-ca", ["35 %", "+24.9 %"]),
        ("ela-l-against-ca", ["11.851 M", "11.788 M"]),
        ("lightweight", ["11.755 M", "11.805 M", "11.851 M"]),
        ("recipe-of-resnets", ["0.99", "0.1 and 0.05"]),
        ("one-model-two-sizes", ["23.85 M", "23.84 M"]),
        ("folded-groups", ["1.32 G for 1.6215", "2.53 G for 3.1701", "1.34 G for 1.9312"]),
        ("unit-of-flops", ["16.5M", "16.5 G"]),
        ("weight-decay", ["4e-05", "0.0005"]),
    ],
)
def test_a_statement_says_its_numbers(
    name: str, numbers: list[str], stated: dict[str, Statement]
) -> None:
    assert all(number in stated[name].text for number in numbers)


@pytest.mark.parametrize(
    ("name", "table", "label", "old", "new"),
    [
        ("ela-t-on-resnet18", "ela-5", "+ELA-T(Ours)", "70.68", "70.51"),
        ("ela-b-on-resnet18", "ela-5", "+ELA-B(Ours)", "70.79", "70.44"),
        ("ca-on-resnet18", "ela-5", "+CA", "69.77", "69.00"),
        ("ca-on-resnet18", "ela-5", "+CA", "11.886", "11.788"),
        ("ca-in-yolox", "ela-7", "+CA", "72.62", "72.53"),
        ("ela-b-on-resnet50", "ela-5", "+ELA-B(Ours)", "25.565", "25.584"),
        ("names-on-resnet101", "ela-5", "+ELA-B(Ours)", "44.705", "44.576"),
        ("names-on-resnet101", "ela-5", "+ELA-S(Ours)", "44.768", "44.705"),
        ("names-on-resnet101", "ela-5", "+CA", "45.595", "45.072"),
        ("sites-in-deeplabv3", "ela-8", "+ELA-S(Ours)", "39.790", "39.944"),
        ("gains-on-mobilenet-v2", "ela-5", "+ELA-S(Ours)", "71.52", "71.91"),
        ("gains-on-mobilenet-v2", "ela-5", "+ELA-L(Ours)", "71.91", "71.90"),
        ("growth-by-ca", "ela-5", "+CA(r=16)", "4.37", "4.75"),
        ("ela-l-against-ca", "ela-4", "+ELA-k7-g8-ng16(L)", "11.851", "11.780"),
        ("lightweight", "ela-4", "+ELA-k5-g8-ng16(S)", "11.805", "11.750"),
        ("one-model-two-sizes", "ema-3", "+ EMA_32", "23.84M", "23.85M"),
        ("folded-groups", "ema-1", "+ EMA (ours)", "1.32G", "1.62G"),
        ("folded-groups", "ema-3", "+ EMA_16", "1.34G", "1.93G"),
        ("unit-of-flops", "ema-2", "Yolov5s", "16.5M", "16.5G"),
        ("unit-of-flops", "ema-2", "Yolov5s", "16.5M", "8.3M"),
    ],
)
def test_a_number_put_right_contradicts_nothing(
    name: str,
    table: str,
    label: str,
    old: str,
    new: str,
    holds: Callable[..., bool],
    change: Change,
) -> None:
    assert holds(name)
    change(table, label, old, new)
    assert not holds(name)


def test_one_setting_called_t(holds: Callable[..., bool], change: Change) -> None:
    change("ela-4", "+ELA-k5-g8-ng32(T)", attention=ela("T"))
    assert not holds("two-settings-called-t")


def test_a_module_that_is_not_called_lightweight(
    holds: Callable[..., bool], change: Change
) -> None:
    change("ela-1", "ELA(Ours)", cells=("ELA(Ours)", "✓", "✓", "×"))
    assert not holds("lightweight")


def test_norms_that_are_counted_in_every_row(holds: Callable[..., bool], change: Change) -> None:
    # The true counts of params_audit.csv, in millions.
    for label, old, new in [
        ("+ CA", "25.57M", "25.62M"),
        ("+ EMA (ours)", "23.85M", "23.90M"),
        ("+ CA", "46.22M", "46.32M"),
        ("+ EMA (ours)", "42.96M", "43.07M"),
    ]:
        assert holds("norms-left-out")
        change("ema-1", label, old, new)
    assert not holds("norms-left-out")


def test_reductions_of_32(audited: list[AuditedCell], holds: Callable[..., bool]) -> None:
    of_16 = "reduction 16"
    others = [cell for cell in audited if of_16 not in cell.explanation]
    assert 0 < len(others) < len(audited)
    assert not holds("default-reduction", others)


@pytest.mark.parametrize(
    ("name", "preset", "field", "value"),
    [
        ("recipe-of-resnets", "ela_resnet", "momentum", 0.9),
        ("weight-decay", "ema_cifar", "weight_decay", 5e-4),
    ],
)
def test_a_recipe_put_right(
    name: str,
    preset: str,
    field: str,
    value: float,
    holds: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = {**PRESETS, preset: {**PRESETS[preset], field: value}}
    monkeypatch.setattr(module, "PRESETS", changed)
    assert not holds(name)
