"""A checkpoint is whole or not there, and only the best epoch's weights are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.training.checkpoint import Checkpoints

from .parts import CPU


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "a" / "b")


def state(best_epoch: int, value: float) -> dict[str, Any]:
    return {"best_epoch": best_epoch, "weight": torch.full((3,), value), "history": [{"x": 0.1}]}


def files(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_there_is_none_at_first(checkpoints: Checkpoints) -> None:
    assert checkpoints.load_last(CPU) is None
    assert not checkpoints.folder.exists()


def test_what_was_saved_is_loaded(checkpoints: Checkpoints) -> None:
    checkpoints.save_last(state(1, 0.1))
    loaded = checkpoints.load_last(CPU)
    assert loaded is not None
    assert torch.equal(loaded.pop("weight"), torch.full((3,), 0.1))
    assert loaded == {"best_epoch": 1, "history": [{"x": 0.1}]}
    checkpoints.save_best(1, {"weight": torch.ones(2)})
    assert torch.equal(checkpoints.load_best(1, CPU)["weight"], torch.ones(2))


def test_only_the_best_epoch_is_kept(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(1, {})
    checkpoints.save_last(state(1, 1))
    checkpoints.save_last(state(1, 2))
    assert files(checkpoints) == ["best-0001.pt", "last.pt"]
    checkpoints.save_best(3, {})
    # The old best is what ``last.pt`` still names: a crash here must find it.
    assert files(checkpoints) == ["best-0001.pt", "best-0003.pt", "last.pt"]
    checkpoints.save_last(state(3, 3))
    assert files(checkpoints) == ["best-0003.pt", "last.pt"]


def test_a_crash_before_the_renaming_leaves_the_old_file(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save_best(1, {})
    checkpoints.save_last(state(1, 1))

    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save_last(state(2, 2))
    old = checkpoints.load_last(CPU)
    assert old is not None
    assert (old["best_epoch"], old["weight"][0]) == (1, 1)
    assert checkpoints.load_best(1, CPU) == {}

    checkpoints.save_last(state(2, 2))
    new = checkpoints.load_last(CPU)
    assert new is not None
    assert (new["best_epoch"], new["weight"][0]) == (2, 2)
    assert files(checkpoints) == ["last.pt"]


def test_a_crash_while_writing_leaves_the_old_file(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save_last(state(1, 1))

    def write_a_bit(_state: Any, file: Any) -> None:
        file.write(b"PK\x03\x04 half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", write_a_bit)
        with pytest.raises(OSError, match="no space"):
            checkpoints.save_last(state(2, 2))
        with pytest.raises(OSError, match="no space"):
            checkpoints.save_best(2, {})
    old = checkpoints.load_last(CPU)
    assert old is not None
    assert old["best_epoch"] == 1
    assert not checkpoints.best_path(2).exists()
