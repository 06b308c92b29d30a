"""Data sets: the search space's, found on every node and the same; else all that are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.site import Site, Told, check
from sweep.errors import UserError, first_line
from sweep.registry import DATASETS


@dataclass(frozen=True)
class Held:
    """What a machine has of a data set."""

    place: str
    """Folder; empty if the data set needs no files."""
    content: str
    """What identifies its files, where they are one's own."""
    trouble: str
    """Why it cannot be used; empty if it can."""


def held(name: str, settings: dict[str, Any]) -> Held:
    """Return what this machine has of a data set with the settings of a search space."""
    try:
        dataset = DATASETS[name].of(settings)
        found = dataset.find()
        return Held(str(found or ""), repr(sorted(dataset.content().items())), "")
    except (UserError, OSError) as error:
        return Held("", "", first_line(error))


def all_found() -> dict[str, bool]:
    """Return for each registered data set that can be looked for whether it is here."""
    found = {}
    for name in DATASETS.names():
        try:
            dataset = DATASETS[name].of({})
        except ValidationError:
            continue  # a folder of one's own: only a search space says where
        try:
            dataset.find()
            found[name] = True
        except (UserError, OSError):
            found[name] = False
    return found


def collection() -> str:
    """Return $SWEEP_DATA where it names no folder; empty if all is well."""
    named = os.environ.get("SWEEP_DATA", "")
    return named if named and not Path(named).expanduser().is_dir() else ""


@check("data sets", seconds=3.5)
def look(site: Site) -> Iterator[Finding]:
    """Look for the files, by what the training itself looks for."""
    for one in site.ask(collection):
        if one.value:
            yield warning(
                f"SWEEP_DATA names {one.value}, which is no folder",
                "mount the data sets there, or let SWEEP_DATA name where they lie",
                one.node,
            )
    if site.space is None:
        yield from _judge_all(site.ask(all_found))
        return
    name = site.space.dataset
    yield from judge(name, site.ask(held, name, site.space.dataset_settings))


def judge(name: str, told: list[Told[Held]]) -> Iterator[Finding]:
    """Yield what is to be said of one data set, which a sweep needs on every machine."""
    here = [one for one in told if not one.value.trouble]
    for one in told:
        if one.value.trouble:
            text, _, remedy = one.value.trouble.partition("; ")
            yield problem(
                text, remedy or "put it there, or name its folder by SWEEP_DATA", one.node
            )
        elif one.value.content != here[0].value.content:
            yield problem(
                f"its files of {name} in {one.value.place} are others than on {here[0].node}",
                "copy the folder anew from one node to the others (rsync --delete)",
                one.node,
            )
    if here:
        places = sorted({one.value.place for one in here if one.value.place})
        on = f" on {len(here)} of {len(told)} nodes" if here[0].node else ""
        yield ok(f"{name} is here{on}{': ' if places else ''}{', '.join(places)}")


def _judge_all(told: list[Told[dict[str, bool]]]) -> Iterator[Finding]:
    """Yield which data sets there are; none has to be, as long as no search space needs it."""
    names = sorted({name for one in told for name in one.value})
    everywhere = [name for name in names if all(one.value.get(name) for one in told)]
    for name in names:
        nodes = [one.node for one in told if not one.value.get(name)]
        if name not in everywhere and len(nodes) < len(told):
            for node in nodes:
                yield warning(
                    f"{name} is not here, but on other nodes",
                    f"put it into $SWEEP_DATA/{name} of every node before a sweep needs it",
                    node,
                )
    others = [name for name in names if name not in everywhere]
    missing = f"; not here: {', '.join(others)}" if others else ""
    yield ok(f"here: {', '.join(everywhere) or 'none'}{missing}")
