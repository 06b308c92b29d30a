"""Seeing to it that the nodes of a joined Ray cluster can run the trials of a sweep."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweep.durable import write_text
from sweep.errors import UserError
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


def dataset_on_nodes(study: Study, space: Space, plan: Plan) -> str | None:
    """Return the folder of the data set on every node; None if each looks for it by itself.

    Raises:
        NodeError: nodes cannot run the trials; the text says which, and why.
    """
    settings = dict(space.dataset_settings)
    if settings.get("root") and not is_confined():
        settings["root"] = str(Path(str(settings["root"])).expanduser().absolute())
    with _mark(study) as mark:
        needs = Needs(
            mark=mark,
            code=code_digest(),
            dataset=space.dataset,
            settings=settings,
            content=plan.trials[0].trial.dataset_content if plan.trials else None,
        )
        nodes = training_nodes()
        _check(nodes, needs)
    return settings.get("root")


def _check(nodes: Sequence[Node], needs: Needs) -> None:
    answers = ask_nodes(nodes, obstacles, needs)
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
def _mark(study: Study) -> Iterator[Path]:
    """Put a file into the working folder that nodes look for: it may not be the same one there."""
    path = study.path.absolute() / f"node-check-{uuid.uuid4().hex}"
    write_text(path, "")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
