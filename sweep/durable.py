"""Files that survive a crash: they appear whole, are on the disk when they count, and are checked.

A record is one JSON object in a file that is replaced as a whole. A log is a file of JSON objects,
one a line, that only ever grows; a crash can tear its last line, which then never was. Both carry
the version of their form and a checksum, and what fails it counts as not written.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
import zlib
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

from sweep.errors import UserError

VERSION = 1
"""Of records and logs; one of an older version is not read."""


class NewerVersionError(UserError, ValueError):
    """A file that a newer version of this package has written."""


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole, or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The machines that share a folder have processes of the same number.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:  # a full disk: leave it the room
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def remove_partials(path: Path) -> None:
    """Remove what a process that was killed left of a file that never was whole.

    Nobody else may be writing the file.
    """
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        partial.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Put the names in a folder on the disk; without it a rename is lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record."""
    write_text(path, json.dumps(_sealed(record), indent=1) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record as it was written, or None if there is none or it is damaged.

    Raises:
        NewerVersionError: a newer version of this package wrote it.
    """
    try:
        return _opened(path.read_text(encoding="utf-8"), path)
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write a log that replaces what there was, as a whole."""
    write_text(path, "".join(json.dumps(_sealed(line)) + "\n" for line in lines))


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line to a log, one process at a time; a torn one before it is cut off."""
    created = not path.exists()
    # Without a buffer: what a full disk did not take must not be written later.
    with path.open("ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end_of_whole_lines(file)
        file.truncate(end)
        text = (json.dumps(_sealed(line)) + "\n").encode()
        try:
            while text:
                text = text[file.write(text) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if created:
        sync(path.parent)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log that are whole and undamaged, in their order.

    Raises:
        NewerVersionError: a newer version of this package wrote one.
    """
    try:
        texts = path.read_bytes().split(b"\n")[:-1]  # what comes after the last end was torn
    except FileNotFoundError:
        return []
    lines = [_opened(text.decode(errors="replace"), path) for text in texts]
    return [line for line in lines if line is not None]


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "version": VERSION, "crc32": _checksum(content)}


def _opened(text: str, path: Path) -> dict[str, Any] | None:
    """Return what was sealed, or None if it is not as it was."""
    try:
        content = json.loads(text)
        version, checksum = content.pop("version"), content.pop("crc32")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    if checksum != _checksum(content):
        return None
    if isinstance(version, int) and version > VERSION:
        raise NewerVersionError(f"{path} was written by a newer version of sweep")
    return content if version == VERSION else None


def _checksum(content: dict[str, Any]) -> str:
    """Return CRC-32 (hex) of the content's JSON, whatever the order of its keys."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _end_of_whole_lines(log: FileIO) -> int:
    """Return the length of a log up to the end of its last whole line."""
    log.seek(0)
    return log.read().rfind(b"\n") + 1
