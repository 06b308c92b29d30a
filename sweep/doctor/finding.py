"""What a check finds, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["ok", "warning", "problem"]
"""A sweep runs with a warning, but not as well as it could; a problem keeps it from running."""

NAMED = 3
"""Nodes that a line names; of more it says how many there are."""


@dataclass(frozen=True)
class Finding:
    """One sentence on one thing, of one node or of several."""

    state: State
    text: str
    remedy: str = ""
    """What to do; of a warning or a problem."""
    nodes: tuple[str, ...] = ()
    """That it holds for; none if it is not of a node."""
    check: str = ""
    """That found it."""

    def __str__(self) -> str:
        if not self.nodes:
            return self.text
        more = len(self.nodes) - NAMED
        named = ", ".join(self.nodes[:NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{named}: {self.text}"


def ok(text: str, node: str = "") -> Finding:
    """Return that something is as it should be."""
    return Finding("ok", text, nodes=_nodes(node))


def warning(text: str, remedy: str, node: str = "") -> Finding:
    """Return what does not keep a sweep from running."""
    return Finding("warning", text, remedy, _nodes(node))


def problem(text: str, remedy: str, node: str = "") -> Finding:
    """Return what keeps a sweep from running, or from being right."""
    return Finding("problem", text, remedy, _nodes(node))


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with those in one that differ in nothing but the node."""
    together: dict[Finding, tuple[str, ...]] = {}
    for finding in findings:
        alike = replace(finding, nodes=())
        together[alike] = together.get(alike, ()) + finding.nodes
    return [replace(finding, nodes=nodes) for finding, nodes in together.items()]


def _nodes(node: str) -> tuple[str, ...]:
    return (node,) if node else ()
