"""What a source has beside its rows: an artifact that cannot be read is told, and stops nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from reports.render import write_report
from reports.sources import Source
from sweep.tracking import names
from sweep.tracking.gradcam import FILE, log_gradcam
from sweep.tracking.reading import RunRecord, read_study
from sweep.tracking.store import open_client
from tests.tracking.test_gradcam_artifact import FOUND


class Study(NamedTuple):
    """Study "small", which has no trials, in a store of its own."""

    uri: str
    parent: str

    @property
    def source(self) -> Source:
        return Source(read_study(self.uri, "small"), self.uri)

    def keep(self, folder: Path, name: str, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        open_client(self.uri).log_artifact(self.parent, str(path))


def made(folder: Path, artifacts: str) -> Study:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = open_client(uri)
    home = client.create_experiment("small", artifact_location=artifacts)
    refused = json.dumps({"count": 0, "items": []})
    tags = {names.KIND: "sweep", names.STUDY: "small", names.METRIC: "top1", names.REFUSED: refused}
    return Study(uri, str(client.create_run(home, tags=tags).info.run_id))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return made(tmp_path, (tmp_path / "kept").as_uri())


def page_of(study: Study, folder: Path) -> str:
    assert list(write_report(study.source, folder / "report"))
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_artifacts_that_nothing_here_can_fetch_are_told(tmp_path: Path) -> None:
    study = made(tmp_path, "unheard-of://bucket/small")
    source = study.source
    assert (source.space, source.gradcam) == (None, None)
    space, maps = source.notes
    reason = f"cannot be shown: artifacts of run {study.parent} cannot be fetched: "
    assert space.startswith(f"the search space {reason}")
    assert maps.startswith(f"Grad-CAM {reason}")
    page = page_of(study, tmp_path)
    assert page.index('class="warnings"') < page.index(f"<li>Grad-CAM {reason}")


def test_a_client_that_is_not_installed_is_told(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'boto3'")

    monkeypatch.setattr("mlflow.MlflowClient.list_artifacts", fail)
    assert [note.partition("fetched: ")[2] for note in study.source.notes] == [
        "ModuleNotFoundError: No module named 'boto3'"
    ] * 2


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[1]"], ids=["cut", "no text", "no space"])
def test_damaged_artifacts_are_told(study: Study, tmp_path: Path, content: bytes) -> None:
    study.keep(tmp_path, names.RESOLVED, content)
    study.keep(tmp_path, FILE, b"junk")
    source = study.source
    assert (source.space, source.gradcam) == (None, None)
    space, maps = source.notes
    assert space.startswith("the search space cannot be shown: ")
    assert "`sweep gradcam STUDY` makes it anew" in maps
    page = page_of(study, tmp_path)
    assert "<li>Grad-CAM cannot be shown: gradcam.npz of run" in page
    assert "Search space, as it was run" not in page


def test_the_space_is_shown_without_the_address_of_its_store(study: Study, tmp_path: Path) -> None:
    tracking = {"uri": "https://ann:secret@mlflow.example"}
    space = {"study": "small", "tracking": tracking, "seeds": [0, 1]}
    study.keep(tmp_path, names.RESOLVED, json.dumps(space).encode())
    assert study.source.space == "study: small\nseeds:\n- 0\n- 1\n"
    assert study.source.notes == ()
    page = page_of(study, tmp_path)
    assert "seeds:\n- 0" in page
    assert "secret" not in page


def test_maps_of_models_that_the_study_no_longer_has_are_left_out_and_told(study: Study) -> None:
    log_gradcam(study.uri, study.parent, FOUND)
    baseline = RunRecord("run-baseline", "1", "", "FINISHED", {}, {}, {})
    source = replace(study.source, record=replace(study.source.record, trials=(baseline,)))
    assert source.gradcam is not None
    (comparison,) = source.gradcam.comparisons
    assert [model.run_id for model in comparison.models] == ["run-baseline"]
    assert source.notes == (
        "Grad-CAM was made of runs that the study does not have now (ResNet-18, ELA-B; "
        "MobileNetV2, SE), which are left out; `sweep gradcam small` makes it anew",
    )
