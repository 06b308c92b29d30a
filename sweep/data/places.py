"""Where the files of a data set are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sweep.data.base import MissingDatasetError
from sweep.spec.confined import data_folder, is_confined
from sweep.spec.fingerprint import readable


def find_folder(
    name: str,
    root: str | None,
    inside: str,
    *,
    holds: Callable[[Path], bool],
    get: str,
    system: Iterable[Path] = (),
) -> Path:
    """Return the first folder that holds the files of a data set.

    Looked at, in this order: ``root``, $SWEEP_DATA/``name``, ./data/``name`` (not in a submitted
    sweep), then ``system``; in each of them first the folder ``inside``, in which torchvision puts
    the files.

    Args:
        name: of the data set.
        root: the folder a user named.
        inside: a relative path.
        holds: whether a folder holds the files.
        get: how to get them, for the message.
        system: folders in which packages of an operating system put the files.

    Raises:
        MissingDatasetError: no such folder holds them.
        ConfinedError: one lies outside of $SWEEP_DATA, and the sweep was submitted.
        UnreadableError: one cannot be looked into.
    """
    system = tuple(system)
    places = [data_folder(root, system)] if root is not None else []
    if collection := os.environ.get("SWEEP_DATA"):
        places.append(Path(collection).expanduser().absolute() / name)
    if not is_confined():
        places.append(Path("data") / name)
    places += system
    for place in places:
        for folder in (place / inside, place):
            with readable(folder):
                held = holds(folder)
            if held:
                return data_folder(str(folder), system)  # a link may lead out of $SWEEP_DATA
    looked = ", ".join(str(place) for place in places)
    raise MissingDatasetError(f"{name}: no files in {looked}; {get}")


def fetch_hint(name: str) -> str:
    """Return how to get a data set that its ``fetch`` downloads."""
    return f"get them with `sweep data fetch {name}`"
