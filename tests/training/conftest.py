from __future__ import annotations

from collections.abc import Iterator

import pytest

from sweep.registry import BACKBONES, TASKS
from sweep.training import loading

from .parts import EXACT, TINY, Capricious, Scripted


@pytest.fixture(autouse=True)
def _parts() -> Iterator[None]:
    """The backbones and tasks of ``parts``, registered during a test only."""
    tables = {
        BACKBONES: {"tiny": TINY, "exact": EXACT},
        TASKS: {"scripted": Scripted, "capricious": Capricious},
    }
    for table, parts in tables.items():
        table.names()  # fills the table, before anything else is put into it
        for name, part in parts.items():
            table.register(name)(part)
    loading._kept.clear()
    yield
    loading._kept.clear()
    for table, parts in tables.items():
        for name in parts:
            del table._parts[name], table._origins[name]
