"""The nodes of the Ray cluster that this process is connected to, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

T = TypeVar("T")

ANSWER_SECONDS = 120.0
"""How long nodes may take; most of it is the import of torch in a new process."""


@dataclass(frozen=True)
class Node:
    """A machine or container of a cluster that lives."""

    node_id: str
    """Ray's."""
    host: str
    address: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"node {self.host} ({self.address})"


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a node said: a value, or why there is none."""

    node: Node
    value: T | None = None
    problem: str = ""


def alive_nodes() -> list[Node]:
    """Return the nodes that Ray knows to live, in the order of their addresses."""
    return _nodes(alive=True)


def dead_nodes() -> list[Node]:
    """Return the nodes that were there, and that Ray has given up; it keeps some hundred."""
    return _nodes(alive=False)


def ask_nodes(
    nodes: Iterable[Node],
    question: Callable[..., T],
    *arguments: object,
    seconds: float = ANSWER_SECONDS,
) -> list[Answer[T]]:
    """Run a function once on each of these nodes, all at the same time.

    It takes no CPU and no GPU, so that it runs beside trials.

    Args:
        nodes: to ask.
        question: a function of a module that every node can import.
        arguments: of the function.
        seconds: to wait for all of them.
    """
    asked = {
        node: ray.remote(num_cpus=0, max_retries=0)(question)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False))
        .remote(*arguments)
        for node in nodes
    }
    if not asked:
        return []
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    return [_answer(node, reference) for node, reference in asked.items()]


def _answer(node: Node, reference: ray.ObjectRef[T]) -> Answer[T]:
    try:
        return Answer(node, ray.get(reference, timeout=0))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        return Answer(node, problem="it does not answer")
    except ray.exceptions.RayTaskError as error:
        return Answer(node, problem=f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        return Answer(node, problem=str(error).splitlines()[0])


def _nodes(*, alive: bool) -> list[Node]:
    records = ray.nodes()  # type: ignore[no-untyped-call]
    found = [_node(record) for record in records if record["Alive"] is alive]
    return sorted(found, key=lambda node: (node.address, node.node_id))


def _node(record: Mapping[str, object]) -> Node:
    resources = record["Resources"]
    assert isinstance(resources, Mapping)
    return Node(
        node_id=str(record["NodeID"]),
        host=str(record["NodeManagerHostname"]),
        address=str(record["NodeManagerAddress"]),
        cpus=float(resources.get("CPU", 0.0)),
        gpus=float(resources.get("GPU", 0.0)),
    )
