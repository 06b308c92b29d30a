"""The tables as data: complete, made of registered parts, and letter for letter the papers'."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from paper_sources import needs_papers, plain, printed_tables

from reports.paper import benchmarks
from reports.paper.published import (
    TABLES,
    Architecture,
    Benchmark,
    Column,
    PublishedTable,
    printed_number,
    printed_unit,
    register,
)
from sweep.models.build import attention_config, check_weights
from sweep.models.placement import policies_of, policy_sites
from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
from sweep.spec.recipes import PRESETS, Recipe

NAMES = [f"ela-{number}" for number in range(1, 9)] + [f"ema-{number}" for number in range(1, 4)]
ARCHITECTURES = list(
    dict.fromkeys(
        row.architecture for name in NAMES for row in TABLES[name].rows if row.architecture
    )
)
BENCHMARKS = list(dict.fromkeys(architecture.benchmark for architecture in ARCHITECTURES))


def table(name: str) -> PublishedTable:
    return TABLES[name]


def backbone(architecture: Architecture) -> str:
    return f"{architecture.backbone}-{architecture.stem}"


def recipe(benchmark: Benchmark) -> str:
    return benchmark.recipe


# Completeness ------------------------------------------------------------------------------------


def test_there_are_eleven_tables() -> None:
    assert TABLES.names() == NAMES
    assert [table(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_cell_for_every_column(name: str) -> None:
    for row in table(name).rows:
        assert len(row.cells) == len(table(name).columns)
        assert all(cell == cell.strip() != "" for cell in row.cells)
    assert len({row.cells for row in table(name).rows}) == len(table(name).rows)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_reads_as_one(name: str) -> None:
    for row in table(name).rows:
        for column, cell in zip(table(name).columns, row.cells, strict=True):
            if column.kind != "text":
                assert printed_number(cell) > 0


def test_the_papers_have_103_cells_of_parameters_and_93_of_flops() -> None:
    kinds = Counter(
        column.kind
        for name in NAMES
        for row in table(name).rows
        if row.architecture is not None
        for column in table(name).columns
    )
    assert (kinds["params"], kinds["macs"]) == (103, 93)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ela-1"])
def test_every_row_but_those_of_ela_1_is_a_trial(name: str) -> None:
    assert all(row.architecture is not None for row in table(name).rows)
    assert table(name).question.endswith("?")


def test_ela_1_has_no_trials() -> None:
    assert all(row.architecture is None for row in table("ela-1").rows)
    assert table("ela-1").question == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_first_row_of_an_architecture_is_its_baseline(name: str) -> None:
    # EMA's Table 3 has none.
    seen: set[Architecture] = set()
    for row in table(name).rows:
        if row.architecture is None or name == "ema-3":
            continue
        if row.architecture not in seen and row.architecture is not benchmarks.YOLOV5X_WIDE:
            assert row.attention["name"] == "none"
        seen.add(row.architecture)


def test_a_table_cannot_be_entered_twice() -> None:
    with pytest.raises(ValueError, match="'ela-4' is registered twice"):
        register(table("ela-4"))


# Parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=backbone)
def test_an_architecture_is_made_of_registered_parts(architecture: Architecture) -> None:
    assert architecture.backbone in BACKBONES
    assert architecture.placement in policies_of(architecture.backbone)
    assert policy_sites(architecture.backbone, architecture.placement)
    assert architecture.stem in BACKBONES[architecture.backbone].stems
    if architecture.weights is not None:
        check_weights(architecture.backbone, architecture.weights)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=recipe)
def test_a_benchmark_is_made_of_registered_parts(benchmark: Benchmark) -> None:
    assert benchmark.dataset in DATASETS
    assert DATASETS[benchmark.dataset].task == benchmark.task
    assert benchmark.task in TASKS
    assert Recipe.model_validate(PRESETS[benchmark.recipe])


@pytest.mark.parametrize("name", NAMES)
def test_the_module_of_every_row_is_registered(name: str) -> None:
    for row in table(name).rows:
        assert row.attention["name"] in ATTENTION
        assert attention_config(**row.attention)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ela-1"])
def test_a_metric_is_one_of_the_task(name: str) -> None:
    tasks = {row.architecture.benchmark.task for row in table(name).rows if row.architecture}
    for task in tasks:
        known = {metric.name for metric in TASKS[task].metrics}
        assert {c.metric for c in table(name).columns if c.metric is not None} <= known


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=recipe)
def test_classes_and_image_size_are_those_of_the_data_set(benchmark: Benchmark) -> None:
    dataset = DATASETS[benchmark.dataset]
    assert dataset.of({"image_size": benchmark.image_size}).num_classes == benchmark.num_classes
    default = dataset.Config.model_fields["image_size"].default
    # ELA 4.3: YOLOF sees the shorter side of COCO's photos at 800.
    assert benchmark.image_size == (800 if benchmark is benchmarks.COCO_YOLOF else default)


# What cells say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "unit", "number", "in_unit"),
    [
        ("11.690", "M", "11.690", "M"),  # its last digit counts
        ("327.56M", None, "327.56", "M"),
        ("1.824G", None, "1.824", "G"),
        ("16.5M", "G", "16.5", "G"),  # EMA's Table 2
        ("3.43", "MiB", "3.43", "MiB"),
        ("72", "%", "72", "%"),
    ],
)
def test_number_and_unit_of_a_cell(cell: str, unit: str, number: str, in_unit: str) -> None:
    assert str(printed_number(cell)) == number
    assert printed_number(cell) == Decimal(number)
    assert printed_unit(cell, Column("a heading", "params", unit)) == in_unit  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["", "-", "✓", "3.", ".5", "1,5", "12.3K", "1.2 M", "-3"])
def test_what_is_no_number(cell: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        printed_number(cell)


# Against the papers' text ------------------------------------------------------------------------


@needs_papers
@pytest.mark.parametrize("paper", ["ELA", "EMA"])
def test_the_text_has_these_tables_and_no_others(paper: str) -> None:
    numbers = [table(name).number for name in NAMES if table(name).paper == paper]
    assert numbers == list(range(1, len(printed_tables(paper)) + 1))


@needs_papers
@pytest.mark.parametrize("name", NAMES)
def test_headings_and_rows_are_as_printed(name: str) -> None:
    ours = table(name)
    headings, *rows = printed_tables(ours.paper)[ours.number - 1]
    assert [plain(column.heading) for column in ours.columns] == [
        heading.removesuffix("|") for heading in headings
    ]
    # Row by row and in the order of the paper: none is missing, none is more, no digit differs.
    assert [[plain(cell) for cell in row.cells] for row in ours.rows] == rows
