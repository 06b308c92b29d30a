"""A small search space as text, and ways to use one: loaded, and through the real command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from sweep.cli import main
from sweep.spec.load import load_space
from sweep.spec.schema import Space

FIELDS = {
    "study": "small",
    "question": "Is it small?",
    "dataset": "{name: digits}",
    "backbones": "[resnet18]",
    "attention": "[none]",
    "seeds": "[0]",
    "recipe": "{epochs: 2}",
}
"""The fields of a small space, each the YAML of its value on one line; dataset is on line 3."""


def text_of(**fields: str | None) -> str:
    """Return the YAML of the small space with some fields changed, added, or (None) left out."""
    chosen: Mapping[str, str | None] = {**FIELDS, **fields}
    return "".join(f"{name}: {value}\n" for name, value in chosen.items() if value is not None)


def space_of(folder: Path, *overrides: str, **fields: str | None) -> Space:
    """Load the small space with some fields changed."""
    path = folder / "space.yaml"
    path.write_text(text_of(**fields), encoding="utf-8")
    return load_space(path, overrides)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def call(*arguments: str | Path) -> Result:
    """Call the command line in this process; whatever it raises but SystemExit is a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["sweep", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Result(code, out.getvalue(), err.getvalue())
