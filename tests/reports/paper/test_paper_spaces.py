"""The search space of a table trains its rows: each with every seed, and nothing else."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from paper_runs import run_record
from spec.spaces import call

from reports.paper.audit import audit_table
from reports.paper.layout import lay_out
from reports.paper.measured import measured
from reports.paper.published import TABLES, Architecture, Row
from reports.paper.space import SEEDS
from sweep import plan as planning
from sweep.models.placement import policy_sites
from sweep.plan import Plan, make_plan
from sweep.registry import ATTENTION, DATASETS
from sweep.spec.load import load_space
from sweep.spec.recipes import PRESETS, Recipe
from sweep.spec.trial import Trial

SPACES = [(f"ela-{number}", None) for number in range(2, 9)] + [
    ("ema-1", None),
    ("ema-2", "coco"),
    ("ema-2", "visdrone"),
    ("ema-3", None),
]
UNPRINTED = {("ema-2", "visdrone"): 1, ("ema-3", None): 1}
"""Baselines that are trained and that the table does not print."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_DIR", raising=False)
    monkeypatch.delenv("SWEEP_DATA", raising=False)


def printed_space(name: str, dataset: str | None) -> str:
    options = [] if dataset is None else ["--dataset", dataset]
    result = call("paper", "space", name, *options)
    assert (result.code, result.err) == (0, "")
    return result.out


def plan_of(text: str) -> Plan:
    path = Path("space.yaml")
    path.write_text(text, encoding="utf-8")
    return make_plan(load_space(path))


def rows_of(name: str, dataset: str | None) -> list[tuple[Row, Architecture]]:
    return [
        (row, row.architecture)
        for row in TABLES[name].rows
        if row.architecture and dataset in (None, row.architecture.benchmark.dataset)
    ]


def wanted(row: Row, architecture: Architecture) -> tuple[Any, ...]:
    """Return what a trial must be to be of a row, but for its seed."""
    benchmark = architecture.benchmark
    fields = dict(row.attention)
    name, preset = fields.pop("name"), fields.pop("preset", None)
    config = ATTENTION[name].Config
    hyperparameters = {
        **{key: field.default for key, field in config.model_fields.items()},
        **(config.presets[preset] if preset else {}),
        **fields,
    }
    with_attention = name != "none"
    return (
        (benchmark.task, benchmark.dataset, benchmark.num_classes, benchmark.image_size),
        (architecture.backbone, architecture.stem, architecture.weights),
        policy_sites(architecture.backbone, architecture.placement) if with_attention else (),
        name,
        tuple(sorted(hyperparameters.items())),
        Recipe.model_validate(PRESETS[benchmark.recipe]),
    )


