"""YAML 1.2 text as plain data that remembers where everything stood.

The core schema and nothing else: ``no`` is a word, ``1e-4`` a number, a date is text. Tags, keys
that are no text, merge keys and duplicate keys are problems; all of a text are found at once.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

Place = tuple[str | int, ...]
"""Path of a value: ("attention", 1, "kernel_size")."""

Position = tuple[int, int]
"""Line and column, from 1."""

MAX_VALUES = 100_000
"""Aliases can make a small text huge; more values than this are refused."""

MAX_DEPTH = 40

MAX_CHARACTERS = 200_000
"""Of a file or an override; the largest search space of a paper has a few thousand."""

NO_TAGS = "tags such as !name are not allowed"

NOT_TEXT = re.compile(
    r"[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"  # obeyed by a terminal, or by who splits lines
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn text around
    r"\xad\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # not seen
    r"\U000e0000-\U000e007f]"  # not seen: a second alphabet
)
"""What is not to be seen as it is read; quoted YAML can spell all of it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a search space."""

    place: Place
    message: str
    position: Position | None = None
    """Where it stands, if that is not where its place stands."""


class NotPlainError(ValueError):
    """A text that cannot be read as plain data at all."""

    def __init__(self, message: str, position: Position) -> None:
        self.position = position
        super().__init__(message)


@dataclass
class Parsed:
    """Plain data (mappings, lists, text, numbers, booleans, None), and where it stood."""

    value: Any = None
    positions: dict[Place, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse_yaml(text: str, place: Place = ()) -> Parsed:
    """Read one YAML document; ``place`` is where its value belongs.

    Raises:
        NotPlainError: it is not YAML, more than one document, too deep or too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotPlainError(f"holds more than {MAX_CHARACTERS:,} characters", (1, 1))
    try:
        return _Reader(text, place).parsed
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise NotPlainError(f"is not YAML: {error.problem}", position) from None
    except ReaderError as error:
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - before.rfind("\n"))
        raise NotPlainError(
            f"is not YAML: character U+{ord(text[error.position]):04X} is not allowed", position
        ) from None


def plain_scalar(text: str) -> Any:
    """Return what unquoted text stands for in YAML 1.2: None, a boolean, a number, or text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]{1,99}", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]{1,99}|0x[0-9a-fA-F]{1,99}", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", text):
        return float(text) + 0.0  # -0.0 is 0.0
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text


class _Reader:
    """Builds the value of a text from ruamel's events, which know neither types nor tags."""

    def __init__(self, text: str, place: Place) -> None:
        self.parsed = Parsed()
        self.values = 0
        self.anchors: dict[str, tuple[Any, int] | None] = {}
        """Value and its size; None while the value is still being read."""
        self.events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        next(self.events)  # start of the stream
        if isinstance(next(self.events), StreamEndEvent):
            return  # an empty text
        event = next(self.events)
        self.parsed.positions[place] = _position(event)
        self.parsed.value = self._value(event, place)
        while not isinstance(event := next(self.events), StreamEndEvent):
            if not isinstance(event, DocumentEndEvent):
                raise NotPlainError("a second document starts here", _position(event))

    def _value(self, event: Any, place: Place) -> Any:
        self._count(1, event)
        if len(place) > MAX_DEPTH:
            raise NotPlainError("is nested too deeply", _position(event))
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            self._problem(place, event, NO_TAGS)
        if event.anchor:
            self.anchors[event.anchor] = None
        before = self.values
        value: Any
        if isinstance(event, ScalarEvent):
            self._check_text(event, place)
            value = plain_scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(place)
        else:
            value = self._sequence(place)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.values - before + 1)
        return value

    def _mapping(self, place: Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key, wrong = self._key(event, place)
            at = (*place, key)
            if not wrong:
                self._check_text(event, at)
            if wrong or key in mapping:
                self._problem(at, event, wrong or "is given twice")
            else:
                self.parsed.positions[at] = _position(event)
            value = self._value(next(self.events), at)
            if not wrong:
                mapping.setdefault(key, value)
        return mapping

    def _key(self, event: Any, place: Place) -> tuple[str, str]:
        """Return a field's name, and what is wrong with it."""
        if not isinstance(event, ScalarEvent):
            self._value(event, (*place, "?"))  # a collection ends somewhere
            return "?", "a field's name must be text"
        key: str = event.value
        if event.tag is not None:
            return key, NO_TAGS
        if event.implicit[0] and key == "<<":
            return key, "merge keys are not YAML 1.2; repeat the fields"
        if event.implicit[0] and not isinstance(plain_scalar(key), str):
            return key, "a field's name must be text"
        return key, ""

    def _sequence(self, place: Place) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            at = (*place, len(values))
            self.parsed.positions[at] = _position(event)
            values.append(self._value(event, at))
        return values

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise NotPlainError(f"there is no anchor &{event.anchor} before", _position(event))
        anchored = self.anchors[event.anchor]
        if anchored is None:
            raise NotPlainError(f"*{event.anchor} refers to what it stands in", _position(event))
        value, size = anchored
        self._count(size, event)
        return copy.deepcopy(value)

    def _count(self, values: int, event: Any) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise NotPlainError(f"holds more than {MAX_VALUES:,} values", _position(event))

    def _check_text(self, event: Any, place: Place) -> None:
        if found := NOT_TEXT.search(event.value):
            code = f"U+{ord(found[0]):04X}"
            self._problem(place, event, f"{event.value!r:.60} holds {code}, which is not allowed")

    def _problem(self, place: Place, event: Any, message: str) -> None:
        self.parsed.problems.append(Problem(place, message, _position(event)))


def _position(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1
