"""Errors that a user can cause and mend; the command line shows their text, and nothing else."""

from __future__ import annotations


class UserError(Exception):
    """Something is wrong with what was asked for, not with the program."""
