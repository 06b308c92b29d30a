"""A report that keeps up with its sweep: written again whenever the store has news of it.

A sweep is over when no command says any more that it runs it: its parent run has ended, or has been
silent for as long as a trial's run may be (the command was killed), and none of its trials is in
training elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.errors import UserError
from sweep.tracking import names
from sweep.tracking.handover import is_recent

if TYPE_CHECKING:
    from sweep.tracking.reading import RunRecord, StudyRecord

ABANDONED = "the command that ran the sweep is gone; `sweep run` goes on from here"


def keep_up(
    read: Callable[[], StudyRecord],
    write: Callable[[StudyRecord], object],
    seconds: float,
    tell: Callable[[str], None],
) -> StudyRecord:
    """Write a report whenever there is news, until the sweep is over or Ctrl-C.

    A store that does not answer is asked again, once it has answered.

    Args:
        read: the study, from its store; raises UserError where that does not answer.
        write: the report.
        seconds: between two questions.
        tell: prints a line.

    Returns:
        The study as it was last; of that no report is written yet.

    Raises:
        UserError: the store does not answer at first, or the first report cannot be written.
    """
    record, seen = read(), ""
    try:
        while not is_over(record):
            try:
                if (now := _fingerprint(record)) != seen:
                    write(record)  # asks the store too
                    tell(_progress(record))
                    seen = now
                time.sleep(seconds)
                record = read()
            except UserError as error:
                if not seen:
                    raise
                tell(f"{error}; asked again in {seconds:g} s")
                time.sleep(seconds)
    except KeyboardInterrupt:  # this is how one ends a watch
        tell("no longer watched: the last report follows")
    else:
        tell("the sweep has ended" if record.parent.status != "RUNNING" else ABANDONED)
    return record


def is_over(record: StudyRecord) -> bool:
    """Tell whether nothing more is to come of a sweep, unless it is run again."""
    return not any(_is_alive(run) for run in (record.parent, *record.trials))


def _is_alive(run: RunRecord) -> bool:
    return run.status == "RUNNING" and is_recent(float(run.tags.get(names.HEARTBEAT, 0.0)))


def _progress(record: StudyRecord) -> str:
    ended = sum(run.status != "RUNNING" for run in record.trials)
    return f"{time.strftime('%H:%M:%S')}  {len(record.trials)} trials begun, {ended} ended"


def _fingerprint(record: StudyRecord) -> str:
    """Return what differs where a report would; a heartbeat alone is no news."""
    parent, *trials = (_without_heartbeat(run) for run in (record.parent, *record.trials))
    return repr(replace(record, parent=parent, trials=tuple(trials)))


def _without_heartbeat(run: RunRecord) -> RunRecord:
    return replace(run, tags={k: v for k, v in run.tags.items() if k != names.HEARTBEAT})
