"""Verdicts: their arithmetic by hand, and the whole audit against one that others made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

import pytest
import torch
from paper_sources import AUDIT, AuditedRow, audited_rows
from spec.spaces import call

from reports.paper import benchmarks
from reports.paper.audit import CONVENTIONS, AuditedCell, audit, audit_table, rounds_to, scaled
from reports.paper.benchmarks import ca, ela
from reports.paper.counting import Configuration, count_params
from reports.paper.published import TABLES, Architecture, Attention, Row
from sweep import build_model
from sweep.models.build import attention_config
from sweep.profiling.cost import NORMS, count_parameters

needs_audit = pytest.mark.skipif(
    not AUDIT.is_file(), reason="params_audit.csv is not in ../shared/papers"
)

PER_UNIT = {"M": Decimal(1_000_000), "MiB": Decimal(262_144), "G": Decimal(10**9)}


def rows() -> list[tuple[str, Row]]:
    """Return every row that is a trial, with the name of its table."""
    return [
        (name, row)
        for name in TABLES.names()
        for row in TABLES[name].rows
        if row.architecture is not None
    ]


def of_column(found: Sequence[AuditedCell], column: str) -> list[AuditedCell]:
    return [cell for cell in found if cell.column == column]


def cells(name: str, row: Row) -> list[AuditedCell]:
    """Return the audited cells of a row in its table, alone there."""
    [found] = audit_table(replace(TABLES[name], rows=(row,)))
    return found


def number(cell: AuditedCell) -> Decimal:
    return Decimal(cell.printed.rstrip("MG"))


def parameters(architecture: Architecture, attention: Attention) -> dict[str, int]:
    """Return the counts of a whole model by every convention."""
    with torch.device("meta"):
        model = build_model(
            architecture.backbone,
            attention,
            architecture.placement,
            architecture.benchmark.num_classes,
            architecture.stem,
        )
    counts = count_parameters(model)
    norms = [m for m in model.attention.modules() if isinstance(m, NORMS)]
    in_attention = sum(p.numel() for norm in norms for p in norm.parameters())
    return {
        **{c: getattr(counts, c) for c in ("true", "thop_like", "no_norm")},
        "no_attention_norm": counts.true - in_attention,
    }


def with_cell(row: Row, position: int, text: str) -> Row:
    changed = list(row.cells)
    changed[position] = text
    return replace(row, cells=tuple(changed))


# Arithmetic --------------------------------------------------------------------------------------


def test_units() -> None:
    assert scaled(11_689_512, "M") == Decimal("11.689512")
    assert scaled(1_824_033_792, "G") == Decimal("1.824033792")
    assert scaled(2**18, "MiB") == 1  # float32 has 4 bytes, a MiB 2**20
    assert scaled(900_459, "MiB") == Decimal(900_459 * 4) / 2**20


@pytest.mark.parametrize(
    ("count", "printed", "unit", "rounds", "cut_off"),
    [
        (11_689_512, "11.690", "M", True, False),
        (11_690_000, "11.690", "M", True, True),
        (11_690_499, "11.690", "M", True, True),
        (11_690_500, "11.690", "M", False, True),  # halves go up
        (11_689_499, "11.690", "M", False, False),
        (11_689_500, "11.690", "M", True, False),
        (11_690_999, "11.690", "M", False, True),
        (3_505_000, "3.51", "M", True, False),
        (3_504_999, "3.50", "M", True, True),
        (7_235_389, "7.23", "M", False, True),
        (900_459, "3.43", "MiB", True, True),  # 3.4350
        (901_120, "3.44", "MiB", True, False),  # 3.4375
        (16_499_999_999, "16.50", "G", True, False),
        (1_300_000_000, "1.30", "G", True, True),
    ],
)
def test_rounding_and_cutting_off(
    count: int, printed: str, unit: Any, rounds: bool, cut_off: bool
) -> None:
    assert rounds_to(count, Decimal(printed), unit) is rounds
    assert rounds_to(count, Decimal(printed), unit, ROUND_DOWN) is cut_off


def test_a_verdict_is_what_its_numbers_say(audited: list[AuditedCell]) -> None:
    for cell in audited:
        if cell.computed is None:
            assert cell.verdict in ("explained", "unexplained")
            continue
        ours = Decimal(repr(cell.computed))
        rounded = ours.quantize(number(cell), ROUND_HALF_UP)
        cut = ours.quantize(number(cell), ROUND_DOWN)
        assert (cell.verdict == "exact") == (rounded == number(cell))
        assert (cell.verdict == "truncated") == (rounded != number(cell) == cut)
        assert bool(cell.explanation) == (cell.verdict == "explained")


# The whole audit ---------------------------------------------------------------------------------


def test_the_summary(audited: list[AuditedCell]) -> None:
    params = Counter(cell.verdict for cell in of_column(audited, "params"))
    assert params == {"exact": 78, "truncated": 7, "explained": 13, "unexplained": 5}
    assert len(of_column(audited, "gflops")) == 93
    assert len(audited) == 103 + 93


def test_every_count_of_every_row_is_audited_in_the_order_of_the_papers(
    audited: list[AuditedCell],
) -> None:
    expected = [
        (TABLES[name].paper, TABLES[name].number, row.label, row.architecture.backbone, cell)
        for name, row in rows()
        for column, cell in zip(TABLES[name].columns, row.cells, strict=True)
        if row.architecture and column.kind in ("params", "macs")
    ]
    assert expected == [(c.paper, c.table, c.row, c.backbone, c.printed) for c in audited]


@needs_audit
def test_the_audit_of_others_has_the_same_cells(audited: list[AuditedCell]) -> None:
    ours = [
        (f"{c.paper.lower()}-{c.table}", float(number(c))) for c in of_column(audited, "params")
    ]
    assert ours == [(row.table, row.printed) for row in audited_rows()]


EXPECTED = {"Y": "exact", "Y(trunc)": "truncated", "N": "unexplained"}
"""By ``match``; Y with another reason is a row that fits another configuration."""


@needs_audit
def test_verdicts_are_those_of_the_audit_of_others(audited: list[AuditedCell]) -> None:
    different = [
        (row.table, row.label, cell.verdict)
        for row, cell in zip(audited_rows(), of_column(audited, "params"), strict=True)
        if cell.verdict != EXPECTED.get(row.match, "explained")
    ]
    # The one row that the search explains and they do not: the same module at other sites.
    assert different == [("ema-1", "+NAM", "explained")]


def same_model() -> list[tuple[AuditedRow, Row]]:
    """Return the rows where both audits count the model that the paper names."""
    paired = zip(audited_rows(), rows(), strict=True)
    return [(theirs, row) for theirs, (_, row) in paired if theirs.match in ("Y", "Y(trunc)", "N")]


@needs_audit
def test_counts_are_those_of_the_audit_of_others() -> None:
    compared = 0
    for theirs, row in same_model():
        assert row.architecture is not None
        table = TABLES[theirs.table]
        # Their numbers of SA are of all its parameters.
        convention = "true" if row.attention["name"] == "sa" else row.params or table.params
        configuration = Configuration.of(row.architecture, row.attention)
        assert count_params(configuration, convention) == theirs.counted, theirs
        compared += 1
    assert compared == 78 + 7 + 6  # what they call exact, truncated, and unexplained


@needs_audit
def test_explanations_are_the_readings_of_the_audit_of_others(audited: list[AuditedCell]) -> None:
    compared = []
    for theirs, cell in zip(audited_rows(), of_column(audited, "params"), strict=True):
        if theirs.match in EXPECTED:
            continue
        if theirs.match == "Y(fit-G)":  # "G=8 (64 does not divide)"
            wanted = theirs.hyperparameters.removeprefix("G=").split()[0]
            assert f"groups {wanted}" in cell.explanation
        else:
            value = Decimal(theirs.counted) / PER_UNIT[cell.unit]
            text, unit, _ = cell.explanation.rpartition(": ")[2].split(" ", 2)
            assert (Decimal(text), unit) == (value.quantize(Decimal(text)), cell.unit)
        compared.append(theirs.match)
    assert Counter(compared) == {"Y(relabel)": 8, "Y(fit-G)": 2, "Y(fit-min)": 1, "Y(fit-sites)": 1}


def test_no_row_is_treated_apart(
    audited: list[AuditedCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in another order, under other labels, in tables of other numbers: the same verdicts."""
    for place, name in enumerate(TABLES.names()):
        table = TABLES[name]
        changed = tuple(
            replace(row, cells=(f"row {number}", *row.cells[1:]))
            for number, row in enumerate(reversed(table.rows))
        )
        other = replace(table, rows=changed, number=90 + place, title="", section="")
        monkeypatch.setitem(TABLES._parts, name, other)

    def verdicts(found: Sequence[AuditedCell]) -> Counter[Any]:
        return Counter(
            (c.paper, c.backbone, c.column, c.printed, c.computed, c.verdict, c.explanation)
            for c in found
        )

    again = audit()
    assert {cell.table for cell in again}.isdisjoint(cell.table for cell in audited)
    assert verdicts(again) == verdicts(audited)


