"""What is shown while a sweep runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sweep.display import Display


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_to_run_is_shown_too(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with Display([], "top1", console):
        pass
    assert "0 trials" in console.file.getvalue() or "0/0 trials" in console.file.getvalue()
