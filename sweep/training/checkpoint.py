"""Checkpoints of one trial: its last two epochs, to go on from, and the weights of the best one.

    epoch-0007.pt    model, optimizer, scheduler, scaler, history; after every epoch
    best-0005.pt     weights of the epoch that it names as the best
    manifest.json    the epochs to go on from, the newest first, and the checksums of their files

The manifest is replaced as a whole, after the files that it names are whole and on the disk: a
crash at any point leaves the one before. A file that does not have the checksum of the manifest
counts as lost, and the epoch before it is gone on from. The order of the data and every random
number follow from (seed, epoch), so the number of the epoch is all that has to be kept of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import uuid
from pathlib import Path
from typing import Any, Literal

import torch

from sweep.durable import NewerVersionError, write_text
from sweep.errors import UserError

MANIFEST = "manifest.json"
VERSION = 1
"""Of the manifest and of what the files hold; another one is not read."""
KEPT = 2
"""Epochs that can be gone on from."""

Keep = Literal["none", "best", "last"]
"""Of a finished trial: nothing, its best weights, or these and the state to go on from."""

Entry = dict[str, dict[str, str]]
"""Of the manifest: "last" and "best", each with "file" and "sha256"."""


class ForeignCheckpointError(UserError, ValueError):
    """A file that would run code if it were loaded as a pickle; its text names it."""


class Checkpoints:
    """The checkpoint folder of one trial.

    Args:
        folder: created when the first checkpoint is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        """What ``load_last`` could not use, and why: one line each."""
        self._saved_best: dict[str, str] = {}
        """File and checksum of the best weights that were saved last."""
        self._own: set[str] = set()
        """Files that were loaded from or saved here: what others save meanwhile is not removed."""

    def exists(self) -> bool:
        """Tell whether an epoch was saved."""
        return (self.folder / MANIFEST).is_file()

    def intact(self) -> bool:
        """Tell whether a saved epoch is whole, so that it can be gone on from."""
        return any(not self._problem(entry) for entry in self._entries())

    def copy(self, source: Path) -> None:
        """Take over the epochs of another folder; what is damaged there is so here.

        Raises:
            FileNotFoundError: there are none, or their files were removed meanwhile.
        """
        entries = Checkpoints(source)._entries()
        if not entries:
            raise FileNotFoundError(f"{source} has no epoch to go on from")
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in _files(entries):
            shutil.copy2(source / name, self.folder)
        self._commit(entries)
        self._remove_all_but(_files(entries))

    def clear_strays(self) -> None:
        """Remove what attempts that were killed left; nobody else may be saving here."""
        if self.folder.is_dir():
            self._remove_all_but(_files(self._entries()))

    def reduce(self, keep: Keep) -> None:
        """Leave of a trial that has ended nothing, its best weights, or also its last state."""
        entries = self._entries()
        if keep == "last" and entries:
            self._commit(entries[:1])
            self._remove_all_but(_files(entries[:1]))
        elif keep == "best" and entries:
            self._remove_all_but({entries[0]["best"]["file"]})
            (self.folder / MANIFEST).unlink()  # last: until then it says which file stays
        elif keep == "none":
            shutil.rmtree(self.folder, ignore_errors=True)

    def load_last(self, device: torch.device) -> dict[str, Any] | None:
        """Return the newest whole state that ``save_last`` was given, or None if there is none."""
        entries = self._entries()
        self._own |= _files(entries)
        for entry in entries:
            problem = self._problem(entry)
            if not problem:
                try:
                    return self._load(entry["last"]["file"], device)
                except ForeignCheckpointError as error:
                    problem = str(error)
            self.damaged.append(problem)
        return None

    def save_last(self, epoch: int, state: dict[str, Any]) -> None:
        """Save a state to go on from; drop what no kept epoch needs any more.

        Args:
            epoch: that the state is of.
            state: with "best_epoch", whose weights were saved.
        """
        best = self.best_path(state["best_epoch"]).name
        known = self._entries()
        checksums = {entry["best"]["file"]: entry["best"]["sha256"] for entry in known}
        checksums |= self._saved_best
        entry = {
            "last": self._save(f"epoch-{epoch:04d}.pt", state),
            "best": {"file": best, "sha256": checksums[best]},
        }
        older = [other for other in known if other["last"]["file"] != entry["last"]["file"]]
        kept = [entry, *older][:KEPT]
        self._commit(kept)
        for name in self._own - _files(kept):
            (self.folder / name).unlink(missing_ok=True)
        self._own &= _files(kept)

    def load_best(self, epoch: int, device: torch.device) -> dict[str, Any]:
        """Return the weights saved for ``epoch``.

        Raises:
            ForeignCheckpointError: the file holds more than weights.
        """
        return self._load(self.best_path(epoch).name, device)

    def save_best(self, epoch: int, weights: dict[str, Any]) -> None:
        """Save the weights of ``epoch``; they count once ``save_last`` names the epoch."""
        saved = self._save(self.best_path(epoch).name, weights)
        self._saved_best = {saved["file"]: saved["sha256"]}

    def best_path(self, epoch: int) -> Path:
        """Return where the weights of an epoch lie."""
        return self.folder / f"best-{epoch:04d}.pt"

    def _entries(self) -> list[Entry]:
        """Return what the manifest holds, the newest first; nothing if there is none to read."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["version"] > VERSION:
                path = self.folder / MANIFEST
                raise NewerVersionError(f"{path} was written by a newer version of sweep")
            if manifest["version"] != VERSION:
                raise ValueError(f"version {manifest['version']}, not {VERSION}")
            entries: list[Entry] = manifest["epochs"]
            for part in (part for entry in entries for part in entry.values()):
                if part["file"] != Path(part["file"]).name:
                    raise ValueError(f"{part['file']!r} is not the name of a file beside it")
        except FileNotFoundError:
            return []
        except NewerVersionError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.damaged.append(f"{self.folder / MANIFEST} cannot be read: {error}")
            return []
        return entries

    def _problem(self, entry: Entry) -> str:
        """Return what is wrong with the files of an entry; empty if they are as they were saved."""
        for part in entry.values():
            path = self.folder / part["file"]
            if not path.is_file():
                return f"{path} is gone"
            if _checksum(path) != part["sha256"]:
                return f"{path} is damaged: its content is not what was saved"
        return ""

    def _commit(self, entries: list[Entry]) -> None:
        """Make these the epochs to go on from."""
        text = json.dumps({"version": VERSION, "epochs": entries}, indent=1)
        write_text(self.folder / MANIFEST, text)

    def _remove_all_but(self, needed: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.suffix in (".pt", ".partial") and path.name not in needed:
                path.unlink(missing_ok=True)

    def _save(self, name: str, content: dict[str, Any]) -> dict[str, str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{name}.{uuid.uuid4().hex}.partial"
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            checksum = _checksum(partial)
            partial.replace(self.folder / name)
            self._own.add(name)
        except BaseException:  # a full disk: leave it the room
            partial.unlink(missing_ok=True)
            raise
        return {"file": name, "sha256": checksum}

    def _load(self, name: str, device: torch.device) -> dict[str, Any]:
        path = self.folder / name
        try:
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except pickle.UnpicklingError:  # its text advises to trust the file
            raise ForeignCheckpointError(
                f"{path} is damaged: it holds more than tensors and plain data, and is not loaded"
            ) from None
        return content


def _files(entries: list[Entry]) -> set[str]:
    """Return the files that entries of a manifest name."""
    return {part["file"] for entry in entries for part in entry.values()}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
