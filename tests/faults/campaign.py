"""A plan of faults, and the loop that carries it out until the sweep is complete.

The plan (kinds, delays, durations) follows from a seed; when a fault really strikes depends on the
machine, and is printed. A round is one sweep in one folder; faults that are left when it is
complete strike in the next round.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.harness import Bench, Sweep, bench
from tests.faults.kinds import KINDS, Fault
from tests.faults.verify import verify

TICK = 0.1
HANG_SECONDS = 180.0
"""Without an epoch, a result or a fault; a sweep may wait two minutes for MLflow."""
RUNS_LEFT = 4
"""Times that the command may be run again after a fault."""

Say = Callable[[str], None]


@dataclass
class Strike:
    """A fault that has struck, and what came of it."""

    fault: Fault
    run: int
    """Of the command, counted from 1 in each sweep."""
    phase: str
    at: float
    progress: int
    """Epochs and results at the strike, or since when a driver that ended was run again."""
    codes: list[int] = field(default_factory=list)
    """Of the drivers that ended before the sweep made progress again."""
    seconds: float = 0.0
    """Until the next epoch or result."""

    @property
    def blocks(self) -> bool:
        """Whether the next fault waits for the end of this one; it may strike in an outage."""
        return KINDS[self.fault.kind].ends_driver or not self.fault.lasts

    def over(self, progress: int) -> bool:
        """Tell whether the sweep goes on, by the epochs and results that there are now."""
        return progress > self.progress and (
            bool(self.codes) or not KINDS[self.fault.kind].ends_driver
        )

    def line(self, number: int) -> str:
        ends = ", ".join(map(str, self.codes))
        driver = f"ended with {ends}; run again" if ends else "went on"
        then = time.strftime("%H:%M:%S", time.localtime(self.at))
        return (
            f"{number:>3} {then} {self.fault.kind:17} run {self.run:>2} {self.phase:9}"
            f"{self.seconds:6.1f} s  driver {driver}"
        )


@dataclass
class Figures:
    """What the faults did, over all rounds."""

    strikes: list[Strike] = field(default_factory=list)
    rounds: int = 0
    runs: int = 0
    trials: int = 0
    retrained: int = 0
    """Epochs that were saved, lost, and trained again."""
    orphan_seconds: float = 0.0
    """How long a worker outlived its driver, at most."""
    batches: int = 0
    """Of metrics that MLflow took; sent again where an answer was lost."""
    broken: list[str] = field(default_factory=list)
    """Invariants that did not hold."""

    def table(self) -> str:
        lines = [f"{'fault':17}{'count':>6}{'reruns':>8}{'median (s)':>12}{'longest (s)':>13}"]
        for kind in KINDS:
            own = [strike for strike in self.strikes if strike.fault.kind == kind]
            if own:
                seconds = [strike.seconds for strike in own]
                ended = sum(len(strike.codes) for strike in own)
                middle, longest = statistics.median(seconds), max(seconds)
                lines.append(f"{kind:17}{len(own):>6}{ended:>8}{middle:>12.1f}{longest:>13.1f}")
        return "\n".join(lines)


def draw_faults(
    count: int, seed: int, kinds: Sequence[str] = tuple(KINDS), haste: float = 1.0
) -> list[Fault]:
    """Draw a plan in which every kind comes equally often, give or take one.

    Args:
        count: how many.
        seed: of the plan.
        kinds: to draw from.
        haste: how many times as soon as usual they strike.
    """
    rng = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(kinds, len(kinds))
    return [
        Fault(
            kind=name,
            delay=rng.uniform(*KINDS[name].delay) / haste,
            lasts=rng.uniform(*KINDS[name].lasts),
            draw=rng.random(),
        )
        for name in names[:count]
    ]


def undisturbed(folder: Path, text: str, runner: Literal["ray", "inline"] = "ray") -> Sweep:
    """Run a sweep to its end without any fault."""
    folder.mkdir(parents=True)
    space = folder / "faults.yaml"
    space.write_text(text)
    sweep = Sweep(space, folder / "sweeps", folder / "logs", runner=runner)
    sweep.start()
    _wait_for_end(sweep)
    sweep.close()
    if not sweep.complete:
        raise AssertionError(f"the undisturbed run did not complete:\n{sweep.log.read_text()}")
    return sweep


def carry_out(folder: Path, reference: Sweep, faults: Sequence[Fault], say: Say) -> Figures:
    """Let all faults strike, in as many rounds as it takes, and check every round.

    Args:
        folder: for everything.
        reference: the same sweep, undisturbed.
        faults: the plan.
        say: is given the lines to print.
    """
    text, count = reference.space.read_text(), len(reference.trials())
    figures, left = Figures(), deque(faults)
    while left and figures.rounds <= len(faults):
        figures.rounds += 1
        with bench(folder / f"round-{figures.rounds}", text, count) as target:
            if not target.disk.small:
                left = deque(fault for fault in left if fault.kind != "disk-full")
                say("disk-full: left out, mounting is not permitted here")
            turn = _Round(target, left, figures, say)
            turn.run()
            broken = [*turn.broken, *verify(target, reference)]
        for line in broken:
            say(f"BROKEN {line}")
        figures.broken += [f"round {figures.rounds}: {line}" for line in broken]
    allowed = sum(KINDS[strike.fault.kind].loses for strike in figures.strikes)
    if figures.retrained > allowed:
        figures.broken.append(
            f"{figures.retrained} saved epochs were trained again, {allowed} could be lost"
        )
    if left:
        figures.broken.append(f"never struck: {[fault.kind for fault in left]}")
    return figures


class _Round:
    """One sweep from nothing to its end, with faults on the way."""

    def __init__(self, target: Bench, left: deque[Fault], figures: Figures, say: Say) -> None:
        self.target, self.left, self.figures, self.say = target, left, figures, say
        self.sweep = target.sweep
        self.broken: list[str] = []
        self._acting: list[tuple[float, Iterator[None]]] = []
        self._open: list[Strike] = []
        self._due: float | None = None
        self._moved = time.monotonic()
        self._progress = 0
        self._orphaned: dict[int, float] = {}
        """Process to when it was an orphan first."""
        self._runs_left = RUNS_LEFT

    def run(self) -> None:
        self.sweep.start()
        while not self._ended():
            self._undo()
            self._strike()
            self._look()
            time.sleep(TICK)
        self._undo(everything=True)
        self._close_strikes(list(self._open))
        self._run_once_more()
        self.figures.runs += self.sweep.runs
        self.figures.trials += len(self.sweep.trials())
        self.figures.retrained += self.target.watcher.retrained
        self.figures.batches += self.target.server.batches

    def _ended(self) -> bool:
        """Run the command again if it ended too early; tell whether the sweep is complete."""
        code = self.sweep.code
        if code is None:
            return False
        if self.sweep.complete:
            return True
        for strike in self._open:
            strike.codes.append(code)
            strike.progress = self.sweep.progress()
        if self.target.disk.full:  # whoever runs it again has made room before
            self._undo(everything=True)
        if self._runs_left == 0:
            self.broken.append(
                f"not complete after {self.sweep.runs} runs; {len(self.left)} faults were left"
            )
            self.left.clear()
            return True
        self._runs_left -= 1
        self._moved = time.monotonic()
        self.sweep.start()
        return False

    def _undo(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        due = [entry for entry in self._acting if everything or entry[0] <= now]
        for entry in due:
            self._acting.remove(entry)
            next(entry[1], None)

    def _strike(self) -> None:
        if not self.left or self.sweep.code is not None or any(s.blocks for s in self._open):
            return
        fault, now = self.left[0], time.monotonic()
        kind = KINDS[fault.kind]
        if not kind.ready(self.target, fault):
            return
        if self._due is None:
            self._due = now + fault.delay
        if now < self._due:
            return
        strike = Strike(
            fault, self.sweep.runs, self.sweep.phase(), time.time(), self.sweep.progress()
        )
        acting = kind.act(self.target, fault)
        next(acting)
        self._acting.append((time.monotonic() + fault.lasts, acting))
        self._open.append(strike)
        self.left.popleft()
        self._due, self._runs_left, self._moved = None, RUNS_LEFT, now

    def _look(self) -> None:
        progress, now = self.sweep.progress(), time.monotonic()
        if progress > self._progress:
            self._progress, self._moved = progress, now
        if self._open and self.sweep.workers():  # what orphans achieve is no recovery
            self._close_strikes([s for s in self._open if s.over(progress) and self._mended(s)])
        for orphan in self.sweep.orphans():
            age = now - self._orphaned.setdefault(orphan.pid, now)
            self.figures.orphan_seconds = max(self.figures.orphan_seconds, age)
        if now - self._moved > HANG_SECONDS:
            self.broken.append(f"the command hangs; its stacks: {self.sweep.log}")
            os.kill(self.sweep.pid, signal.SIGABRT)
            self._moved = now

    def _mended(self, strike: Strike) -> bool:
        """Tell whether what was killed is there again; training does not need an outage to end."""
        ready = KINDS[strike.fault.kind].ready
        return not strike.blocks or bool(ready(self.target, strike.fault))

    def _close_strikes(self, strikes: list[Strike]) -> None:
        for strike in strikes:
            strike.seconds = time.time() - strike.at
            self._open.remove(strike)
            self.figures.strikes.append(strike)
            self.say(strike.line(len(self.figures.strikes)))

    def _run_once_more(self) -> None:
        """Check that a complete sweep has nothing to do."""
        self.sweep.start()
        _wait_for_end(self.sweep)
        if self.sweep.code != 0 or "nothing to run" not in self.sweep.log.read_text():
            self.broken.append(f"a complete sweep found work: {self.sweep.log}")


def _wait_for_end(sweep: Sweep) -> None:
    assert sweep.driver is not None
    sweep.driver.wait(timeout=600)
