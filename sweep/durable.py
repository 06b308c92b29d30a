"""Files that survive a crash: they appear whole, are on the disk when they count, and are checked.

A record is one JSON object in a file that is replaced as a whole. A log is a file of JSON objects,
one a line, that only ever grows; a crash can tear its last line, which then never was. Both carry
the version of their form and a checksum, and what fails it counts as not written.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

VERSION = 1
"""Of records and logs; one of another version is not read."""


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole, or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
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


def remove_partials(folder: Path) -> None:
    """Remove what a process that was killed left of files that never were whole.

    Nobody else may be writing in the folder.
    """
    for partial in folder.glob(".*.partial"):
        partial.unlink()


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
    """Return a record as it was written, or None if there is none or it is damaged."""
    try:
        return _opened(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write a log that replaces what there was, as a whole."""
    write_text(path, "".join(json.dumps(_sealed(line)) + "\n" for line in lines))


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line to a log, one process at a time; a torn one before it is cut off."""
    created = not path.exists()
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end_of_whole_lines(file)
        file.truncate(end)
        try:
            file.write((json.dumps(_sealed(line)) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if created:
        sync(path.parent)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log that are whole and undamaged, in their order."""
    try:
        texts = path.read_bytes().split(b"\n")[:-1]  # what comes after the last end was torn
    except FileNotFoundError:
        return []
    lines = [_opened(text.decode(errors="replace")) for text in texts]
    return [line for line in lines if line is not None]


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "crc32": _checksum(content), **content}


def _opened(text: str) -> dict[str, Any] | None:
    """Return what was sealed, or None if it is not as it was."""
    try:
        content = json.loads(text)
        version, checksum = content.pop("version"), content.pop("crc32")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    whole = version == VERSION and checksum == _checksum(content)
    return content if whole else None


def _checksum(content: dict[str, Any]) -> str:
    """Return CRC-32 (hex) of the content's JSON, whatever the order of its keys."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _end_of_whole_lines(log: BinaryIO) -> int:
    """Return the length of a log up to the end of its last whole line."""
    log.seek(0)
    return log.read().rfind(b"\n") + 1
