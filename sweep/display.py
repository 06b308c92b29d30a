"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sweep.ledger import Share
    from sweep.orchestration.attempt import Outcome
    from sweep.plan import PlannedTrial
    from sweep.training.loop import EpochReport

RECENT = 5
"""Finished trials that the live table goes on to show."""


@dataclass
class _Row:
    name: str
    epochs: int
    epoch: int = 0
    value: float | None = None
    state: str = "waiting"
    note: str = ""
    seconds: list[float] = field(default_factory=list)


class Display:
    """Shows every trial's state, epoch, metric and ETA, and the total; a ``Listener``.

    Args:
        trials: what runs.
        metric: name of the validation metric that is shown.
        console: where to show it.
        expected: trials that a search will have come to in the end.
    """

    def __init__(
        self, trials: Sequence[PlannedTrial], metric: str, console: Console, expected: int = 0
    ) -> None:
        self.metric, self.console, self.expected = metric, console, expected
        self.rows = {p.trial.trial_id: _Row(p.name, p.trial.until) for p in trials}
        self.finished: list[str] = []
        self.begun = time.monotonic()
        self.first_epoch_at: float | None = None
        self.live = (
            Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=4,
                redirect_stdout=False,  # Ray's output goes to a file; this would show it
                redirect_stderr=False,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        elif self.rows:
            self.console.print(f"running {len(self.rows)} trial{'s' * (len(self.rows) > 1)}")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()

    def planned(self, planned: PlannedTrial) -> None:
        trial = planned.trial
        self.rows.setdefault(trial.trial_id, _Row(planned.name, trial.until))

    def started(self, trial_id: str) -> None:
        self.rows[trial_id].state = "running"
        self.first_epoch_at = self.first_epoch_at or time.monotonic()

    def retrying(self, trial_id: str, reason: str, seconds: float) -> None:
        row = self.rows[trial_id]
        row.state = "waiting"
        when = f"in {seconds:g} s" if seconds else "now"
        self._say(f"{row.name}: {reason}; it goes on from its last checkpoint {when}")

    def epoch(self, trial_id: str, report: EpochReport) -> None:
        row = self.rows[trial_id]
        row.epoch = report.epoch
        row.value = report.metrics[f"val_{self.metric}"]
        row.seconds.append(report.metrics["epoch_seconds"])

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        row = self.rows[trial_id]
        row.state = "failed" if outcome.kind else "stopped" if outcome.reason else "done"
        row.value = outcome.metrics.get(f"test_{self.metric}", row.value)
        row.note = outcome.reason
        self.finished.append(trial_id)
        if self.live is None:
            self._say(self._line(row))

    def waiting(self, share: Share) -> None:
        rest = "for a trial; the sweep goes on when one comes"
        self._say(f"waiting: no node has {share.text} {rest}")

    def notice(self, text: str) -> None:
        self._say(text)

    def undelivered(self, problem: str) -> None:
        if problem:
            self._say(f"MLflow does not take the results: {problem}; training goes on, they follow")
        else:
            self._say("MLflow takes the results again")

    def stopping(self) -> None:
        self._say("stopping once the running epochs are saved; Ctrl-C again stops at once")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, row: _Row) -> str:
        result = row.note or f"test {self.metric} {row.value:.4f}"
        return (
            f"[{len(self.finished)}/{self._count}] {row.name}: {row.state}, {result}; "
            f"{self._elapsed()} elapsed, ETA {self._total_eta()}"
        )

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("trial", "state", "epoch", self.metric, "ETA"):
            table.add_column(heading, justify="left" if heading in ("trial", "state") else "right")
        recent = [self.rows[i] for i in self.finished[-RECENT:]]
        running = [row for row in self.rows.values() if row.state == "running"]
        for row in (*recent, *running):
            table.add_row(
                row.name,
                Text(row.state, style={"failed": "red", "done": "green"}.get(row.state, "")),
                f"{row.epoch}/{row.epochs}",
                f"{row.value:.4f}" if row.value is not None else "",
                _clock(self._remaining(row)) if row.state == "running" else "",
            )
        failed = sum(row.state == "failed" for row in self.rows.values())
        total = Text(
            f"{len(self.finished)}/{self._count} trials, {failed} failed, "
            f"{self._elapsed()} elapsed, ETA {self._total_eta()}"
        )
        bar = ProgressBar(total=1.0, completed=self._progress(), width=40)
        return Group(table, bar, total)

    def _progress(self) -> float:
        epochs = sum(row.epochs for row in self.rows.values())
        ended = ("done", "stopped", "failed")
        passed = sum(r.epochs if r.state in ended else r.epoch for r in self.rows.values())
        whole = epochs * self._count / max(1, len(self.rows))  # those to come are like the others
        return passed / whole if whole else 1.0

    @property
    def _count(self) -> int:
        return max(len(self.rows), self.expected)

    def _remaining(self, row: _Row) -> float | None:
        if not row.seconds:
            return None
        return (row.epochs - row.epoch) * sum(row.seconds) / len(row.seconds)

    def _total_eta(self) -> str:
        progress = self._progress()
        if progress == 0 or self.first_epoch_at is None:
            return "?"
        return _clock((time.monotonic() - self.first_epoch_at) * (1 - progress) / progress)

    def _elapsed(self) -> str:
        return _clock(time.monotonic() - self.begun)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
