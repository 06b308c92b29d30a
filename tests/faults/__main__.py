"""The full run: `python -m tests.faults --faults 32 --seed 0`, or `make faults`.

Prints a line for each fault and ends with the figures; the exit code is 1 if an invariant broke.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import carry_out, draw_faults, undisturbed
from tests.faults.harness import space_text
from tests.faults.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=32, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the plan")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="only these")
    parser.add_argument("--report", type=Path, help="write what is printed here, too")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it")
    chosen = parser.parse_args()
    # Whoever ends this ends the sweeps, the servers and the mounts with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    started = time.monotonic()
    text = space_text(images=96, epochs=8, modules=3, seeds=2)
    faults = draw_faults(chosen.faults, chosen.seed, chosen.kinds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch, "faults")
        figures = carry_out(folder, undisturbed(folder / "undisturbed", text), faults, say)
    say("")
    say(figures.table())
    say(
        f"{len(figures.strikes)} faults (seed {chosen.seed}) in {figures.rounds} sweeps of "
        f"{figures.trials // figures.rounds} trials; the command ran {figures.runs} times; "
        f"{figures.retrained} saved epochs trained again; "
        f"MLflow took {figures.batches} batches; "
        f"workers outlived a driver by up to {figures.orphan_seconds:.0f} s; "
        f"{(time.monotonic() - started) / 60:.1f} minutes"
    )
    for broken in figures.broken:
        say(f"BROKEN {broken}")
    say("every invariant holds" if not figures.broken else f"{len(figures.broken)} broken")
    if chosen.report:
        chosen.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
