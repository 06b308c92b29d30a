from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named by their bare names, as a user in their folder does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_DIR", raising=False)
