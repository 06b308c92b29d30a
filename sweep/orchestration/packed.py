"""What a job brings to a cluster: the code of this installation, and a search space.

The cluster's image has the libraries; the code that runs is the one that the space was checked
with. Ray names the package by its content, so that what is there is not sent again.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

PACKAGES = (Path(__file__).parents[1], Path(__file__).parents[2] / "reports")
SPACE_FILE = "search_space.yaml"
UNWANTED = ("__pycache__", "*.pyc", ".*")


def pack_code(folder: Path) -> None:
    """Copy our packages into a folder, with their data, without what Python makes of them."""
    for path in PACKAGES:
        shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(*UNWANTED))


def pack_space(folder: Path, text: str) -> None:
    """Write the text of a search space, as it is, into a folder."""
    (folder / SPACE_FILE).write_text(text, encoding="utf-8", newline="")


def code_digest() -> str:
    """Return a digest of the code of ``sweep``, wherever it is installed."""
    package, digest = PACKAGES[0], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
