from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from mlflow.entities import Metric

from reports.rows import UNENDED, study_rows, trials_frame
from sweep.errors import UserError
from sweep.orchestration.record import _short_list
from sweep.tracking import names
from sweep.tracking.reading import Refusal, _refusals, read_curves, read_study
from sweep.tracking.store import open_client


@pytest.mark.usefixtures("small_pages")
def test_reads_the_members_of_all_experiments_page_by_page(store: str) -> None:
    record = read_study(store, "small")
    assert len(record.trials) == 5  # the sixth left the grid
    assert record.parent.name == "small"
    assert record.refused == (Refusal("ELA-B", "resnet50", "num_groups (=16) must divide 24"),)
    assert record.refused_complete


def test_rows_are_typed(store: str) -> None:
    rows = study_rows(read_study(store, "small"))
    trial = next(t for t in rows.trials if t.trial_id == "ela0")
    assert trial.hyperparameters == {
        "groups": "in_channels/8",
        "kernel_size": 7,
        "num_groups": 16,
        "shared": True,
        # newer than the run: what was trained has their defaults
        "norm": "gn",
        "directions": "both",
        "conv": True,
    }
    assert (trial.label, trial.seed, trial.macs, trial.macs_fvcore) == ("ELA-L", 0, 34e6, 35e6)
    assert trial.settings["recipe.epochs"] == "5"
    assert trial.versions == {"torch": "2.9"}
    assert trial.score("top1") == 0.95
    assert rows.compared.name == "top1"
    assert rows.notes == (UNENDED,)
    assert (trial.experiment_id, rows.experiment_id) == ("2", "1")  # another sweep made its run


def test_only_finite_numbers_of_finished_trials_are_scores(store: str) -> None:
    rows = {t.trial_id: t for t in study_rows(read_study(store, "small")).trials}
    assert math.isnan(rows["ela1"].metrics["test_top1"])
    assert rows["ela1"].score("top1") is None
    assert (rows["ca0"].status, rows["ca0"].reason) == ("failed", "loss is nan")
    assert rows["ca0"].score("top1") is None


def test_frame_has_a_row_per_trial(store: str) -> None:
    frame = trials_frame(study_rows(read_study(store, "small")).trials)
    assert len(frame) == 5
    assert {"trial_id", "attention.kernel_size", "test_top1", "recipe.epochs"} <= set(frame)
    assert frame.set_index("trial_id").loc["none1", "test_top1"] == 0.92


def test_unknown_study_names_the_known_and_the_nearest(store: str) -> None:
    with pytest.raises(UserError, match=r"no study 'smal' .*mean 'small'\? Known: empty, small"):
        read_study(store, "smal")


def test_a_missing_store_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow store"):
        read_study(f"sqlite:///{tmp_path}/mlflow.db", "small")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(UserError, match="MLflow store"):
        read_study(f"sqlite:///{path}", "small")
    assert path.read_bytes() == content


def test_a_list_of_refusals_that_has_no_room_says_so() -> None:
    items = [("ELA-B", "resnet50", f"reason {i}") for i in range(4)]
    whole = tuple(Refusal(*item) for item in items)
    assert _refusals(_short_list(items)) == (whole, True)
    many = [("ELA-B", "resnet50", f"reason {i}") for i in range(4000)]
    stored = _short_list(many)
    assert len(stored) <= 8000  # what every MLflow store takes
    found, complete = _refusals(stored)
    assert found[:4] == whole
    assert not complete


def test_curves_have_the_value_of_every_epoch(store: str, tmp_path: Path) -> None:
    copied = shutil.copy(store.removeprefix("sqlite:///"), tmp_path)  # other tests have none
    store = f"sqlite:///{copied}"
    client = open_client(store)
    runs = {run.tags[names.TRIAL_ID]: run.run_id for run in read_study(store, "small").trials}
    logged = {"none0": [(2, 0.5, 20), (1, 0.4, 10), (3, math.nan, 30), (4, math.inf, 40)]}
    logged["none1"] = [(1, 0.1, 10), (1, 0.2, 20)]  # an epoch that was trained again
    for trial_id, points in logged.items():
        metrics = [Metric("val_top1", value, time, step) for step, value, time in points]
        client.log_batch(runs[trial_id], metrics=metrics)
    curves = read_curves(store, runs.values(), "val_top1")
    assert set(curves) == set(runs.values())
    assert curves[runs["none0"]][:2] == ((1, 0.4), (2, 0.5))
    assert math.isnan(curves[runs["none0"]][2][1])
    assert curves[runs["none0"]][3] == (4, math.inf)
    assert curves[runs["none1"]] == ((1, 0.2),)
    assert curves[runs["ca0"]] == ()


def test_curves_of_a_missing_store_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow store"):
        read_curves(f"sqlite:///{tmp_path}/mlflow.db", ["a"], "val_top1")