# The search --------------------------------------------------------------------------------------


PARAMS_OF = {"ela-2": 2, "ela-3": 2, "ela-4": 2, "ela-5": 4, "ema-1": 2}
"""Positions of the columns of parameters; those of MACs are one further."""


def audited_with(name: str, row: Row, count: int, digits: int) -> AuditedCell:
    """Return the audited parameters of a row that prints a count instead of its own."""
    unit = "MiB" if name == "ela-3" else "M"
    text = str((Decimal(count) / PER_UNIT[unit]).quantize(Decimal(1).scaleb(-digits)))
    return cells(name, with_cell(row, PARAMS_OF[name], text))[0]


def row_of(name: str, label: str, backbone: str) -> Row:
    [found] = [
        row
        for row in TABLES[name].rows
        if row.label == label and row.architecture and row.architecture.backbone == backbone
    ]
    return found


@pytest.mark.parametrize(
    ("name", "label", "backbone", "other", "explanation"),
    [
        ("ela-2", "+CA(r=32)", "resnet50", ca(24), "reduction 24"),
        ("ela-2", "+CA(r=16)", "resnet50", ca(64), "reduction 64"),
        ("ela-5", "+SE", "resnet50", {"name": "se", "reduction": 8}, "reduction 8"),
        ("ela-5", "+CBAM", "resnet50", {"name": "cbam", "preset": "nam", "reduction": 32}, "nam"),
        ("ela-4", "+ELA-k7-g-ng16(B)", "resnet18", ela("L"), "preset L"),
        ("ela-3", "+CA(r=16)", "yolox_nano", ca(16, "official"), "preset official"),
        ("ema-1", "+ EMA (ours)", "resnet50", {"name": "ema", "factor": 8}, "factor 8"),
        (
            "ela-2",
            "+CA(r=32)",
            "resnet50",
            ca(8, "official"),
            "reduction 8 and preset official",
        ),
    ],
)
def test_the_number_of_another_setting_is_found_and_named(
    name: str, label: str, backbone: str, other: Attention, explanation: str
) -> None:
    row = row_of(name, label, backbone)
    assert row.architecture is not None
    count = parameters(row.architecture, other)[row.params or TABLES[name].params]
    cell = audited_with(name, row, count, digits=3)
    assert cell.verdict == "explained"
    assert explanation in cell.explanation


