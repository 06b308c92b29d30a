"""How a wrong value is told: the value as YAML writes it, what is allowed, the nearest name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sweep.registry import nearest
from sweep.spec.plain_yaml import Place, plain_scalar

LONGEST = 60
"""Characters of a value that are shown."""

YAML_1_1 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""Words that older YAML took for booleans."""


def shown(value: Any) -> str:
    """Return a value as YAML writes it on one line, cut off if it is long."""
    text = _flow(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def dotted(place: Place) -> str:
    """Return the path of a value, as overrides can name it: attention[1].kernel_size."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{_readable(key)}" for key in place)
    return text.removeprefix(".")


def _readable(field: str) -> str:
    """Return a field's name, and nothing that a terminal would obey or turn around."""
    return field if field.isprintable() else repr(field)


def not_known(value: Any, allowed: list[str]) -> str:
    """Return that a name is not one of the allowed ones, with the nearest."""
    return f"{shown(value)} is not known{_hint(value, allowed)} Allowed: {', '.join(allowed)}"


def unknown_field(field: str, allowed: Iterable[str]) -> str:
    """Return that there is no such field, with the nearest and all that there are."""
    known = list(allowed)
    return f"unknown field{_hint(field, known)} Allowed: {', '.join(known)}"


def wrong_value(value: Any, schema: Mapping[str, Any]) -> str:
    """Return that a value is not what the JSON Schema of its field allows.

    What a pattern allows is said by the field's description.
    """
    if _has_pattern(schema) and isinstance(value, str | int | float | bool):
        is_text = isinstance(value, str) or "pattern" not in schema
        hint = "" if is_text else "; write it in quotes if it is meant as text"
        return f"{shown(value)} is not allowed{hint}. {_one_line(schema.get('description', ''))}"
    wanted = _allowed(schema)
    return f"{shown(value)} is not {wanted}{_value_hint(value, schema, wanted)}"


def _value_hint(value: Any, schema: Mapping[str, Any], wanted: str) -> str:
    if isinstance(value, list) and "list" not in wanted:
        return "; only fields of backbones and attention take several values, and seeds"
    if not isinstance(value, str):
        is_scalar = isinstance(value, bool | int | float)
        return "; write it in quotes" if wanted.startswith("text") and is_scalar else ""
    if "true or false" in wanted and value.lower() in YAML_1_1:
        return f"; did you mean {YAML_1_1[value.lower()]}?"
    if "number" in wanted and isinstance(plain_scalar(value), int | float):
        return "; write it without quotes"
    near = nearest(value, _names(schema))
    return f"; did you mean {near!r}?" if near else ""


def _hint(value: Any, allowed: list[str]) -> str:
    near = nearest(str(value), allowed)
    return f"; did you mean {near!r}?" if near else "."


def _flow(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", ".inf").replace("nan", ".nan")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    return repr(value)


def _allowed(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON Schema allows; null, which is "left out", is not named."""
    if "anyOf" in schema:
        parts = [_allowed(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if names := _names(schema):
        *first, last = map(repr, names)
        return f"{', '.join(first)} or {last}" if first else last
    match schema.get("type"):
        case "array":
            few = "with at least one entry" if schema.get("minItems") else ""
            many = f"and at most {schema['maxItems']}" if "maxItems" in schema else ""
            each = f"(each {_allowed(schema.get('items', {}))})"
            return _join("a list", few, many, each)
        case "integer":
            return _join("a whole number", _bounds(schema))
        case "number":
            return _join("a finite number", _bounds(schema))
        case "boolean":
            return "true or false"
        case "string":
            few = "of at least one character" if schema.get("minLength") else ""
            many = f"of at most {schema['maxLength']:,}" if "maxLength" in schema else ""
            return _join("text", " and ".join(filter(None, (few, many))))
        case _:
            return "allowed"


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "from {:.10g}",
        "exclusiveMinimum": "above {:.10g}",
        "maximum": "up to {:.10g}",
        "exclusiveMaximum": "below {:.10g}",
    }
    return " and ".join(words[key].format(schema[key]) for key in words if key in schema)


def _names(schema: Mapping[str, Any]) -> list[str]:
    if "const" in schema:
        return [schema["const"]]
    inner = [name for part in schema.get("anyOf", ()) for name in _names(part)]
    return [*schema.get("enum", ()), *inner]


def _has_pattern(schema: Mapping[str, Any]) -> bool:
    return "pattern" in schema or any(map(_has_pattern, schema.get("anyOf", ())))


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


def _one_line(text: str) -> str:
    return " ".join(text.split())
