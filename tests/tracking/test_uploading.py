"""The report as an artifact of the sweep's parent run."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.tracking.store import open_client
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
