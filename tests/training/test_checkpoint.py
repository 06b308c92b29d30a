"""A checkpoint is whole or not there, damage is seen, and nothing that is not needed is kept."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.errors import UserError
from sweep.training.checkpoint import Checkpoints

from .parts import CPU


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "a" / "b")


def state(best_epoch: int, value: float) -> dict[str, Any]:
    return {"best_epoch": best_epoch, "weight": torch.full((3,), value), "history": [{"x": 0.1}]}


def files(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def saved(folder: Path, epochs: int) -> Checkpoints:
    """Checkpoints after some epochs, each of which was the best."""
    checkpoints = Checkpoints(folder)
    for epoch in range(1, epochs + 1):
        checkpoints.save_best(epoch, {"of": torch.tensor(epoch)})
        checkpoints.save_last(epoch, state(epoch, epoch))
    return checkpoints


def save_second(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(2, {})
    checkpoints.save_last(2, state(2, 2))


def best_of(loaded: dict[str, Any] | None) -> int | None:
    return None if loaded is None else int(loaded["best_epoch"])


def test_there_is_none_at_first(checkpoints: Checkpoints) -> None:
    assert checkpoints.load_last(CPU) is None
    assert checkpoints.damaged == []
    assert not checkpoints.folder.exists()


def test_what_was_saved_is_loaded(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(1, {"weight": torch.ones(2)})
    checkpoints.save_last(1, state(1, 0.1))
    loaded = checkpoints.load_last(CPU)
    assert loaded is not None
    assert torch.equal(loaded.pop("weight"), torch.full((3,), 0.1))
    assert loaded == {"best_epoch": 1, "history": [{"x": 0.1}]}
    assert torch.equal(checkpoints.load_best(1, CPU)["weight"], torch.ones(2))


def test_the_manifest_names_the_checksums(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(1, {})
    checkpoints.save_last(1, state(1, 1))
    manifest = json.loads((checkpoints.folder / "manifest.json").read_text())
    assert manifest["version"] == 1
    for part in manifest["epochs"][0].values():
        content = (checkpoints.folder / part["file"]).read_bytes()
        assert part["sha256"] == hashlib.sha256(content).hexdigest()


def test_two_epochs_are_kept_and_the_best_of_both(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(1, {})
    for epoch in (1, 2, 3):
        checkpoints.save_last(epoch, state(1, epoch))
    assert files(checkpoints) == [
        "best-0001.pt", "epoch-0002.pt", "epoch-0003.pt", "manifest.json",
    ]  # fmt: skip
    checkpoints.save_best(4, {})
    checkpoints.save_last(4, state(4, 4))
    assert files(checkpoints) == [
        "best-0001.pt", "best-0004.pt", "epoch-0003.pt", "epoch-0004.pt", "manifest.json",
    ]  # fmt: skip
    checkpoints.save_last(5, state(4, 5))
    assert "best-0001.pt" not in files(checkpoints)


@pytest.mark.parametrize("name", ["epoch-0003.pt", "best-0003.pt"])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "gone"])
def test_the_epoch_before_a_damaged_one_is_gone_on_from(
    tmp_path: Path, name: str, damage: str
) -> None:
    saved(tmp_path, 3)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        cut = {"truncated": len(content) - 1, "one bit": len(content), "empty": 0}[damage]
        path.write_bytes(content[:cut])
    again = Checkpoints(tmp_path)
    assert best_of(again.load_last(CPU)) == 2
    (problem,) = again.damaged
    assert str(path) in problem
    assert ("gone" if damage == "gone" else "damaged") in problem
    assert again.load_best(2, CPU) == {"of": torch.tensor(2)}
    # What was lost is trained again.
    again.save_best(3, {"of": torch.tensor(3)})
    again.save_last(3, state(3, 3))
    last = Checkpoints(tmp_path)
    assert best_of(last.load_last(CPU)) == 3
    assert last.damaged == []


def test_without_any_whole_one_training_starts_anew(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    for path in tmp_path.glob("epoch-*.pt"):
        path.write_bytes(b"")
    again = Checkpoints(tmp_path)
    assert again.load_last(CPU) is None
    assert len(again.damaged) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 0, "epochs": []}', '{"epochs": []}', '{"version": 1}']
)
def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    saved(tmp_path, 2)
    (tmp_path / "manifest.json").write_text(text)
    again = Checkpoints(tmp_path)
    assert again.load_last(CPU) is None
    (problem,) = again.damaged
    assert "manifest.json cannot be read" in problem


@pytest.mark.parametrize("calls", range(1, 4))
def test_a_crash_before_any_renaming_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """The renamings of an epoch are those of its best, its last and the manifest."""
    checkpoints = saved(tmp_path, 1)
    replace, seen = Path.replace, []

    def crash(self: Path, target: Path) -> Path:
        seen.append(self)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            save_second(checkpoints)
    again = Checkpoints(tmp_path)
    again.clear_strays()
    assert not [name for name in files(again) if name.endswith(".partial")]
    assert best_of(again.load_last(CPU)) == 1
    assert again.damaged == []
    again.save_best(2, {})
    again.save_last(2, state(2, 2))
    assert files(again) == [
        "best-0001.pt", "best-0002.pt", "epoch-0001.pt", "epoch-0002.pt", "manifest.json",
    ]  # fmt: skip


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, 1)

    def write_a_bit(_state: Any, file: Any) -> None:
        file.write(b"PK\x03\x04 half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", write_a_bit)
        with pytest.raises(OSError, match="no space"):
            checkpoints.save_last(2, state(1, 2))
        with pytest.raises(OSError, match="no space"):
            checkpoints.save_best(2, {})
    assert best_of(Checkpoints(tmp_path).load_last(CPU)) == 1
    assert not checkpoints.best_path(2).exists()


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def replaced(folder: Path, name: str, content: Any) -> None:
    """Put something else in the place of a file, with the manifest's checksum of it."""
    old = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    torch.save(content, folder / name)
    new = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_a_checkpoint_that_runs_code_counts_as_damaged(tmp_path: Path) -> None:
    folder, marker = tmp_path / "trial", tmp_path / "marker"
    saved(folder, 2)
    replaced(folder, "epoch-0002.pt", {"best_epoch": 2, "weight": Payload(marker)})
    replaced(folder, "best-0002.pt", {"of": Payload(marker)})
    again = Checkpoints(folder)
    assert best_of(again.load_last(CPU)) == 1
    assert again.damaged == [
        f"{folder / 'epoch-0002.pt'} is damaged: it holds more than tensors and plain data, and is "
        "not loaded"
    ]
    with pytest.raises(UserError, match=r"best-0002\.pt is damaged: it holds more than tensors"):
        again.load_best(2, CPU)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../../other/epoch-0001.pt", "/etc/passwd"])
