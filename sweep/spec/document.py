"""A search space's file with the overrides of the command line laid over it.

Whatever is found wrong with a value later, the document knows where the value stood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.errors import UserError
from sweep.spec.plain_yaml import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    NotPlainError,
    Place,
    Position,
    Problem,
    parse_yaml,
)
from sweep.spec.wording import dotted, shown

MOST_LINES = 100
"""Of what is wrong that are told at once."""


class SpecError(UserError, ValueError):
    """A search space that cannot be used; one line for each thing that is wrong."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass
class Document:
    """The plain data of a file with overrides, and where each value came from."""

    path: str
    text: str
    """Of the file, as it was read."""
    data: dict[str, Any]
    positions: dict[Place, Position] = field(default_factory=dict)
    overridden: dict[Place, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    """The overrides as they were given."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the text itself; part of every error."""
    lost: list[str] = field(default_factory=list)
    """Lines about overrides that could not be laid; part of every error."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with the text and the overrides themselves."""
        return not self.problems and not self.lost

    def error(self, problems: list[Problem]) -> SpecError:
        """Return these and the document's own problems as one error.

        In the order of the file; what the overrides brought comes last.
        """
        every = [*self.problems, *problems]
        ordered = sorted(every, key=lambda p: (self._override(p) is not None, self._position(p)))
        lines = list(dict.fromkeys([*map(self._line, ordered), *self.lost]))
        more = [f"{self.path}: {len(lines) - MOST_LINES:,} more"] if lines[MOST_LINES:] else []
        return SpecError([*lines[:MOST_LINES], *more])

    def override(self, text: str) -> None:
        """Lay ``field.field=value`` over the data; the value is YAML."""
        self.texts.append(text)
        name, equals, value = text.partition("=")
        names = re.sub(r"\[([0-9]+)\]", r".\1", name.strip()).split(".")
        if len(names) > MAX_DEPTH:
            self.lost.append(f"override {text!r:.60}: is nested too deeply")
            return
        if not equals or "" in names:
            self.lost.append(f"override {text!r}: write it as field=value, like recipe.epochs=1")
            return
        try:
            parent, place, created = self._reach(names)
            parsed = parse_yaml(value, place)
        except (NotPlainError, _NoSuchPlaceError) as error:
            self.lost.append(f"override {text!r}: {error}")
            return
        parent[place[-1]] = parsed.value
        self.problems += parsed.problems
        kept = {at: by for at, by in self.overridden.items() if at[: len(created)] != created}
        self.overridden = {**kept, created: text}

    def _reach(self, names: list[str]) -> tuple[Any, Place, Place]:
        """Return what the last name stands in, its place, and the outermost place made for it."""
        parent: Any = self.data
        place: Place = ()
        created: Place | None = None
        for name in names[:-1]:
            place = (*place, _step(parent, place, name))
            if isinstance(parent, dict) and place[-1] not in parent:
                parent[place[-1]] = {}
                created = created or place
            parent = parent[place[-1]]
        place = (*place, _step(parent, place, names[-1]))
        return parent, place, created or place

    def _line(self, problem: Problem) -> str:
        """Return a problem as one line: file, line, column, field, what is wrong."""
        line, column = self._position(problem)
        override = self._override(problem)
        where = f"override {override!r}" if override else f"{self.path}:{line}:{column}"
        return f"{where}: {dotted(problem.place)}: {problem.message}"

    def _override(self, problem: Problem) -> str | None:
        """Return the override that a problem comes from."""
        places = (problem.place[:length] for length in range(len(problem.place), 0, -1))
        return next((self.overridden[p] for p in places if p in self.overridden), None)

    def _position(self, problem: Problem) -> Position:
        if problem.position is not None:
            return problem.position
        places = (problem.place[:length] for length in range(len(problem.place), -1, -1))
        return next((self.positions[p] for p in places if p in self.positions), (1, 1))


class _NoSuchPlaceError(Exception):
    """An override of something that is not there."""


def _step(parent: Any, place: Place, name: str) -> str | int:
    """Return ``name`` as a key of ``parent``, which stands at ``place``.

    Raises:
        _NoSuchPlaceError: it cannot be one; the text says what there is.
    """
    if isinstance(parent, dict):
        return name
    what = shown(parent)
    if isinstance(parent, list):
        if re.fullmatch("[0-9]{1,9}", name) and int(name) < len(parent):
            return int(name)
        what = f"a list up to {dotted((*place, len(parent) - 1))}" if parent else "an empty list"
    raise _NoSuchPlaceError(f"there is no {dotted((*place, name))}: {dotted(place)} is {what}")


def read_document(path: Path, overrides: tuple[str, ...] = ()) -> Document:
    """Read a YAML file and lay overrides over it.

    What is wrong with single fields or overrides is kept in the document, so that it can be said
    together with all that is wrong with their values.

    Raises:
        SpecError: the file is missing, is not YAML, or no mapping; with its place.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)  # a device has no end
        parsed = parse_yaml(text)
    except UnicodeDecodeError:
        raise SpecError([f"{path}: cannot be read: it is not UTF-8 text"]) from None
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except NotPlainError as error:
        line, column = error.position
        raise SpecError([f"{path}:{line}:{column}: {error}"]) from None
    if not isinstance(parsed.value, dict):
        line, column = parsed.positions.get((), (1, 1))
        what = "nothing" if parsed.value is None else shown(parsed.value)
        raise SpecError(
            [
                f"{path}:{line}:{column}: holds {what}; a search space is a mapping of fields, "
                "such as 'study: name'"
            ]
        )
    document = Document(str(path), text, parsed.value, parsed.positions, problems=parsed.problems)
    for override in overrides:
        document.override(override)
    return document
