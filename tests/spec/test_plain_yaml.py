"""YAML 1.2's core schema by its own tables (yaml.org/spec/1.2.2, section 10.3), and its limits."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from sweep.spec.document import SpecError, read_document
from sweep.spec.plain_yaml import MAX_DEPTH, MAX_VALUES, NotPlainError, parse_yaml

SCALARS: list[tuple[str, Any]] = [
    # what YAML 1.1 took for booleans is text
    *((word, word) for word in ("no", "yes", "on", "off", "n", "Y", "No", "NO")),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("null", None),
    ("~", None),
    ("", None),
    ("nULL", "nULL"),
    # numbers
    ("1e-4", 0.0001),
    ("1E4", 10000.0),
    ("5.0e-4", 0.0005),
    (".5", 0.5),
    ("1.", 1.0),
    ("+1", 1),
    ("-3", -3),
    ("017", 17),
    ("0o17", 15),
    ("0x1F", 31),
    ("0b1", "0b1"),
    ("1_000", "1_000"),
    ("190:20:30", "190:20:30"),
    (".inf", math.inf),
    ("-.Inf", -math.inf),
    ("1e999", math.inf),
    ("1e", "1e"),
    # a date is text, and what is quoted always is
    ("2024-01-01", "2024-01-01"),
    ('"1"', "1"),
    ("'no'", "no"),
    ('"true"', "true"),
    ('""', ""),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=lambda value: repr(value))
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    read = parse_yaml(f"key: {text}\n").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_a_dash_and_a_block_are_text() -> None:
    assert parse_yaml("[-a, 1-2]").value == ["-a", "1-2"]
    text = "a: |\n  1\n  2\nb: >-\n  no\n  yes\n"
    assert parse_yaml(text).value == {"a": "1\n2\n", "b": "no yes"}


def test_not_a_number() -> None:
    assert math.isnan(parse_yaml(".nan").value)


def test_a_directive_does_not_bring_yaml_1_1_back() -> None:
    assert parse_yaml("%YAML 1.1\n---\na: no\nb: 017\n").value == {"a": "no", "b": 17}


def test_positions_are_those_of_keys_and_of_entries() -> None:
    text = "# header\na:\n  b: 1\n  c: [x,   y]\nd:\n  - e: 2\n    f: 3\n"
    assert parse_yaml(text).positions == {
        (): (2, 1),
        ("a",): (2, 1),
        ("a", "b"): (3, 3),
        ("a", "c"): (4, 3),
        ("a", "c", 0): (4, 7),
        ("a", "c", 1): (4, 12),
        ("d",): (5, 1),
        ("d", 0): (6, 5),
        ("d", 0, "e"): (6, 5),
        ("d", 0, "f"): (7, 5),
    }


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes("\ufeffa: 1\r\nb: [2,\r\n  3]\r\n".encode())
    document = read_document(path)
    assert document.data == {"a": 1, "b": [2, 3]}
    assert document.positions["b", 1] == (3, 3)


def test_an_anchor_is_a_copy_of_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("a: &x {b: [1, 2]}\nc: *x\n")
    document = read_document(path, ("a.b=3",))
    assert document.data == {"a": {"b": 3}, "c": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", [("a", "is given twice", (3, 1))]),
        ("a:\n  b: 1\n  'b': 2\n", [("a.b", "is given twice", (3, 3))]),
        ("a: !!python/object/apply:os.system [ls]\n", [("a", "tags", (1, 4))]),
        ("a: !!float 1\nb: [!x 2]\n", [("a", "tags", (1, 4)), ("b.0", "tags", (2, 5))]),
        ("a: !!set {b, c}\n", [("a", "tags", (1, 4))]),
        ("a: ! b\n", [("a", "tags", (1, 4))]),
        ("1: a\n", [("1", "must be text", (1, 1))]),
        ("a: {true: b}\n", [("a.true", "must be text", (1, 5))]),
        ("~: a\n1.5: b\n", [("~", "must be text", (1, 1)), ("1.5", "must be text", (2, 1))]),
        ("? [a, b]\n: c\n", [("?", "must be text", (1, 3))]),
        ("a: &x {b: 1}\nc: {<<: *x}\n", [("c.<<", "repeat the fields", (2, 5))]),
    ],
)
def test_what_is_not_plain_is_a_problem_with_its_place(
    text: str, problems: list[tuple[str, str, tuple[int, int]]]
) -> None:
    found = parse_yaml(text).problems
    assert len(found) == len(problems)
    for problem, (place, message, position) in zip(found, problems, strict=True):
        assert ".".join(map(str, problem.place)) == place
        assert message in problem.message
        assert problem.position == position


def test_text_as_a_key_may_be_quoted() -> None:
    parsed = parse_yaml('"1": a\n"<<": b\n"no": c\nno: d\n')
    assert parsed.value == {"1": "a", "<<": "b", "no": "c"}
    assert [problem.message for problem in parsed.problems] == ["is given twice"]


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a: [1, 2\n", "expected ',' or ']'", (2, 1)),
        ("a: b: c\n", "mapping values are not allowed here", (1, 5)),
        ("a:\n\tb: 1\n", "'\\t' that cannot start any token", (2, 1)),
        ("a: 'b\n", "unexpected end of stream", (2, 1)),
        ('a: 1\nb: "\x07"\n', "character U+0007 is not allowed", (2, 5)),
        ("a: *nowhere\n", "no anchor &nowhere", (1, 4)),
        ("a: &x [1, *x]\n", "*x refers to what it stands in", (1, 11)),
        ("a: 1\n---\na: 2\n", "a second document starts here", (2, 1)),
        ("[" * 5000, "nested too deeply", (1, MAX_DEPTH + 2)),
        ("{a: " * 5000, "nested too deeply", (1, 4 * MAX_DEPTH + 5)),
        ("? " * 5000, "nested too deeply", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_at_all_is_said_with_its_place(
    text: str, message: str, position: tuple[int, int] | None
) -> None:
    with pytest.raises(NotPlainError) as caught:
        parse_yaml(text)
    assert message in str(caught.value)
    assert caught.value.position == (position or caught.value.position)


def laughs(opening: str, closing: str) -> str:
    """Return a billion values in ten lines."""
    lines = [f"a0: &a0 {opening}{closing}"]
    for level in range(1, 10):
        inner = ", ".join(f"k{i}: *a{level - 1}" for i in range(10))
        if opening == "[":
            inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {opening}{inner}{closing}")
    return "\n".join(lines)


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_billion_laughs_are_refused_at_once(brackets: str) -> None:
    start = time.perf_counter()
    with pytest.raises(NotPlainError, match=f"more than {MAX_VALUES:,} values"):
        parse_yaml(laughs(*brackets))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 5000])
def test_a_number_of_thousands_of_digits_is_text(text: str) -> None:
    assert parse_yaml(text).value == text


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"", "1:1", "holds nothing"),
        (b"# only a comment\n\n", "1:1", "holds nothing"),
        (b"---\n", "2:1", "holds nothing"),
        (b"# list\n- a\n- b\n", "2:1", "holds ['a', 'b']; a search space is a mapping"),
        (b"hello\n", "1:1", "holds 'hello'"),
        (b"study: caf\xe9\n", "", "cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_mapping(content: bytes, place: str, message: str) -> None:
    path = Path("space.yaml")
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_document(path)
    (line,) = caught.value.lines
    assert line.startswith(f"space.yaml:{place}")
    assert message in line


def test_a_missing_file_and_a_folder() -> None:
    with pytest.raises(SpecError, match=r"^no\.yaml: cannot be read: No such file or directory$"):
        read_document(Path("no.yaml"))
    Path("folder").mkdir()
    with pytest.raises(SpecError, match=r"^folder: cannot be read: Is a directory$"):
        read_document(Path("folder"))
