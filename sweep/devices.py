"""What trials are trained on and timed on, as a text, and what of it tells two devices apart.

A GPU is its product name and its memory ("Tesla T4, 15 GiB": whole GiB, rounded up, since drivers
keep a little to themselves), a CPU its processor and threads ("AMD EPYC 7B13, 2 threads"). Two
devices are of one type if these are the same, but for the threads: a score does not depend on them.
A time does; so what was timed compares only where the whole text is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass

UNKNOWN = "an unknown device"
"""In words: of epochs whose device was not recorded."""
THREADS = re.compile(r", \d+ threads?$")


@dataclass(frozen=True)
class Stretch:
    """Epochs in a row that one type of device trained."""

    device: str
    """Its type; empty if it was not recorded."""
    first: int
    last: int


def device_type(device: str) -> str:
    """Return the type of a device, from its text."""
    return THREADS.sub("", device)


def stretches(epochs: Iterable[tuple[int, str]]) -> tuple[Stretch, ...]:
    """Return the epochs of a trial by what trained them.

    Args:
        epochs: each with the text of its device, in their order.
    """
    found: list[Stretch] = []
    for epoch, device in epochs:
        kind = device_type(device)
        first = epoch
        if found and found[-1].device == kind:
            first = found.pop().first
        found.append(Stretch(kind, first, epoch))
    return tuple(found)


def devices_of(trained: Iterable[Stretch]) -> tuple[str, ...]:
    """Return the types of devices that trained epochs, each once, in their order."""
    return tuple(dict.fromkeys(one.device or UNKNOWN for one in trained))


def told(trained: Iterable[Stretch]) -> str:
    """Return stretches in words: "Tesla T4, 15 GiB: epochs 1 to 5; Tesla V100, 16 GiB: epoch 6"."""
    return "; ".join(
        f"{one.device or UNKNOWN}: "
        + (f"epochs {one.first} to {one.last}" if one.first < one.last else f"epoch {one.first}")
        for one in trained
    )


def to_json(trained: Iterable[Stretch], room: int) -> str:
    """Return stretches as JSON in so many characters.

    Where not all fit, the last one stands for those that do not: its device is unknown, so that
    what several devices trained never looks like the work of one.
    """
    items = list(trained)
    while len(text := json.dumps([astuple(one) for one in items])) > room and len(items) > 1:
        *items, first, last = items
        items.append(Stretch("", first.first, last.last))
    return text


def from_json(text: str) -> tuple[Stretch, ...]:
    """Return the stretches of ``to_json``.

    Raises:
        ValueError: it is something else.
    """
    try:
        return tuple(
            Stretch(str(device), int(first), int(last)) for device, first, last in json.loads(text)
        )
    except TypeError as error:
        raise ValueError(str(error)) from None