@pytest.mark.parametrize("placement", ["stem_stage", "block_last_bn"])
def test_the_number_of_another_placement_is_found_and_named(placement: str) -> None:
    row = row_of("ela-2", "+CA(r=16)", "resnet18")
    assert row.architecture is not None
    elsewhere = replace(row.architecture, placement=placement)
    cell = audited_with("ela-2", row, parameters(elsewhere, row.attention)["thop_like"], digits=3)
    assert cell.verdict == "explained"
    assert f"placement {placement}" in cell.explanation


@pytest.mark.parametrize(
    ("convention", "text"),
    [
        ("true", "all parameters"),
        ("no_norm", "all parameters but those of norms"),
        ("no_attention_norm", "all parameters but those of norms in attention modules"),
    ],
)
def test_the_number_of_another_convention_is_found_and_named(convention: str, text: str) -> None:
    # On the digits that are printed no two conventions agree on this row.
    row = row_of("ela-4", "+ELA-k7-g8-ng16(L)", "resnet50")
    assert row.architecture is not None
    count = parameters(row.architecture, row.attention)[convention]
    if convention == "no_attention_norm":  # ELA has group norms alone, which thop leaves out too
        row = replace(row, params="true")
    cell = audited_with("ela-4", row, count, digits=4)
    assert cell.verdict == "explained"
    named = cell.explanation.removeprefix("fits ").rpartition(": ")[0].split(" or ")
    assert f"counting {text}" in named


def test_what_fits_with_one_change_is_named_rather_than_what_needs_two() -> None:
    row = row_of("ela-2", "+CA(r=32)", "resnet50")
    count = parameters(benchmarks.RESNET50, ca(16))["thop_like"]
    cell = audited_with("ela-2", row, count, digits=3)
    # In the digits that are printed, and two more.
    assert cell.explanation.startswith(f"fits reduction 16: {Decimal(count) / 10**6:.5f} M (1 of ")


