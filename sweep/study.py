"""A sweep as its working folder keeps it: its space, its plan, who runs it.

    studies/<study>/plan.json            the plan of the last run, and what it was made from
                    search_space.yaml    its search space
                    lock                 who runs it now

A command that finds the same space, code and data again need not import torch to know the plan; one
that is given no more than the sweep's name finds all there is to know.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sweep.durable import read_record, write_record, write_text
from sweep.errors import UserError
from sweep.lock import Lock
from sweep.plan import Plan
from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS, nearest
from sweep.spec.confined import data_folder
from sweep.spec.document import read_document
from sweep.spec.fingerprint import annotations_digest, folder_digest
from sweep.tracking.store import tracking_uri

DIGESTS = (("files", folder_digest), ("annotations", annotations_digest))
"""What a data set's content holds of a folder of one's own, and what it is made by."""


class FolderError(UserError, OSError):
    """The working folder cannot be used: it cannot be written to, or somebody else is at it."""


class StoredStudy(BaseModel):
    """What a run of a sweep leaves of it."""

    model_config = ConfigDict(frozen=True)

    key: str
    """Of the plan; see ``plan_key``."""
    complete: bool
    """Whether nothing was left to run, and MLflow has all of it too."""
    kind: str
    """Of the study; a paired one may have its answers without all of its trials."""
    space: str
    """Text of the search space's file."""
    overrides: tuple[str, ...]
    plan: Plan


@dataclass(frozen=True)
class Study:
    """A sweep in a working folder."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the sweep is kept."""
        return self.folder / "studies" / self.name

    @property
    def scratch(self) -> Path:
        """Where Ray may keep files while the sweep runs."""
        return self.path / "ray"

    def lock(self) -> Lock:
        """Return the lock of the command that runs the sweep."""
        return Lock(self.path / "lock")

    def stored(self) -> StoredStudy | None:
        """Return what the last run left; None if there was none, or one of another version."""
        record = read_record(self.plan_path)
        try:
            return StoredStudy.model_validate(record) if record else None
        except ValueError:
            return None

    @property
    def plan_path(self) -> Path:
        """Where the plan of the last run is, and what it was made from."""
        return self.path / "plan.json"

    @property
    def space_path(self) -> Path:
        """Where the search space of the last run is."""
        return self.path / "search_space.yaml"

    def store_uri(self, study: StoredStudy) -> str:
        """Return the MLflow store that the last run delivered to."""
        tracking = read_document(self.space_path, study.overrides).data.get("tracking") or {}
        return tracking_uri(self.folder, tracking.get("uri"))

    def reopen(self, study: StoredStudy) -> None:
        """Note, before trials are put back, that the sweep is not complete any more."""
        self.store(study.model_copy(update={"complete": False}))

    def store(self, study: StoredStudy) -> None:
        """Keep what is known of the sweep."""
        write_text(self.space_path, study.space)
        write_record(self.plan_path, study.model_dump(mode="json"))


def studies(folder: Path) -> list[str]:
    """Return the names of the sweeps of a working folder."""
    found = folder / "studies"
    if not found.is_dir():
        return []
    return sorted(path.name for path in found.iterdir() if (path / "plan.json").exists())


def find_study(folder: Path, name: str) -> tuple[Study, StoredStudy]:
    """Return a sweep that was run in a working folder.

    Raises:
        UserError: there is none of that name; the text names those that there are.
    """
    study = Study(folder, name)
    stored = study.stored() if name in studies(folder) else None  # and no path of somewhere else
    if stored is not None:
        return study, stored
    known = studies(folder)
    if name in known:
        stale = study.path / "plan.json"
        raise UserError(f"{stale} is damaged or of another version; `sweep run SPEC` makes it anew")
    if not known:
        raise UserError(f"no sweep was run in {folder} yet; `sweep run SPEC` runs one")
    guess = nearest(name, known)
    hint = f"; did you mean {guess!r}?" if guess else "."
    raise UserError(f"no sweep {name!r} in {folder}{hint} Known: {', '.join(known)}")


def plan_key(path: Path, overrides: tuple[str, ...]) -> str:
    """Return a digest of all that a plan follows from, but own image folders.

    That is the space with its overrides, the code of this package, and the plug-ins installed.
    """
    document = read_document(path, overrides)
    package = Path(__file__).parent
    code = [
        (file.relative_to(package).as_posix(), file.stat().st_mtime_ns, file.stat().st_size)
        for file in sorted(package.rglob("*.py"))
    ]
    plugins = sorted(
        (point.group, point.name, point.dist.name if point.dist else "", _version(point))
        for part in (ATTENTION, BACKBONES, DATASETS, TASKS)
        for point in metadata.entry_points(group=part.package)
    )
    space = [document.data, document.sound]  # what is unsound is never the key of a stored plan
    content = json.dumps([space, code, plugins], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def same_images(plan: Plan) -> bool:
    """Tell whether the folders of one's own that a plan was made from are as they were."""
    for planned in plan.trials[:1]:  # all have one data set
        content: dict[str, Any] = planned.trial.dataset_content
        made_by = [(name, digest) for name, digest in DIGESTS if name in content]
        try:
            if made_by:
                root = data_folder(str(planned.trial.dataset_settings["root"]))
                return all(content[name] == digest(root) for name, digest in made_by)
        except OSError:
            return False
    return True


def _version(point: metadata.EntryPoint) -> str:
    return point.dist.version if point.dist else ""
