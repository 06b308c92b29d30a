"""What a search space may reach that is submitted to a shared cluster.

Its author need not be its sender, and it runs with what the cluster may do. So it names no MLflow
store, to which the cluster would send its credentials, and no folder outside of $SWEEP_DATA.

``check_confined`` reads the text alone: a laptop knows neither $SWEEP_DATA of the cluster nor the
links in it. $SWEEP_CONFINED, which `sweep submit` sets for the job, makes every node hold the rest:
``data_folder`` is where all data sets turn a root into a folder. Without it, nothing is confined.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sweep.errors import UserError
from sweep.spec.document import Document
from sweep.spec.fingerprint import UnreadableError, readable
from sweep.spec.plain_yaml import Problem
from sweep.spec.wording import shown

CONFINED = "SWEEP_CONFINED"
"""Environment variable; "1" in the processes of a submitted sweep."""

INSIDE = (
    "a submitted search space names a folder in $SWEEP_DATA of the cluster, relative to it, such "
    "as 'photos/birds'; without root, a data set is looked for by its name there"
)
NO_STORE = (
    "a submitted search space names no MLflow store, which would be sent the cluster's "
    "credentials; leave it out, and the cluster's own is used"
)


class ConfinedError(UserError, ValueError):
    """A folder outside of $SWEEP_DATA, which a submitted sweep must not read; its text names it."""


def is_confined() -> bool:
    """Tell whether this process works for a submitted sweep."""
    return os.environ.get(CONFINED, "0") not in ("", "0")


def check_confined(document: Document) -> None:
    """Check that a search space can be submitted, by what it says alone.

    Args:
        document: with its overrides; what else it says may be wrong.

    Raises:
        SpecError: it names an MLflow store, or a folder outside of $SWEEP_DATA.
    """
    problems = []
    if "tracking" in document.data:
        problems.append(Problem(("tracking",), f"{shown(document.data['tracking'])}: {NO_STORE}"))
    dataset = document.data.get("dataset")
    root = dataset.get("root") if isinstance(dataset, dict) else None
    if isinstance(root, str) and (why := _leads_out(root)):
        problems.append(Problem(("dataset", "root"), f"{shown(root)} {why}; {INSIDE}"))
    if problems:
        raise document.error(problems)


def data_folder(root: str, also: Iterable[Path] = ()) -> Path:
    """Return the folder that a data set's ``root`` stands for on this node.

    In a submitted sweep it is relative to $SWEEP_DATA and lies in it, with all links followed.

    Args:
        root: as the search space has it, or an absolute path that a node found for it.
        also: folders of the operating system that a data set may lie in as well.

    Raises:
        ConfinedError: it lies elsewhere, or there is no $SWEEP_DATA.
        UserError: it is of a user that there is not, or cannot be looked at.
    """
    if not is_confined():
        try:
            return Path(root).expanduser()
        except RuntimeError:
            raise UserError(f"dataset.root (={root!r}): there is no such user") from None
    collection = os.environ.get("SWEEP_DATA")
    if not collection:
        raise ConfinedError(f"dataset.root (={root!r}): this node has no $SWEEP_DATA; {INSIDE}")
    base = Path(collection).expanduser().absolute()
    folder = base / root
    target = _resolved(folder)
    if not any(target.is_relative_to(place.resolve()) for place in (base, *also)):
        raise ConfinedError(
            f"dataset.root: {folder} is {target}, outside of $SWEEP_DATA (={base}); {INSIDE}"
        )
    return folder


def _resolved(folder: Path) -> Path:
    """Return a folder with all links followed.

    Raises:
        UnreadableError: they lead in a circle, or it cannot be looked at; the text names it.
    """
    try:
        with readable(folder):
            return folder.resolve()
    except RuntimeError:  # what pathlib makes of a circle
        raise UnreadableError(f"cannot read {folder}: its links lead in a circle") from None


def _leads_out(root: str) -> str:
    """Return how a root leaves the folder that it is relative to; empty if it does not."""
    if "://" in root:
        return "is a URL"
    if root.startswith(("/", "~")):
        return "is a place of one machine"
    if ".." in PurePosixPath(root).parts:
        return "leads out of it"
    return ""
