"""A YAML file as plain data that remembers where everything stood.

YAML 1.2, so that ``no`` is a word and ``1e-4`` a number; duplicate keys, tags and anything but
plain data are errors. Overrides of the command line are laid over the file and remembered too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sweep.errors import UserError

Place = tuple[str | int, ...]
"""Path of a value: ("attention", 1, "kernel_size")."""

MAX_VALUES = 100_000
"""Aliases can make a small file huge; more values than this are refused."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a search space."""

    place: Place
    message: str


class SpecError(UserError, ValueError):
    """A search space that cannot be used; one line for each thing that is wrong."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass
class Document:
    """The plain data of a file with overrides, and where each value came from."""

    path: str
    data: Any
    positions: dict[Place, tuple[int, int]] = field(default_factory=dict)
    overridden: dict[Place, str] = field(default_factory=dict)

    def line(self, problem: Problem) -> str:
        """Return a problem as one line: file, line, column, field, what is wrong."""
        return f"{self._where(problem.place)}: {_dotted(problem.place)}{problem.message}"

    def error(self, problems: list[Problem]) -> SpecError:
        """Return all problems as one error, in the order of the file."""
        ordered = sorted(problems, key=lambda p: self._position(p.place))
        return SpecError(list(dict.fromkeys(self.line(problem) for problem in ordered)))

    def override(self, text: str) -> None:
        """Lay ``field.field=value`` over the data; the value is YAML.

        Raises:
            SpecError: the text has no '=', the value is no YAML, or there is no such place.
        """
        name, equals, value = text.partition("=")
        place = tuple(int(p) if p.isdigit() else p for p in name.strip().split("."))
        if not equals or "" in place:
            raise SpecError([f"override {text!r}: write it as field=value, like recipe.epochs=1"])
        try:
            plain = _Plain(Document(f"override {text!r}", None))
            self._set(place, plain.convert(_yaml().load(value), place))
        except MarkedYAMLError as error:
            raise SpecError(
                [f"override {text!r}: the value is not YAML: {error.problem}"]
            ) from None
        except (KeyError, IndexError, TypeError):
            raise SpecError([f"override {text!r}: there is no {_dotted(place)[:-1]}"]) from None
        self.overridden[place] = text

    def _set(self, place: Place, value: Any) -> None:
        parent = self.data
        for key in place[:-1]:
            if isinstance(parent, dict) and isinstance(key, str):
                parent = parent.setdefault(key, {})
            else:
                parent = parent[key]
        if isinstance(parent, list):
            parent[place[-1]] = value  # type: ignore[index]  # a word as index raises TypeError
        elif isinstance(parent, dict):
            parent[str(place[-1])] = value
        else:
            raise TypeError(place)

    def _where(self, place: Place) -> str:
        for length in range(len(place), 0, -1):
            if text := self.overridden.get(place[:length]):
                return f"override {text!r}"
        line, column = self._position(place)
        return f"{self.path}:{line}:{column}" if line else self.path

    def _position(self, place: Place) -> tuple[int, int]:
        for length in range(len(place), -1, -1):
            if place[:length] in self.positions:
                return self.positions[place[:length]]
        return (0, 0)


def read_document(path: Path, overrides: tuple[str, ...] = ()) -> Document:
    """Read a YAML file and lay overrides over it.

    Raises:
        SpecError: the file is missing, is not YAML, not plain data or no mapping; with its place.
    """
    document = Document(str(path), None)
    try:
        loaded = _yaml().load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SpecError([f"{path}: cannot be read: {reason}"]) from None
    except DuplicateKeyError as error:
        raise SpecError([_at(path, error, "is given twice")]) from None
    except MarkedYAMLError as error:
        raise SpecError([_at(path, error, "")]) from None
    except YAMLError as error:
        raise SpecError([f"{path}: is not YAML: {str(error).splitlines()[0]}"]) from None
    document.data = _Plain(document).convert(loaded, ())
    if not isinstance(document.data, dict):
        raise SpecError(
            [f"{path}:1:1: a search space is a mapping of fields, such as 'study: name'"]
        )
    for text in overrides:
        document.override(text)
    return document


class _Plain:
    """Turns ruamel's objects into plain data and notes positions on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def convert(self, value: Any, place: Place) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or len(place) > 40:
            raise SpecError([f"{self.document.path}: more values than a search space can have"])
        if isinstance(value, CommentedMap):
            for key in value:
                self._note((*place, str(key)), value.lc.key(key))
                if not isinstance(key, str):
                    raise self._refuse((*place, str(key)), "a field's name must be text")
            return {key: self.convert(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, CommentedSeq):
            for index in range(len(value)):
                self._note((*place, index), value.lc.item(index))
            return [self.convert(item, (*place, index)) for index, item in enumerate(value)]
        if isinstance(value, TaggedScalar) or getattr(value, "tag", None) is not None:
            raise self._refuse(place, "tags such as !name are not allowed")
        return _plain_scalar(value)

    def _note(self, place: Place, position: tuple[int, int] | None) -> None:
        if position is not None:
            self.document.positions.setdefault(place, (position[0] + 1, position[1] + 1))

    def _refuse(self, place: Place, message: str) -> SpecError:
        return self.document.error([Problem(place, message)])


def _plain_scalar(value: Any) -> Any:
    """Return ruamel's number and text classes as the built-in ones they derive from."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    return yaml


def _at(path: Path, error: MarkedYAMLError, what: str) -> str:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if what:
        key = (error.problem or "").split('"')
        return f"{path}:{line}:{column}: field {key[1] if len(key) > 1 else '?'!r} {what}"
    return f"{path}:{line}:{column}: is not YAML: {error.problem}"


def _dotted(place: Place) -> str:
    text = ""
    for key in place:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return f"{text.lstrip('.')}: " if text else ""
