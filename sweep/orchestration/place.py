"""Where a worker process trains, and why no trial is to be begun there now.

A node that lacks the data set, or a GPU that is broken, fails a trial within seconds and is free
again at once: left alone, it takes trial after trial until none is left. So a worker looks at its
node before its first trial, and after failures at its place (a node, and its GPUs) it waits, each
time longer. How often trials failed there lies in a file, because a broken GPU ends the process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sweep.durable import read_record, write_record
from sweep.errors import first_line
from sweep.orchestration.machine import Needs, obstacles

LOOK_SECONDS = 30.0
"""Between two looks at a node that cannot run trials."""
PAUSE_SECONDS = 30.0
"""After the first failure; four times as long after every other one in a row.

More than a trial waits for its next attempt, or the one that failed there would come there again.
"""
LONGEST_PAUSE_SECONDS = 1800.0


def pause(failures: int) -> float:
    """Return the seconds in which a place takes no trial after so many failures in a row."""
    return min(PAUSE_SECONDS * 4.0 ** (failures - 1), LONGEST_PAUSE_SECONDS)


class Place:
    """A node, and the GPUs of it that a worker process has.

    Args:
        name: for people.
        record: the file of its failures; None where there is no other place for trials to go to.
        needs: what the node must have; None where that was seen to before.
        gpus: whether the process has been given one.
        clock: in seconds; the same one for all processes of a node.
    """

    def __init__(
        self,
        name: str,
        record: Path | None,
        needs: Needs | None,
        *,
        gpus: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.record, self.clock = name, record, clock
        self.needs, self.gpus = needs, gpus
        self._looked = -math.inf
        self._lacking = ""

    def refusal(self) -> str:
        """Return why no trial is to be begun here now; empty if one may be."""
        if self.needs is not None and self.clock() - self._looked >= LOOK_SECONDS:
            self._looked = self.clock()
            self._lacking = self._look(self.needs)
            if not self._lacking:
                self.needs = None
        if self._lacking:
            return f"{self.name} takes no trial: {self._lacking}"
        known = read_record(self.record) if self.record else None
        if known is not None and known["until"] > self.clock():
            return (
                f"{self.name} takes no trial for a while: {known['failures']} in a row failed "
                "there before the end of an epoch"
            )
        return ""

    def failed(self) -> None:
        """Take note that a trial failed here without an epoch, for a reason not its own."""
        if self.record is None:
            return
        failures = (read_record(self.record) or {"failures": 0})["failures"] + 1
        self.record.parent.mkdir(parents=True, exist_ok=True)
        write_record(self.record, {"failures": failures, "until": self.clock() + pause(failures)})

    def worked(self) -> None:
        """Take note that a trial finished an epoch here."""
        if self.record is not None:
            self.record.unlink(missing_ok=True)

    def _look(self, needs: Needs) -> str:
        try:
            found = obstacles(needs)
        except Exception as error:  # of a plug-in's data set; here it costs no trial
            found = [f"{type(error).__name__}: {first_line(error)}"]
        if self.gpus and not torch.cuda.is_available():
            found.append("torch cannot use its GPU (driver, or a build without CUDA?)")
        return "; ".join(found)
