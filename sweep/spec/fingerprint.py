"""What a folder of images holds, told without opening a file and without importing torch."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


class UnreadableError(UserError, OSError):
    """What a data set's files lie in cannot be looked at, or is no file; its text names it."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Tell what the system says of a data set's file or folder as one error of the user's.

    Such as of links that lead in a circle, a name that is too long, a folder that is closed.

    Args:
        path: what is named where the system names nothing.

    Raises:
        UnreadableError: it cannot be looked at.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        at = os.fsdecode(error.filename) if error.filename else path
        raise UnreadableError(f"cannot read {at}: {error.strerror or error}") from error


def check_regular(path: Path) -> None:
    """Check that reading a file comes to an end: that of a pipe or a device need not.

    Raises:
        OSError: it is no regular file, or is not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")


def image_files(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (name relative to ``folder``, entry) of every image file below it, in no fixed order.

    Names have "/" between their parts. Hidden files and folders are left out: they are what
    desktops and version control leave behind.

    Raises:
        UnreadableError: a folder cannot be looked into, or what has an image's name is no file,
            as a link that leads nowhere; to leave it out would be to train on fewer images.
    """
    folders = [(folder, "")]  # not by recursion: folders may lie deeper than Python calls
    while folders:
        at, prefix = folders.pop()
        with readable(at), os.scandir(at) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = prefix + entry.name
                if entry.is_dir():
                    folders.append((Path(entry.path), f"{name}/"))
                elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - a million
                    if not entry.is_file():
                        raise UnreadableError(f"cannot read {entry.path}: it is no regular file")
                    yield name, entry


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of the relative names and sizes in bytes of the images below.

    The same files at another place have the same digest; so do files that were replaced by others
    of the same name and size, which nothing short of reading every image could tell.
    """
    digest = hashlib.sha256()
    for name, size in sorted((name, entry.stat().st_size) for name, entry in image_files(folder)):
        digest.update(os.fsencode(name) + b"\0" + str(size).encode() + b"\n")
    return digest.hexdigest()


def annotations_digest(folder: Path) -> str:
    """Return the SHA-256 (hex) of the lists and annotations of a folder in Pascal VOC's format.

    Of their names, and of all that they say.
    """
    digest = hashlib.sha256()
    lists = (folder / "ImageSets" / "Main").glob("*.txt")
    for path in sorted([*lists, *(folder / "Annotations").glob("*.xml")]):
        with readable(path):
            check_regular(path)
            text = path.read_bytes()
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(name + b"\0" + str(len(text)).encode() + b"\n" + text)
    return digest.hexdigest()
