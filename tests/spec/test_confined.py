"""A search space that is submitted names no store, and no folder outside of $SWEEP_DATA."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.data.places import find_folder
from sweep.registry import DATASETS
from sweep.spec.confined import ConfinedError, check_confined, data_folder
from sweep.spec.document import SpecError, read_document

from .spaces import call, text_of


def refusal(*overrides: str, **fields: str) -> str:
    """Return why the small space with some fields changed cannot be submitted."""
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    with pytest.raises(SpecError) as raised:
        check_confined(read_document(Path("space.yaml"), overrides))
    return str(raised.value)


def submittable(**fields: str) -> None:
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    check_confined(read_document(Path("space.yaml")))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return $SWEEP_DATA of a node that works for a submitted sweep."""
    base = tmp_path / "data"
    base.mkdir()
    monkeypatch.setenv("SWEEP_CONFINED", "1")
    monkeypatch.setenv("SWEEP_DATA", str(base))
    return base


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ("/etc", "is a place of one machine"),
        ("//etc", "is a place of one machine"),
        ("~", "is a place of one machine"),
        ("~root/photos", "is a place of one machine"),
        ("..", "leads out of it"),
        ("photos/../../etc", "leads out of it"),
        ("./../etc", "leads out of it"),
        ("file:///etc", "is a URL"),
        ("s3://bucket/photos", "is a URL"),
    ],
)
def test_a_root_that_leaves_the_data_of_the_cluster_is_refused(root: str, why: str) -> None:
    told = refusal(dataset=f"{{name: imagefolder, root: '{root}'}}")
    assert told.startswith(f"space.yaml:3:30: dataset.root: {root!r} {why}; a submitted search")


@pytest.mark.parametrize("root", ["photos", "photos/birds", "./photos", "..photos", "a..b/~c"])
def test_a_root_inside_is_not(root: str) -> None:
    submittable(dataset=f"{{name: imagefolder, root: '{root}'}}")


def test_a_store_is_refused_whatever_it_is() -> None:
    told = "space.yaml:8:1: tracking: {uri: 'http://evil.example'}: a submitted search space names"
    assert refusal(tracking="{uri: 'http://evil.example'}").startswith(told)
    assert "tracking: null: a submitted" in refusal(tracking="")


def test_an_override_is_refused_like_the_file() -> None:
    told = refusal("dataset.root=/etc", "tracking.uri=sqlite:////tmp/x")
    assert "override 'dataset.root=/etc': dataset.root: '/etc' is a place" in told
    assert "override 'tracking.uri=sqlite:////tmp/x': tracking: {uri: " in told


def test_the_node_refuses_what_the_laptop_let_pass(cluster: Path) -> None:
    Path("space.yaml").write_text(text_of(dataset="{name: digits, root: /etc}"), encoding="utf-8")
    result = call("run", "space.yaml", "--dir", "work", "--runner", "inline")
    assert result.code == 2
    assert "dataset.root: '/etc' is a place of one machine" in result.err
    assert not Path("work").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dataset.root=/etc", "dataset.root: '/etc' is a place of one machine"),
        ("tracking.uri=http://evil.example", "tracking: {uri: 'http://evil.example'}: a submitted"),
    ],
)
def test_the_node_refuses_an_override_too(cluster: Path, override: str, told: str) -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    result = call("run", "space.yaml", override, "--dir", "work", "--runner", "inline")
    assert result.code == 2
    assert f"override {override!r}: {told}" in result.err
    assert not Path("work").exists()


def test_a_root_is_relative_to_the_data_of_the_node(cluster: Path) -> None:
    assert data_folder("photos/birds") == cluster / "photos/birds"
    assert data_folder(str(cluster / "photos")) == cluster / "photos"  # as another node found it


@pytest.mark.parametrize("root", ["link", "link/deeper", "inside/link", "/etc", "photos/../.."])
def test_a_link_that_leaves_the_data_of_the_node_is_refused(cluster: Path, root: str) -> None:
    (cluster / "inside").mkdir()
    (cluster.parent / "elsewhere/deeper").mkdir(parents=True)
    for link in ("link", "inside/link"):
        (cluster / link).symlink_to(cluster.parent / "elsewhere")
    with pytest.raises(ConfinedError, match=r"^dataset\.root: .* outside of \$SWEEP_DATA \(="):
        data_folder(root)


def test_a_link_within_the_data_of_the_node_is_followed(cluster: Path) -> None:
    (cluster / "photos").mkdir()
    (cluster / "latest").symlink_to("photos")
    assert data_folder("latest") == cluster / "latest"


@pytest.mark.parametrize("linked", ["imagenet", "imagenet/ImageNet"])
def test_so_is_the_default_place_of_a_data_set(cluster: Path, tmp_path: Path, linked: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (cluster / linked).parent.mkdir(exist_ok=True)
    (cluster / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfinedError, match="elsewhere, outside of"):
        find_folder("imagenet", None, "ImageNet", holds=Path.is_symlink, get="")


def test_what_the_system_has_and_another_node_found_is_not_refused(
    cluster: Path, tmp_path: Path
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    for root in (None, str(system)):
        found = find_folder("x", root, "in", holds=lambda at: at == system, get="", system=[system])
        assert found == system


def test_the_folder_of_the_job_is_no_place_for_data(cluster: Path) -> None:
    Path("data/x").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"^x: no files in "):
        find_folder("x", None, "in", holds=lambda at: at == Path("data/x"), get="")


def test_a_node_without_data_says_so(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEP_DATA")
    with pytest.raises(ConfinedError, match=r"this node has no \$SWEEP_DATA"):
        data_folder("photos")


@pytest.mark.parametrize("name", ["imagefolder", "voc_folder", "cifar10", "imagenet", "coco"])
def test_data_sets_look_where_they_may(cluster: Path, name: str) -> None:
    dataset = DATASETS[name].of({"root": "/etc"})
    with pytest.raises(ConfinedError, match=r"/etc, outside of \$SWEEP_DATA"):
        dataset.find()


def test_nothing_is_confined_without_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("SWEEP_CONFINED", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert data_folder("~/photos") == tmp_path / "photos"
        assert data_folder("/etc") == Path("/etc")
        assert data_folder("../photos") == Path("../photos")


def test_root_is_the_only_field_of_a_data_set_that_is_a_path() -> None:
    """A field that is added must be looked at: a path is confined by hand."""
    free_text = {
        field
        for name in DATASETS.names()
        for field, schema in DATASETS[name].Config.model_json_schema()["properties"].items()
        if "'type': 'string'" in str(schema) and "enum" not in schema and "const" not in schema
    }
    assert free_text == {"root", "classes"}  # names of classes
