"""What the doctor examines: a machine or a cluster, a working folder, and maybe a search space.

A check is a function that is registered in a file of ``sweep/doctor/checks``, and returns findings.
What it wants to know of a machine it asks by ``Site.ask``: of this process, or of a process on
every node of a cluster, so that one function answers everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from sweep.doctor.finding import Finding, merged, problem
from sweep.errors import UserError, first_line
from sweep.registry import Registry

if TYPE_CHECKING:
    from sweep.orchestration.connect import AttachedCluster
    from sweep.orchestration.nodes import Node
    from sweep.spec.schema import Space

T = TypeVar("T")

NODE_SECONDS = 60.0
"""How long nodes may take for one question."""


@dataclass(frozen=True)
class Told(Generic[T]):
    """What a machine answered."""

    node: str
    """As findings name it; empty if it is this machine, and there is no cluster."""
    value: T


@dataclass
class Site:
    """What is examined."""

    folder: Path
    """The working folder."""
    uri: str
    """Of the MLflow store."""
    space: Space | None = None
    cluster: AttachedCluster | None = None
    """None: this machine alone."""
    silent: list[Finding] = field(default_factory=list)
    """Of nodes that did not answer the last question."""
    _lost: set[Node] = field(default_factory=set)

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that answer; none if there is no cluster."""
        alive = self.cluster.alive if self.cluster else ()
        return [node for node in alive if node not in self._lost]

    def ask(self, question: Callable[..., T], *arguments: object) -> list[Told[T]]:
        """Return what this machine answers, or every node of the cluster.

        A node that does not answer is in ``silent``, and is not asked again.
        """
        if self.cluster is None:
            return [Told("", question(*arguments))]
        from sweep.orchestration.nodes import ask_nodes

        told: list[Told[T]] = []
        for answer in ask_nodes(self.nodes, question, *arguments, seconds=NODE_SECONDS):
            if answer.problem:
                self._lost.add(answer.node)
                remedy = (
                    "look at `ray status` and at the log of the node; it needs the same image, "
                    "with this code"
                )
                text = f"it cannot be examined: {answer.problem}"
                self.silent.append(problem(text, remedy, str(answer.node)))
            else:
                assert answer.value is not None
                told.append(Told(str(answer.node), answer.value))
        return told


@dataclass(frozen=True)
class Check:
    """A check, as it is registered."""

    name: str
    seconds: float
    """That it takes about; quick ones come first."""
    look: Callable[[Site], Iterable[Finding]]


CHECKS: Registry[Check] = Registry("check", "sweep.doctor.checks")


def check(
    name: str, *, seconds: float
) -> Callable[[Callable[[Site], Iterable[Finding]]], Callable[[Site], Iterable[Finding]]]:
    """Return a decorator that registers a check.

    Args:
        name: as it is printed.
        seconds: that it takes about.
    """

    def enter(
        look: Callable[[Site], Iterable[Finding]],
    ) -> Callable[[Site], Iterable[Finding]]:
        CHECKS.register(name)(Check(name, seconds, look))
        return look

    return enter


def examine(site: Site) -> Iterator[Finding]:
    """Yield what every check finds, the quick ones first, each as soon as it is done."""
    checks = [CHECKS[name] for name in CHECKS.names()]
    for one in sorted(checks, key=lambda one: one.seconds):
        for finding in merged([*_findings(one, site), *site.silent]):
            yield replace(finding, check=one.name)
        site.silent.clear()


def _findings(one: Check, site: Site) -> list[Finding]:
    """Return what a check finds; whatever it fails of is a finding too: the others go on."""
    try:
        return list(one.look(site))
    except UserError as error:
        return [problem(first_line(error), "mend what it names, and look again")]
    except Exception as error:
        text = f"it could not be looked at: {type(error).__name__}: {first_line(error)}"
        return [problem(text, "report this: the check itself failed")]