def test_a_manifest_names_no_file_of_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "trial"
    saved(folder, 1)
    manifest = folder / "manifest.json"
    text = manifest.read_text(encoding="utf-8").replace("epoch-0001.pt", name)
    manifest.write_text(text, encoding="utf-8")
    again = Checkpoints(folder)
    assert again.load_last(CPU) is None
    assert f"{name!r} is not the name of a file beside it" in again.damaged[0]


def test_epochs_that_another_attempt_saves_are_not_removed(tmp_path: Path) -> None:
    """Two that do not know of each other: a network file system may lose a lock."""
    one = saved(tmp_path, 1)
    other = Checkpoints(tmp_path)
    other.load_last(CPU)
    (tmp_path / "epoch-0009.pt.of-another.partial").write_bytes(b"PK")
    other.save_best(8, {})
    for epoch in (8, 9, 10):
        other.save_last(epoch, state(8, epoch))
    one.save_best(2, {})
    for epoch in (2, 3, 4, 5):
        one.save_last(epoch, state(2, epoch))
    left = files(Checkpoints(tmp_path))
    assert {"best-0008.pt", "epoch-0009.pt", "epoch-0010.pt"} <= set(left)
    assert "epoch-0009.pt.of-another.partial" in left
    assert "epoch-0003.pt" not in left
    Checkpoints(tmp_path).clear_strays()
    assert not [name for name in files(one) if name.endswith(("0010.pt", ".partial"))]
    assert best_of(Checkpoints(tmp_path).load_last(CPU)) == 2
