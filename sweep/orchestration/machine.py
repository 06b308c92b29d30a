"""What a machine that is to run trials has: room, the data set, the working folder, this code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sweep.errors import UserError, first_line
from sweep.orchestration.packed import code_digest
from sweep.registry import DATASETS
from sweep.spec.schema import Space


@dataclass(frozen=True)
class Machine:
    """A machine, as far as trials ask for it."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Needs:
    """What every machine of a cluster must have, so that trials of a sweep can run there."""

    mark: Path
    """A file that is in the working folder now."""
    code: str
    """Digest of this package; see ``code_digest``."""
    dataset: str
    settings: Mapping[str, Any]
    content: Mapping[str, Any] | None
    """What the trials say of the data set's files; None where there are no trials yet."""


def this_machine() -> Machine:
    """Return what the machine of this process has."""
    return Machine(os.cpu_count() or 1, torch.cuda.device_count())


def dataset_root(space: Space) -> str | None:
    """Return the folder of the data set, found once here, so that every worker reads the same.

    Raises:
        MissingDatasetError: it is not on this machine.
    """
    found = DATASETS[space.dataset].of(space.dataset_settings).find()
    return str(found.absolute()) if found is not None else None


def obstacles(needs: Needs) -> list[str]:
    """Return why trials cannot run on the machine of this process; empty if they can."""
    found = []
    if not needs.mark.exists():
        found.append(
            f"{needs.mark.parent} is another folder there than here; the working folder "
            "(--dir, SWEEP_DIR) must be one that all nodes share"
        )
    if code_digest() != needs.code:
        found.append(
            "its code of sweep is another one; install the same, or use `sweep submit`, which "
            "brings its own"
        )
    try:
        dataset = DATASETS[needs.dataset].of(needs.settings)
        dataset.find()
        if needs.content is not None and dataset.content() != needs.content:
            found.append(f"its files of {needs.dataset} are not those that the plan was made from")
    except (UserError, OSError) as error:
        found.append(first_line(error))
    return found
