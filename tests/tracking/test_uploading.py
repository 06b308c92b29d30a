"""The report as an artifact of the sweep's parent run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from sweep.errors import UserError
from sweep.tracking import uploading
from sweep.tracking.gradcam import GradCam, log_gradcam
from sweep.tracking.store import experiment_id, open_client, own_store
from sweep.tracking.uploading import UploadError, upload_report


@pytest.fixture
def parent(uri: str, tmp_path: Path) -> str:
    client = open_client(uri)
    root = (tmp_path / "artifacts").as_uri()
    experiment = client.create_experiment("small", artifact_location=root)
    return str(client.create_run(experiment).info.run_id)


def written(folder: Path, *files: str) -> list[Path]:
    """Write a report; return its files."""
    paths = [folder / name for name in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name, encoding="utf-8")
    return paths


def stored(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found = client.list_artifacts(run_id, folder)
    below = [stored(client, run_id, f.path) for f in found if f.is_dir]
    return {f.path for f in found if not f.is_dir}.union(*below)


def test_a_report_takes_the_place_of_the_one_before(uri: str, parent: str, tmp_path: Path) -> None:
    client = open_client(uri)
    client.log_text(parent, "{}", "plan.json")
    folder = tmp_path / "report"
    first = written(folder, "index.html", "tables/scores.csv", "tables/old.csv", "old/figure.pdf")
    (folder / "notes of mine.txt").touch()
    upload_report(uri, parent, folder, first)
    report = {"index.html", "tables/scores.csv"}
    old = {"tables/old.csv", "old/figure.pdf"}
    assert stored(client, parent) == {"plan.json", *(f"report/{name}" for name in report | old)}
    (folder / "index.html").write_text("newer", encoding="utf-8")
    upload_report(uri, parent, folder, [folder / name for name in report])
    assert stored(client, parent) == {"plan.json", *(f"report/{name}" for name in report)}
    page = client.download_artifacts(parent, "report/index.html", str(tmp_path))
    assert Path(page).read_text(encoding="utf-8") == "newer"


def test_what_cannot_be_uploaded_is_one_line_and_the_files_stay(
    uri: str, parent: str, tmp_path: Path
) -> None:
    paths = written(tmp_path / "report", "index.html")
    (tmp_path / "artifacts").touch()  # where a folder would have to be made
    with pytest.raises(
        UploadError, match=r"^the report is in .*report, but MLflow did not take it"
    ):
        upload_report(uri, parent, tmp_path / "report", paths)
    with pytest.raises(UploadError, match="not found"):
        upload_report(uri, "0" * 32, tmp_path / "report", paths)
    assert paths[0].read_text(encoding="utf-8") == "index.html"
    assert UploadError.exit_code == 1


def test_the_report_was_taken_where_only_the_one_before_cannot_be_deleted(
    uri: str, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: object) -> None:
        raise PermissionError("not yours")

    paths = written(tmp_path / "report", "index.html")
    monkeypatch.setattr(uploading, "_delete", denied)
    with pytest.raises(UploadError, match=r"^MLflow has the report .* deleted: not yours$"):
        upload_report(uri, parent, tmp_path / "report", paths)
    assert stored(open_client(uri), parent) == {"report/index.html"}


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
def test_a_copied_folder_writes_nothing_into_the_original(tmp_path: Path, moved: bool) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    client = open_client(own_store(original))
    experiment = experiment_id(client, "small", original, own_store(original))
    run_id = str(client.create_run(experiment).info.run_id)
    client.log_text(run_id, "{}", "plan.json")
    shutil.copytree(original, copy)
    if moved:
        shutil.rmtree(original)
    before = sorted(tmp_path.rglob("*"))
    paths = written(copy / "reports", "index.html")
    with pytest.raises(
        UploadError, match=r"copied or moved; its artifacts are still at .*original"
    ):
        upload_report(own_store(copy), run_id, copy / "reports", paths)
    nothing = GradCam(np.empty(0, np.uint8), np.empty(0, np.int64), (), (), ())
    with pytest.raises(UserError, match="copied or moved"):
        log_gradcam(own_store(copy), run_id, nothing)
    here = {copy / "reports", *paths, *copy.glob("mlflow.db*")}
    assert set(tmp_path.rglob("*")) - here == set(before) - here
