"""Joining a Ray cluster, and seeing to it that its nodes can run the trials of a sweep."""

from __future__ import annotations

import logging
import resource
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from sweep.durable import write_text
from sweep.errors import UserError, first_line
from sweep.orchestration.cluster import ClusterError
from sweep.orchestration.machine import Needs, code_digest, obstacles
from sweep.orchestration.nodes import Node, alive_nodes, ask_nodes
from sweep.orchestration.resources import NoRoomError
from sweep.plan import Plan
from sweep.spec.confined import is_confined
from sweep.spec.schema import Space
from sweep.study import Study

CONNECT_SECONDS = 5.0
NODE_SECONDS = 60.0
"""How long a cluster may have no node that runs trials, as one that was just started."""


class NodeError(UserError, RuntimeError):
    """Nodes of a cluster cannot run the trials of a sweep."""


def join(address: str) -> None:
    """Connect this process to a Ray cluster that this machine belongs to.

    Args:
        address: "auto" for the one that runs here, or host and port of its head.

    Raises:
        ClusterError: there is none, or it refuses.
    """
    if address != "auto" and not answers(*address.rsplit(":", 1)):  # Ray would try for minutes
        raise ClusterError(f"--address {address}: nothing answers there")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # every trial that runs is a lock
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a dozen kinds, some of them bare RuntimeErrors
        raise ClusterError(
            f"--address {address}: cannot join a Ray cluster there: {first_line(error)}"
        ) from None


def answers(host: str, port: int | str) -> bool:
    """Tell whether something listens at an address."""
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


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
