"""How a sweep is stopped: by Ctrl-C, or by the SIGTERM of a machine that is taken away.

The first signal lets the epochs that run come to their end, which saves them, and starts no other
trial. The second stops at once: what is lost is the part of an epoch.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody has asked the sweep to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        return self._event.is_set()

    def ask(self) -> None:
        """Ask the sweep to stop."""
        self._event.set()


@contextmanager
def stoppable(asked: Callable[[], None]) -> Iterator[StopRequest]:
    """Take the signals while the context is open, in the main thread.

    Args:
        asked: is called at the first signal.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    request = StopRequest()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if request():
            raise KeyboardInterrupt
        request.ask()
        asked()

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
