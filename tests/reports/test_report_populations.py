"""A population in a report: its members compare, whatever each of them comes from."""

from __future__ import annotations

import json

import pytest

from reports.configs import config_rows
from reports.rows import StudyRows, study_rows, trials_frame
from reports.summary import summarise
from sweep.tracking import names
from sweep.tracking.reading import RunRecord, study_record

MEMBERS = [
    ("none", 0, "1234567e8901", "0.1", 0.90),
    ("none", 1, "aaaaaaaaaaaa", "0.1", 0.92),
    ("se", 0, "bbbbbbbbbbbb", "0.1", 0.91),
    ("se", 1, "none", "0.1", 0.94),
    ("se", 0, "12345678e-12", "0.08", 0.80),
]
"""Module, seed, parent, learning rate, accuracy of the last segments."""


@pytest.fixture
def rows() -> StudyRows:
    tags = {names.STUDY: "p", names.METRIC: "top1", names.SEARCHED: json.dumps(["recipe.lr"])}
    parent = RunRecord("parent", "1", "p", "FINISHED", {}, {}, tags)
    passed_on = _run(len(MEMBERS), *MEMBERS[0], until=5)
    return study_rows(
        study_record(parent, [*(_run(i, *m) for i, m in enumerate(MEMBERS)), passed_on])
    )


def test_members_with_one_recipe_are_one_configuration(rows: StudyRows) -> None:
    configs = config_rows(rows)
    assert [(c.group, c.name, c.spreads["top1"].n) for c in configs] == [
        ("ResNet-18", "baseline, lr 0.1", 2),
        ("ResNet-18", "SE, lr 0.1", 2),
        ("ResNet-18", "SE, lr 0.08", 1),
    ]
    baseline, same, other = configs
    assert (same.baseline, other.baseline) == (baseline, None)
    assert same.differences["top1"].mean == pytest.approx(0.015)
    found = summarise(rows, configs)
    assert len(found.findings) == 1
    assert found.findings[0].startswith("ResNet-18: for SE, lr 0.1, chosen on validation, no diff")
    assert "so no Δ: SE, lr 0.08" in " ".join(found.warnings)
    assert "there is no baseline" not in " ".join(found.warnings)


def test_where_a_member_comes_from_is_exported_as_it_is(rows: StudyRows) -> None:
    """Ids of hexadecimal digits may look like numbers: 1234567e8901 would be infinite."""
    frame = trials_frame(rows.trials)
    assert frame["segment.parent"].tolist() == [parent for _, _, parent, *_ in MEMBERS]
    assert frame["segment.until"].tolist() == [10] * 5
    assert str(frame["segment.until"].dtype) == "Int64"
    assert not any(setting.startswith("segment") for setting in rows.trials[0].settings)


def _run(
    order: int, attention: str, seed: int, parent: str, lr: str, top1: float, until: int = 10
) -> RunRecord:
    params = {
        "task": "classification",
        "dataset": "digits",
        "backbone": "resnet18",
        "stem": "cifar",
        "weights": "none",
        "sites": "layer1",
        "attention": attention,
        "recipe.epochs": "10",
        "recipe.lr": lr,
        "metric": "top1",
        "seed": str(seed),
        "segment.until": str(until),
        "segment.parent": parent,
    }
    metrics = {"test_top1": top1, "best_val_top1": top1}
    tags = {names.per_sweep(names.ORDER, "p"): str(order), names.TRIAL_ID: f"t{order}"}
    return RunRecord(f"r{order}", "1", f"r{order}", "FINISHED", params, metrics, tags)
