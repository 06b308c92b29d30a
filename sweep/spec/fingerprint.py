"""What a folder of images holds, told without opening a file and without importing torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


def image_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (name relative to ``folder``, entry) of every image file below it, in no fixed order.

    Names start with ``prefix`` and have "/" between their parts. Hidden files and folders are
    left out: they are what desktops and version control leave behind.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            if entry.is_dir():
                yield from image_files(Path(entry.path), f"{name}/")
            elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - a million
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
        text = path.read_bytes()
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(name + b"\0" + str(len(text)).encode() + b"\n" + text)
    return digest.hexdigest()
