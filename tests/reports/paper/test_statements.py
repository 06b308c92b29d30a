"""The papers' contradictions: all are there, and none is left once its numbers are put right."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
import torch
from paper_sources import needs_papers, plain, section

from reports.paper import claims
from reports.paper import statements as module
from reports.paper.benchmarks import YOLOX_NANO, ela
from reports.paper.claims import Claim
from reports.paper.published import TABLES, Row
from reports.paper.statements import CHECKS, Statement, statements
from sweep import build_model
from sweep.profiling.cost import count_parameters
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
    "drops-in-yolox",
    "rises-in-yolox",
    "growth-by-ela",
    "norms-left-out",
    "one-model-two-sizes",
    "folded-groups",
    "unit-of-flops",
    "weight-decay",
    "growth-by-ema",
]


@pytest.fixture(scope="module")
def stated() -> dict[str, Statement]:
    return {statement.name: statement for statement in statements()}


def holds(name: str) -> bool:
    """Return whether one statement holds now."""
    result = CHECKS[NAMES.index(name)]()
    assert result.name == name
    return result.holds


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


def test_all_24_hold(stated: dict[str, Statement]) -> None:
    assert list(stated) == NAMES
    assert all(statement.holds for statement in stated.values())


def test_they_are_of_both_papers_and_end_like_sentences(stated: dict[str, Statement]) -> None:
    assert [s.paper for s in stated.values()] == 18 * ["ELA"] + 6 * ["EMA"]
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
        ("drops-in-yolox", ["1.57 to 0.64", "1.69 to 0.64"]),
        ("rises-in-yolox", ["0.51 to 0.70", "0.04 to 0.70"]),
        ("growth-by-ela", ["0.03 %", "0.11 %"]),
        ("growth-by-ema", ["0.22 M", "204,800", "216,080", "11,280"]),
        ("weight-decay", ["0.00004", "0.0005"]),
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
        ("drops-in-yolox", "ela-3", "+CA(r=24)", "71.57", "71.69"),
        ("rises-in-yolox", "ela-3", "+CA_gn(r=24)", "73.30", "73.77"),
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
    change: Change,
) -> None:
    assert holds(name)
    change(table, label, old, new)
    assert not holds(name)


def test_one_setting_called_t(change: Change) -> None:
    change("ela-4", "+ELA-k5-g8-ng32(T)", attention=ela("T"))
    assert not holds("two-settings-called-t")


def test_a_module_that_is_not_called_lightweight(change: Change) -> None:
    change("ela-1", "ELA(Ours)", cells=("ELA(Ours)", "✓", "✓", "×"))
    assert not holds("lightweight")


def test_norms_that_are_counted_in_every_row(change: Change) -> None:
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


def test_reductions_of_32(change: Change) -> None:
    """Print what the models with r = 32 have, built whole, where the tables print those of 16."""
    for table, place in (("ela-5", 4), ("ela-7", 3), ("ela-8", 3)):
        for row in TABLES[table].rows:
            if row.attention.get("reduction") == 32 and "r=" not in row.label:
                printed, right = row.cells[place], of_whole_model(row, row.cells[place])
                assert printed == right or holds("default-reduction")
                change(table, row.label, printed, right)
    assert not holds("default-reduction")


def of_whole_model(row: Row, like: str) -> str:
    """Return the parameters of a row's model to the digits of a cell; in MiB if of YOLOX-Nano."""
    assert row.architecture is not None
    with torch.device("meta"):
        model = build_model(
            row.architecture.backbone,
            row.attention,
            row.architecture.placement,
            row.architecture.benchmark.num_classes,
        )
    per_unit = 2**18 if row.architecture is YOLOX_NANO else 10**6
    count = Decimal(count_parameters(model).thop_like) / per_unit
    return str(count.quantize(Decimal(like), ROUND_HALF_UP))


def test_he_et_al_with_the_momentum_that_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {**PRESETS, "he2016_resnet": {**PRESETS["he2016_resnet"], "momentum": 0.99}}
    monkeypatch.setattr(module, "PRESETS", changed)
    assert not holds("recipe-of-resnets")


