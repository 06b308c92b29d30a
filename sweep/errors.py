"""Errors that a user can cause and mend; the command line shows their text, and nothing else."""

from __future__ import annotations


class UserError(Exception):
    """Something is wrong with what was asked for, not with the program."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
