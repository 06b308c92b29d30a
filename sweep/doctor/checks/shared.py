"""Whether all nodes of a cluster work in one folder, and see each other's locks in it.

A file with a random word lies there, locked, while every node looks: one that reads the word is in
the same folder, one that gets the lock does not see that it is taken.
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.doctor.checks.disk import LOCKS_REMEDY, existing
from sweep.doctor.finding import Finding, ok, problem
from sweep.doctor.site import Site, check
from sweep.lock import Lock


@dataclass(frozen=True)
class Seen:
    """What a node finds in the folder."""

    word: str | None
    """That lies there; None if there is none."""
    locked: bool
    """Whether it sees that somebody has the lock."""
    trouble: str
    """Why it cannot write there; empty if it can."""


def find(folder: Path, word: str) -> Seen:
    """Look for a word in a folder, try its lock, and leave an answer there.

    Args:
        folder: as the driver names it.
        word: that names the files.
    """
    try:
        text = token_path(folder, word).read_text(encoding="utf-8")
    except OSError:
        return Seen(None, locked=False, trouble="")
    lock = Lock(lock_path(folder, word))
    try:
        taken = lock.take()
        answer_path(folder, word).write_text(platform.node(), encoding="utf-8")
    except OSError as error:
        return Seen(text, locked=False, trouble=error.strerror or str(error))
    finally:
        lock.release()
    return Seen(text, locked=not taken, trouble="")


@check("storage is shared", seconds=0.5)
def look(site: Site) -> Iterator[Finding]:
    """Let every node look for a locked file in the working folder."""
    if site.cluster is None:
        return
    folder, word = existing(site.folder.absolute()), secrets.token_hex(8)
    lock = Lock(lock_path(folder, word))
    paths = [token_path(folder, word), lock.path, answer_path(folder, word)]
    try:
        try:
            token_path(folder, word).write_text(word, encoding="utf-8")
            lock.take()
        except OSError:
            return  # the check of the working folder says so
        told = site.ask(find, folder, word)
        answered = paths[-1].exists()
    finally:
        lock.release()
        for path in paths:
            path.unlink(missing_ok=True)
    findings = [said for one in told if (said := judge(one.value, word, folder, one.node))]
    yield from findings
    if told and not findings:
        if not answered:
            yield problem(f"what nodes write in {folder} is not seen here", LOCKS_REMEDY)
        else:
            nodes = f"{len(told)} node{'s' * (len(told) != 1)}"
            yield ok(f"{folder} is one folder on {nodes}, with one lock")


def judge(seen: Seen, word: str, folder: Path, node: str) -> Finding | None:
    """Return what is wrong with the folder of a node."""
    if seen.word != word:
        return problem(
            f"it does not have the files of {folder}",
            "mount the same file system at the same path on every node, and name it by SWEEP_DIR",
            node,
        )
    if seen.trouble:
        return problem(
            f"it cannot write in {folder}: {seen.trouble}",
            "let the user that Ray runs as write there; a read-only mount will not do",
            node,
        )
    if not seen.locked:
        return problem(f"it does not see locks in {folder}", LOCKS_REMEDY, node)
    return None


def token_path(folder: Path, word: str) -> Path:
    """Return where the word lies."""
    return folder / f".sweep-doctor-{word}.word"


def lock_path(folder: Path, word: str) -> Path:
    """Return the lock."""
    return folder / f".sweep-doctor-{word}.lock"


def answer_path(folder: Path, word: str) -> Path:
    """Return where nodes answer."""
    return folder / f".sweep-doctor-{word}.answer"
