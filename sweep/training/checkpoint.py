"""Checkpoints of one trial: the last epoch, to go on from, and the weights of the best one.

    last.pt         model, optimizer, scheduler, scaler, history; replaced after every epoch
    best-0007.pt    weights of the epoch that ``last.pt`` names as the best

A file appears under its name only when it is whole. The order of the data and every random number
follow from (seed, epoch), so the number of the epoch is all that has to be kept of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

LAST = "last.pt"


class Checkpoints:
    """The checkpoint folder of one trial.

    Args:
        folder: created when the first checkpoint is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load_last(self, device: torch.device) -> dict[str, Any] | None:
        """Return what ``save_last`` was given, or None if there is none."""
        path = self.folder / LAST
        return _load(path, device) if path.exists() else None

    def save_last(self, state: dict[str, Any]) -> None:
        """Replace the last checkpoint, then drop every best one but ``state["best_epoch"]``'s."""
        _save(self.folder / LAST, state)
        for path in self.folder.glob("best-*.pt"):
            if path != self.best_path(state["best_epoch"]):
                path.unlink()

    def load_best(self, epoch: int, device: torch.device) -> dict[str, Any]:
        """Return the weights saved for ``epoch``."""
        return _load(self.best_path(epoch), device)

    def save_best(self, epoch: int, weights: dict[str, Any]) -> None:
        """Save the weights of ``epoch``; they count once ``save_last`` names the epoch."""
        _save(self.best_path(epoch), weights)

    def best_path(self, epoch: int) -> Path:
        """Return where the weights of an epoch lie."""
        return self.folder / f"best-{epoch:04d}.pt"


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