@pytest.mark.parametrize(("name", "dataset"), SPACES)
def test_trials_are_the_rows_of_the_table_times_the_seeds(
    name: str, dataset: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_cost", lambda _: None)  # it is counted by other tests
    plan = plan_of(printed_space(name, dataset))
    found = Counter(
        (
            (t.task, t.dataset, t.num_classes, t.dataset_settings["image_size"]),
            (t.backbone.name, t.backbone.stem, t.backbone.weights),
            t.sites,
            t.attention,
            tuple(sorted(t.hyperparameters.items())),
            t.recipe,
            t.seed,
        )
        for t in (planned.trial for planned in plan.trials)
    )
    rows = rows_of(name, dataset)
    # Every backbone has its baseline, also where the paper prints none.
    baselines = [(Row((), architecture), architecture) for _, architecture in rows]
    expected = set(itertools.starmap(wanted, [*rows, *baselines]))
    assert len(expected) - len(rows) == UNPRINTED.get((name, dataset), 0)
    assert found == Counter((*fields, seed) for fields in expected for seed in SEEDS)
    assert plan.duplicates == 0
    assert len(SEEDS) >= 3
    # Only what cannot exist is refused: MobileNetV2 has 96 channels.
    refused = {(p.trial.backbone.name, p.trial.attention) for p in plan.refused}
    assert refused == ({("mobilenet_v2", "sa")} if name == "ela-5" else set())
    assert not any(planned.status == "adjusted" for planned in plan.trials)


@pytest.mark.parametrize(("name", "dataset"), SPACES)
def test_a_space_says_what_it_is(name: str, dataset: str | None) -> None:
    text = printed_space(name, dataset)
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert text.splitlines()[: len(header)] == header
    said = " ".join(line.removeprefix("#").strip() for line in header)
    table = TABLES[name]
    assert table.question in said
    assert table.reference in said
    assert f"sweep paper table {name}" in said
    for row, architecture in rows_of(name, dataset):
        assert row.assumed in said
        assert architecture.assumed in said
        assert architecture.benchmark.deviation in said
    assert all(len(line) <= 100 for line in text.splitlines())


# Filled in again ---------------------------------------------------------------------------------


def value_of(trial: Trial, metric: str) -> float:
    """Return a score that no other trial of the tables has, nor another metric of this one."""
    text = f"{metric} {trial.trial_id}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


@pytest.mark.parametrize(
    ("name", "datasets", "metrics"),
    [
        ("ela-5", (None,), {"top1": "Top-1(%)", "top5": "Top-5(%)"}),
        ("ema-2", ("coco", "visdrone"), {"map50": "mAP (0.5)", "map": "mAP (0.5:0.95)"}),
    ],
)
def test_runs_of_the_spaces_fill_one_column_each_row_from_its_own_benchmark(
    name: str,
    datasets: tuple[str | None, ...],
    metrics: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "_cost", lambda _: None)
    plans = [plan_of(printed_space(name, dataset)) for dataset in datasets]
    trials = [planned.trial for plan in plans for planned in plan.runnable]
    runs = [
        run_record(trial, **{f"test_{metric}": value_of(trial, metric) for metric in metrics})
        for trial in trials
    ]
    table = TABLES[name]
    layout = lay_out(table, audit_table(table), measured(table, runs))
    columns = {column.heading: column.metric for column in table.columns if column.metric}
    assert set(columns.values()) == set(metrics)
    parts = [(heading, part) for heading, part in layout.columns if heading in columns]
    # What the recipes, image sizes and data sets of the rows are makes no further column.
    assert parts == [(heading, part) for heading in columns for part in ("paper", "here")]
    assert "Not the paper's training" not in layout.notes[-1]
    for (row, architecture), cells in zip(rows_of(name, None), layout.rows, strict=True):
        own = [trial for trial in trials if is_of(trial, row, architecture)]
        missing = (architecture.backbone, row.attention["name"]) == ("mobilenet_v2", "sa")
        assert len(own) == (0 if missing else len(SEEDS))
        for heading, metric in columns.items():
            percent = [100 * value_of(trial, metric) for trial in own]
            text = f"{mean(percent):.2f} ± {stdev(percent):.2f} ({len(own)})" if own else ""
            assert cells[layout.columns.index((heading, "here"))] == text


def is_of(trial: Trial, row: Row, architecture: Architecture) -> bool:
    _, (backbone, *_), sites, attention, hyperparameters, recipe = wanted(row, architecture)
    return (
        (trial.dataset, trial.backbone.name) == (architecture.benchmark.dataset, backbone)
        and (trial.sites, trial.attention, trial.recipe) == (sites, attention, recipe)
        and tuple(sorted(trial.hyperparameters.items())) == hyperparameters
    )


def test_a_baseline_that_no_row_is_of_fills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_cost", lambda _: None)
    plan = plan_of(printed_space("ema-2", "visdrone"))
    wide = [
        planned.trial
        for planned in plan.trials
        if (planned.trial.backbone.name, planned.trial.attention) == ("yolov5x_p2_wide", "none")
    ]
    assert len(wide) == len(SEEDS)
    assert measured(TABLES["ema-2"], [run_record(trial, test_map=0.5) for trial in wide]) == []


def test_a_space_plans_by_the_command() -> None:
    Path("ela-2.yaml").write_text(printed_space("ela-2", None), encoding="utf-8")
    result = call("plan", "ela-2.yaml")
    assert (result.code, result.err) == (0, "")
    assert "33 trials: 33 planned" in result.out


@pytest.mark.parametrize(("name", "dataset"), SPACES)
def test_what_is_read_from_disk_has_workers(name: str, dataset: str | None) -> None:
    _, architecture = rows_of(name, dataset)[0]
    streamed = (
        not DATASETS[architecture.benchmark.dataset]
        .of({"image_size": architecture.benchmark.image_size})
        .resident
    )
    assert ("workers:" in printed_space(name, dataset)) is streamed
    assert streamed is (architecture.benchmark.dataset != "cifar100")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["space", "ela-44"], "unknown published table 'ela-44'; did you mean 'ela-4'?"),
        (["space", "ELA-5"], "unknown published table 'ELA-5'; did you mean 'ela-5'?"),
        (["table", "ema-4"], "unknown published table 'ema-4'; did you mean 'ema-"),
        (["table", "resnet"], "unknown published table 'resnet'"),
        (["space", "ela-1"], "ela-1 has no row that is trained"),
        (["space", "ema-2"], "ema-2 has several data sets; choose one by --dataset: coco, visdr"),
        (
            ["space", "ema-2", "--dataset", "coc"],
            "ema-2 has no data set 'coc'; did you mean 'coco'? Allowed: coco, visdrone",
        ),
        (
            ["space", "ema-2", "--dataset", "VisDrone2019"],
            "ema-2 has no data set 'VisDrone2019'; did you mean 'visdrone'?",
        ),
        (
            ["space", "ela-5", "--dataset", "cifar100"],
            "ela-5 has no data set 'cifar100'. Allowed: imagenet",
        ),
    ],
)
def test_a_wrong_name_is_one_clear_error(arguments: list[str], message: str) -> None:
    result = call("paper", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: ")


def test_a_wrong_format_names_those_there_are() -> None:
    result = call("paper", "table", "ela-4", "--format", "docx")
    assert result.code == 2
    assert "'docx' is not one of 'md', 'tex', 'csv', 'html'" in result.err