def test_how_many_models_were_tried() -> None:
    """One change to CA with r = 32, no bias and at least 1 channel, in ResNet-50, each built."""
    row = row_of("ela-2", "+CA(r=32)", "resnet50")
    own = {"name": "ca", "reduction": 32, "min_channels": 1, "bias": False, "norm": "bn"}
    with_bias = {**own, "bias": True, "min_channels": 8}  # the official one
    with_group_norm = {**own, "norm": "gn", "min_channels": 8}
    others: list[Attention] = [
        *({**own, "reduction": reduction} for reduction in (4, 8, 16, 24, 64)),
        {**own, "min_channels": 8},
        with_bias,
        with_group_norm,
    ]
    counts = [parameters(benchmarks.RESNET50, other)["thop_like"] for other in others]
    here = parameters(benchmarks.RESNET50, own)
    counts += [here[convention] for convention in ("true", "no_norm", "no_attention_norm")]
    for placement in ("stage3", "block_last_bn", "conv2"):  # its own is stem_stage
        elsewhere = replace(benchmarks.RESNET50, placement=placement)
        counts.append(parameters(elsewhere, own)["thop_like"])
    found = []
    for digits in (3, 1, 0):  # those with r = 16
        cell = audited_with("ela-2", row, counts[2], digits)
        like = Decimal(1).scaleb(-digits)
        rounded = [Decimal(count).scaleb(-6).quantize(like, ROUND_HALF_UP) for count in counts]
        found.append(rounded.count(number(cell)))
        assert cell.explanation.endswith(f" M ({found[-1]} of 14 tried)")
    assert len(counts) == 14
    assert found[0] == 1 < found[-1]  # of two digits alone, another model has them too


@pytest.mark.parametrize("number", ["99.999", "1.000", "0.001"])
def test_nonsense_is_unexplained(number: str) -> None:
    for name, row in rows():
        if name in ("ela-2", "ela-4"):
            cell = cells(name, with_cell(row, PARAMS_OF[name], number))[0]
            assert (cell.verdict, cell.explanation) == ("unexplained", "")


def test_a_baseline_is_only_counted_in_other_ways() -> None:
    row = row_of("ela-2", "ResNet18", "resnet18")
    with_attention = parameters(benchmarks.RESNET18, ca(16))["thop_like"]
    assert audited_with("ela-2", row, with_attention, 3).verdict == "unexplained"
    no_norm = parameters(benchmarks.RESNET18, {"name": "none"})["no_norm"]
    assert "counting" in audited_with("ela-2", row, no_norm, 3).explanation


def test_a_model_that_cannot_be_is_said_not_to_be(audited: list[AuditedCell]) -> None:
    missing = [cell for cell in audited if cell.computed is None]
    assert {(c.paper, c.table, c.row, c.backbone) for c in missing} == {
        ("ELA", 5, "+SA", "mobilenet_v2")
    }
    assert [c.column for c in missing] == ["params", "gflops"]
    for cell in missing:
        assert cell.explanation.startswith(
            "no such model (groups (=32) must divide 48 (at C=96)); fits groups "
        )


def test_a_model_that_cannot_be_and_nothing_that_fits() -> None:
    row = row_of("ela-5", "+SA", "mobilenet_v2")
    cell = cells("ela-5", with_cell(row, PARAMS_OF["ela-5"], "9.99"))[0]
    assert (cell.computed, cell.verdict) == (None, "unexplained")
    assert "must divide 48 (at C=96)" in cell.explanation


# One row is one model ----------------------------------------------------------------------------


def test_flops_are_explained_only_by_a_model_that_has_the_parameters_of_the_row() -> None:
    """26.080 M are of r = 32 and 4.148 G of r = 16: no model is both."""
    row = row_of("ela-2", "+CA(r=32)", "resnet50")
    place = PARAMS_OF["ela-2"]
    _, contradicting = cells("ela-2", with_cell(row, place + 1, "4.148"))
    assert "reduction" not in contradicting.explanation
    of_16 = with_cell(with_cell(row, place + 1, "4.148"), place, "26.603")
    _, agreeing = cells("ela-2", of_16)
    assert agreeing.verdict == "explained"
    assert agreeing.explanation.startswith("fits reduction 16: 4.14")


def changed(attention: Attention, change: str) -> Attention:
    """Return the module of a row after a change that an explanation names ("reduction 16")."""
    axis, value = change.split(" ", 1)
    config = attention_config(**attention)
    fields = config.presets[value] if axis == "preset" else {axis: int(value)}
    return {"name": attention["name"], **config.model_dump(), **fields}


