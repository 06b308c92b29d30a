"""The fault suite in short: one fault of each family, on one small sweep; `make faults` is long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import carry_out, draw_faults
from tests.faults.harness import space_text

FAMILIES = ("driver-kill", "ctrl-c", "worker-kill", "raylet-kill", "mlflow-kill", "disk-full")


# One fault after the other on a whole machine of processes: never beside another such test.
@pytest.mark.xdist_group("faults")
def test_a_sweep_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    text = space_text(images=96, epochs=8, modules=2, seeds=2)
    lines: list[str] = []
    figures = carry_out(
        tmp_path / "faults", text, draw_faults(6, 0, FAMILIES), lines.append, one_round=True
    )
    assert not figures.broken, "\n".join([*lines, *figures.broken])
    assert figures.strikes