# Put right in the text ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "claim", "numbers"),
    [
        ("ela-b-on-resnet18", "GAIN_ON_RESNET18", ["0.58"]),
        ("gains-on-mobilenet-v2", "GAIN_ON_MOBILENET_V2", ["2.00"]),
        ("growth-by-ca", "GROWTH_BY_CA", ["24"]),
        ("recipe-of-resnets", "MOMENTUM", ["0.9"]),
        ("recipe-of-resnets", "LEARNING_RATES", ["0.1"]),
        # 73.26 - 71.57 and - 72.62; 73.30 and 73.96 - 73.26
        ("drops-in-yolox", "YOLOX_DROPS", ["1.69", "0.64"]),
        ("rises-in-yolox", "YOLOX_RISES", ["0.04", "0.70"]),
        # 64 + 256 + 512 + 1024 + 2048 channels of 7 weights, of 25,557,032 parameters
        ("growth-by-ela", "GROWTH_BY_ELA", ["0.11"]),
        # of the 216,080 more, 204,800 are of the neck
        ("growth-by-ema", "GROWTH_BY_EMA", ["0.01"]),
        ("weight-decay", "WEIGHT_DECAY", ["5e-4"]),
    ],
)
def test_a_claim_put_right_contradicts_nothing(
    name: str, claim: str, numbers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert holds(name)
    right = replace(getattr(claims, claim), numbers=tuple(map(Decimal, numbers)))
    monkeypatch.setattr(claims, claim, right)
    assert not holds(name)


@pytest.mark.parametrize(
    ("name", "claim", "numbers"),
    [
        ("drops-in-yolox", "YOLOX_DROPS", ["1.69", "0.65"]),
        ("rises-in-yolox", "YOLOX_RISES", ["0.04", "0.71"]),
        ("growth-by-ela", "GROWTH_BY_ELA", ["0.12"]),
    ],
)
def test_a_claim_that_is_nearly_right_is_not_right(
    name: str, claim: str, numbers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(getattr(claims, claim), numbers=tuple(map(Decimal, numbers)))
    monkeypatch.setattr(claims, claim, other)
    assert holds(name)


def test_a_mean_over_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "STRIP_TERMS", "W")
    assert holds("strip-pooling")  # all of a strip is added up, and divided by another number
    monkeypatch.setattr(claims, "STRIP_DIVISOR", "W")
    assert not holds("strip-pooling")


def test_a_claim_with_two_numbers_has_no_single_one() -> None:
    assert claims.GAIN_ON_MOBILENET_V2.number == Decimal("2.39")
    with pytest.raises(ValueError, match="too many values"):
        _ = claims.YOLOX_DROPS.number


# Against the papers' text ------------------------------------------------------------------------

CLAIMS = {name: claim for name, claim in vars(claims).items() if isinstance(claim, Claim)}


@needs_papers
@pytest.mark.parametrize("name", CLAIMS)
def test_a_quotation_is_in_its_section_once(name: str) -> None:
    claim = CLAIMS[name]
    text, quoted = section(claim.paper, claim.section), plain(claim.quotation)
    assert plain(text).count(quoted) == 1


@needs_papers
def test_eq_1_is_that_of_the_quotation() -> None:
    line = plain(claims.STRIP_MEAN.quotation) + ",qquad(1)"
    assert line in plain(section("ELA", claims.STRIP_MEAN.section))
    # It divides by what it counts to, as the statement has it.
    assert rf"\frac{{1}}{{{claims.STRIP_DIVISOR}}}" in claims.STRIP_MEAN.quotation
    assert rf"i < {claims.STRIP_TERMS}}}" in claims.STRIP_MEAN.quotation


@pytest.mark.parametrize("name", CLAIMS)
def test_the_numbers_of_a_claim_are_those_of_its_quotation(name: str) -> None:
    """All that have a decimal point, an exponent or a sign for per cent, in their order."""
    found = re.findall(r"\d+\.\d+|\d+e-\d+|\d+(?=%)", CLAIMS[name].quotation)
    assert CLAIMS[name].numbers == tuple(map(Decimal, found))
