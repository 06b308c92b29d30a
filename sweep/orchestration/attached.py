"""Seeing to it that the nodes of a joined Ray cluster can run the trials of a sweep."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.errors import UserError
from sweep.lock import Lock
from sweep.orchestration.machine import Needs, obstacles
from sweep.orchestration.nodes import Node, alive_nodes, ask_nodes
from sweep.orchestration.packed import code_digest
from sweep.orchestration.resources import NoRoomError
from sweep.plan import Plan
from sweep.spec.confined import is_confined
from sweep.spec.schema import Space
from sweep.study import Study

NODE_SECONDS = 60.0
"""How long a cluster may have no node that runs trials, as one that was just started."""
MARK = "node-check-"


class NodeError(UserError, RuntimeError):
    """Nodes of a cluster cannot run the trials of a sweep."""


def training_nodes() -> list[Node]:
    """Return the nodes that run trials: those with CPUs; a head mostly has none.

    Raises:
        NoRoomError: there is none, and none comes within a minute.
    """
    deadline = time.monotonic() + NODE_SECONDS
    while True:
        if nodes := [node for node in alive_nodes() if node.cpus]:
            return nodes
        if time.monotonic() > deadline:
            raise NoRoomError("the cluster has no node with CPUs for trials; start one, and again")
        time.sleep(1)


def needs_of(space: Space, plan: Plan, mark: Path) -> Needs:
    """Return what every node must have, so that trials of a sweep can run there.

    Args:
        space: of the sweep.
        plan: its trials, as far as they are known.
        mark: a file in its working folder; see ``held_mark``.
    """
    settings = dict(space.dataset_settings)
    if settings.get("root") and not is_confined():
        settings["root"] = str(Path(str(settings["root"])).expanduser().absolute())
    return Needs(
        mark=mark,
        code=code_digest(),
        dataset=space.dataset,
        settings=settings,
        content=plan.trials[0].trial.dataset_content if plan.trials else None,
    )


def check_nodes(needs: Needs) -> None:
    """See to it that the nodes that there are now can run the trials of a sweep.

    Raises:
        NodeError: they cannot; the text says which, and why.
    """
    answers = ask_nodes(training_nodes(), obstacles, needs)
    alive = {node.node_id for node in alive_nodes()}
    lines = [
        f"{answer.node}: {problem}"
        for answer in answers
        if answer.node.node_id in alive  # one that was lost meanwhile runs nothing
        for problem in ([answer.problem] if answer.problem else answer.value or [])
    ]
    if lines:
        raise NodeError("\n".join(["trials of this sweep cannot run everywhere", *lines]))


@contextmanager
def held_mark(study: Study) -> Iterator[Path]:
    """Keep a locked file in the working folder, for nodes to look at.

    One that does not see it works in another folder; one that can lock it does not see the locks of
    this node.
    """
    for left in study.path.glob(f"{MARK}*"):
        left.unlink(missing_ok=True)  # of a command that was killed
    lock = Lock(study.path.absolute() / f"{MARK}{uuid.uuid4().hex}")
    lock.take()
    try:
        yield lock.path
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()
