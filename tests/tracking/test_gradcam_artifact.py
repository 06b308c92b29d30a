"""What a parent run keeps of Grad-CAM: all of it comes back, and a damaged file runs nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.errors import UserError
from sweep.tracking import gradcam
from sweep.tracking.gradcam import Comparison, GradCam, Layer, ModelMaps, log_gradcam, read_gradcam
from sweep.tracking.store import open_client


@pytest.fixture
def parent(uri: str, tmp_path: Path) -> str:
    """A run of a store whose artifacts lie in the test's folder."""
    client = open_client(uri)
    home = client.create_experiment("small", artifact_location=(tmp_path / "kept").as_uri())
    return str(client.create_run(home).info.run_id)


def comparison(group: str, *names: str) -> Comparison:
    draw = np.random.default_rng(0)
    models = tuple(
        ModelMaps(
            name,
            f"run-{name}",
            epoch,
            draw.random((2, 4, 6)).astype(np.float16),
            draw.integers(0, 3, 2),
            draw.random(2).astype(np.float32),
        )
        for epoch, name in enumerate(names)
    )
    return Comparison(group, 7, Layer("layer2.1", 4, 4), Layer("layer4.1", 1, 1), models)


FOUND = GradCam(
    images=np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3),
    labels=np.array([0, 2]),
    classes=("Katze", "猫", "cat"),
    comparisons=(comparison("ResNet-18", "baseline", "ELA-B"), comparison("MobileNetV2", "SE")),
    left_out=("MobileNetV2, CA: no trial has finished",),
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two records hold the same, arrays and their types included."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__"):
        return vars(one).keys() == vars(other).keys() and all(
            same(value, getattr(other, name)) for name, value in vars(one).items()
        )
    return bool(one == other)


def test_what_was_kept_is_read(uri: str, parent: str) -> None:
    assert read_gradcam(uri, parent) is None
    log_gradcam(uri, parent, FOUND)
    found = read_gradcam(uri, parent)
    assert found is not None
    assert same(found, FOUND)


def test_the_last_one_takes_the_place_of_the_one_before(uri: str, parent: str) -> None:
    log_gradcam(uri, parent, FOUND)
    log_gradcam(uri, parent, replace(FOUND, comparisons=FOUND.comparisons[1:]))
    found = read_gradcam(uri, parent)
    assert found is not None
    assert [one.group for one in found.comparisons] == ["MobileNetV2"]


def test_a_store_that_has_moved_has_none(uri: str, parent: str, tmp_path: Path) -> None:
    log_gradcam(uri, parent, FOUND)
    (tmp_path / "kept").rename(tmp_path / "elsewhere")
    assert read_gradcam(uri, parent) is None


def _damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _no_archive(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickled(path: Path) -> None:
    np.savez(path, about=np.array([print], dtype=object))


def _of_something_else(path: Path) -> None:
    np.savez(path, about=np.array("[]"))


@pytest.mark.parametrize("harm", [_damaged, _no_archive, _empty, _pickled, _of_something_else])
def test_a_damaged_file_is_told(uri: str, parent: str, tmp_path: Path, harm: Any) -> None:
    log_gradcam(uri, parent, FOUND)
    (path,) = (tmp_path / "kept").rglob(gradcam.FILE)
    harm(path)
    with pytest.raises(UserError, match=r"gradcam.npz of run \w+ cannot be read .* makes it anew"):
        read_gradcam(uri, parent)


def test_another_version_is_not_read(
    uri: str, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_gradcam(uri, parent, FOUND)
    monkeypatch.setattr(gradcam, "VERSION", 2)
    with pytest.raises(UserError, match="it is of version 1, this is version 2"):
        read_gradcam(uri, parent)
