"""How much of a machine a trial gets."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.errors import UserError
from sweep.spec.schema import Resources


class NoRoomError(UserError, ValueError):
    """A trial asks for more than the machine or cluster has; it would wait for ever."""


@dataclass(frozen=True)
class Share:
    """What one trial gets, in numbers."""

    cpus: int
    gpus: float


def share(resources: Resources, *, cpus: float, gpus: float) -> Share:
    """Return what a trial gets on a machine or cluster with so many CPU cores and GPUs.

    Raises:
        NoRoomError: the space asks for more than there is.
    """
    wanted = (1.0 if gpus else 0.0) if resources.gpus == "auto" else resources.gpus
    if resources.cpus > cpus:
        raise NoRoomError(
            f"resources.cpus = {resources.cpus}: there are {cpus:g} CPU cores; "
            f"run with resources.cpus={int(cpus)} or fewer"
        )
    if wanted > gpus:
        raise NoRoomError(
            f"resources.gpus = {wanted:g}: there are {gpus:g} GPUs; "
            "run with resources.gpus=auto to use what there is"
        )
    return Share(resources.cpus, wanted)
