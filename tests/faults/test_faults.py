"""The fault suite in short: one fault of each family, on one small sweep; `make faults` is long.

What Ctrl-C does to a sweep, tests/orchestration/test_ray.py says.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import carry_out, draw_faults, undisturbed
from tests.faults.harness import space_text

FAMILIES = ("driver-kill", "worker-kill", "raylet-kill", "mlflow-kill", "disk-full")


def test_a_sweep_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    text = space_text(images=96, epochs=6, modules=2, seeds=2)
    faults = draw_faults(len(FAMILIES), 0, FAMILIES, haste=4.0)
    lines: list[str] = []
    reference = undisturbed(tmp_path / "undisturbed", text, runner="inline")
    figures = carry_out(tmp_path / "faults", reference, faults, lines.append)
    assert not figures.broken, "\n".join([*lines, *figures.broken])
