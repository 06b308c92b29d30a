"""All trials as one table: its columns, their types, and that pandas reads it back."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from spec.spaces import call

from reports.rows import TrialRow, study_rows, trials_frame
from sweep.tracking.reading import read_study


def test_types_are_those_of_the_values(trial: Callable[..., TrialRow]) -> None:
    settings = {
        "task": "classification",
        "recipe.lr": "0.05",
        "recipe.epochs": "5",
        "recipe.nesterov": "True",
        "dataset.subset": "None",
        "dataset.files": "123456789012",
    }
    ela = {"kernel_size": 7, "shared": True, "groups": "in_channels/8"}
    frame = trials_frame(
        [
            trial("baseline", 0, settings=settings, versions={"python": "3.10"}),
            trial("ELA-B", 1, settings=settings, hyperparameters=ela),
            trial("ELA", 1, settings=settings, hyperparameters={**ela, "groups": 8}),
            trial("SE", 1, status="failed", metrics={}, params_true=None, settings=settings),
        ]
    )
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    for name in ("seed", "params_true", "attention.kernel_size", "recipe.epochs"):
        assert types[name] == "Int64"
    for name in ("attention.shared", "recipe.nesterov"):
        assert types[name] == "boolean"
    for name in ("test_top1", "recipe.lr"):
        assert types[name] == "float64"
    for name in ("trial_id", "attention.groups", "dataset.files", "dataset.subset", "env.python"):
        assert types[name] == "str"
    assert frame["attention.kernel_size"].tolist() == [pd.NA, 7, 7, pd.NA]
    assert frame["attention.groups"].dropna().tolist() == ["in_channels/8", "8"]
    assert frame["env.python"][0] == "3.10"
    assert frame["dataset.files"][0] == "123456789012"
    assert frame["dataset.subset"].isna().all()
    assert frame["params_true"].isna().tolist() == [False, False, False, True]


def test_the_order_of_columns_does_not_depend_on_the_store(
    trial: Callable[..., TrialRow],
) -> None:
    metrics = {"val_top1": 0.5, "test_top1": 0.5, "lr": 0.1}
    one = trials_frame([trial("baseline", 0, metrics=metrics)])
    other = trials_frame([trial("baseline", 0, metrics=dict(reversed(metrics.items())))])
    assert list(one) == list(other)
    assert list(one)[:3] == ["trial_id", "run_id", "experiment_id"]


def test_no_trial_is_a_frame_too() -> None:
    assert len(trials_frame([])) == 0
    assert "trial_id" in trials_frame([])


def test_csv_is_printed_and_pandas_reads_it(store: str) -> None:
    result = call("export", "small", "--tracking-uri", store)
    assert (result.code, result.err) == (0, "")
    expected = trials_frame(study_rows(read_study(store, "small")).trials)
    types = expected.dtypes.to_dict()
    read = pd.read_csv(io.StringIO(result.out), dtype=types, keep_default_na=False, na_values="")
    for name in expected:  # an empty word and a missing one are the same in CSV
        filled = expected[name].replace("", pd.NA) if types[name] == "str" else expected[name]
        pd.testing.assert_series_equal(read[name], filled)


def test_parquet_keeps_values_and_types(store: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trials.parquet"
    arguments = ("export", "small", "--format", "parquet", "--tracking-uri", store)
    result = call(*arguments, "-o", path)
    assert (result.code, result.out, result.err) == (0, f"{path}: 5 trials\n", "")
    expected = trials_frame(study_rows(read_study(store, "small")).trials)
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)


def test_csv_in_a_file_is_what_is_printed(store: str, tmp_path: Path) -> None:
    printed = call("export", "small", "--tracking-uri", store).out
    call("export", "small", "--tracking-uri", store, "-o", tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text(encoding="utf-8") == printed


def test_what_cannot_be_exported_is_one_line(store: str, tmp_path: Path) -> None:
    result = call("export", "small", "--format", "parquet", "--tracking-uri", store)
    assert (result.code, result.err) == (2, "error: --format parquet needs a file: -o FILE\n")
    (tmp_path / "a file").touch()
    path = tmp_path / "a file" / "trials.csv"
    result = call("export", "small", "-o", path, "--tracking-uri", store)
    assert result.code == 2
    assert result.err.startswith(f"error: cannot write to {path}: ")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_empty_study_has_a_table_too(store: str, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"trials.{form}"
    result = call("export", "empty", "--format", form, "-o", path, "--tracking-uri", store)
    assert (result.code, result.out) == (0, f"{path}: 0 trials\n")
