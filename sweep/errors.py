"""Errors that a user can cause and mend; the command line shows their text, and nothing else."""

from __future__ import annotations


class UserError(Exception):
    """Something is wrong with what was asked for, or with where it runs, not with the program."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip() or "no message").splitlines()[0]
