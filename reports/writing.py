"""What the file system has against a folder of reports, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.errors import UserError


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn what the file system raises while the context is open into one clear message.

    Raises:
        UserError: something in the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None