def models_of(cell: AuditedCell) -> list[str]:
    """Return the models that an explanation names, without the texts of conventions."""
    named = cell.explanation.partition("fits ")[2].rpartition(": ")[0]
    for text in sorted(CONVENTIONS.values(), key=len, reverse=True):
        named = named.replace(f"counting {text}", "counting")
    return named.split(" or ")


def test_no_explanation_of_flops_contradicts_the_parameters_of_its_row(
    audited: list[AuditedCell],
) -> None:
    checked = 0
    for (name, row), cell in zip(
        [(n, r) for n, r in rows() if len(cells(n, r)) == 2],
        of_column(audited, "gflops"),
        strict=True,
    ):
        assert row.architecture is not None
        table = TABLES[name]
        printed = next(c.printed for c in cells(name, row) if c.column == "params")
        column = next(column for column in table.columns if column.kind == "params")
        for model in models_of(cell):
            changes = [c for c in model.split(" and ") if c and c != "counting"]
            attention, architecture = row.attention, row.architecture
            for change in changes:
                if change.startswith("placement "):
                    architecture = replace(architecture, placement=change.split()[1])
                elif not change.endswith(" more"):
                    attention = changed(attention, change)
            if changes and not changes[0].endswith(" more"):
                count = parameters(architecture, attention)[row.params or table.params]
                value = Decimal(count) / PER_UNIT[str(column.unit)]
                text = Decimal(printed.rstrip("M"))
                roundings = (ROUND_HALF_UP, ROUND_DOWN)
                assert text in [value.quantize(text, rounding) for rounding in roundings]
                checked += 1
    assert checked >= 6


# The command -------------------------------------------------------------------------------------

CELL = (
    "paper", "table", "row", "column", "printed", "computed", "unit", "convention", "verdict",
    "explanation",
)  # fmt: skip
"""Keys of a cell, as they were asked for."""


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    result = call("paper", "audit", "--json")
    assert (result.code, result.err) == (0, "")
    loaded: dict[str, Any] = json.loads(result.out)
    return loaded


def test_the_summary_as_json(record: dict[str, Any], audited: list[AuditedCell]) -> None:
    counts = Counter(cell.verdict for cell in audited)
    assert record["summary"] == {"cells": len(audited), **counts}
    assert list(record["summary"]) == ["cells", "exact", "truncated", "explained", "unexplained"]
    # Beyond what was asked for: the statements, which are part of the audit.
    assert list(record) == ["summary", "cells", "statements"]


def test_a_cell_as_json(record: dict[str, Any], audited: list[AuditedCell]) -> None:
    for cell, ours in zip(record["cells"], audited, strict=True):
        # Beyond what was asked for: the backbone, without which Table 5 has four rows "+CA".
        assert tuple(key for key in cell if key != "backbone") == CELL
        assert cell == {key: getattr(ours, key) for key in (*CELL, "backbone")}
    assert record["cells"][0] == {
        "paper": "ELA",
        "table": 2,
        "row": "ResNet18",
        "backbone": "resnet18",
        "column": "params",
        "printed": "11.690",
        "computed": 11.689512,
        "unit": "M",
        "convention": "thop_like",
        "verdict": "exact",
        "explanation": "",
    }


def test_a_statement_as_json(record: dict[str, Any]) -> None:
    assert len(record["statements"]) == 24
    for statement in record["statements"]:
        assert list(statement) == ["paper", "name", "text", "holds"]
        assert statement["holds"] is True


def test_the_audit_as_text(audited: list[AuditedCell]) -> None:
    result = call("paper", "audit")
    assert (result.code, result.err) == (0, "")
    *_, params, gflops, both = result.out.splitlines()
    assert params == "params: 103 cells: 78 exact, 7 truncated, 13 explained, 5 unexplained"
    counts = Counter(cell.verdict for cell in of_column(audited, "gflops"))
    assert gflops == "gflops: 93 cells: " + ", ".join(
        f"{counts[verdict]} {verdict}"
        for verdict in ("exact", "truncated", "explained", "unexplained")
    )
    assert both.startswith("all: 196 cells: ")
    assert "NOT SO" not in result.out


def test_a_cold_start_takes_little_memory_and_time() -> None:
    # The measuring process is a small one: what starts a process counts towards its peak.
    script = (
        "import resource, subprocess, sys\n"
        "audit = [sys.executable, '-m', 'sweep.cli', 'paper', 'audit', '--json']\n"
        "subprocess.run(audit, check=True, stdout=subprocess.DEVNULL)\n"
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    kilobytes, seconds = map(float, ended.stdout.split())
    assert kilobytes < 2 * 2**20  # 2 GiB
    assert seconds < 30  # of processor time: 15 s of both cores
