"""What is to be said of a Ray cluster as a whole, from a node of it or from outside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sweep.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from sweep.orchestration.cluster import Cluster
    from sweep.orchestration.connect import AttachedCluster
    from sweep.spec.schema import Space

OPEN_REMEDY = (
    "start every node with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN: without, all who reach a "
    "port of Ray can run any program there"
)
LOG_REMEDY = "look at the job in the dashboard, and at the log of the head"


def cluster_findings(cluster: AttachedCluster) -> Iterator[Finding]:
    """Yield what is to be said of a cluster that this process is connected to."""
    from sweep.orchestration.cluster import is_open

    yield from dead_findings(cluster)
    if cluster.dashboard:
        try:
            if is_open(f"http://{cluster.dashboard}"):
                yield warning("token authentication is off", OPEN_REMEDY)
        except OSError:
            pass  # a node need not reach the head's dashboard
    elif os.environ.get("RAY_AUTH_MODE") != "token":
        yield warning("token authentication seems to be off here", OPEN_REMEDY)
    count = len(cluster.alive)
    cpus, gpus = sum(n.cpus for n in cluster.alive), sum(n.gpus for n in cluster.alive)
    yield ok(
        f"Ray {metadata.version('ray')} at {cluster.address}: {count} node{'s' * (count != 1)}, "
        f"{cpus:g} CPU cores, {gpus:g} GPUs"
    )


def dead_findings(cluster: AttachedCluster) -> Iterator[Finding]:
    """Yield which nodes died and did not come back.

    One whose address lives again was restarted, and is not worth a word.
    """
    alive = {node.address for node in cluster.alive}
    for node in dict.fromkeys(str(n) for n in cluster.dead if n.address not in alive):
        yield warning(
            "it has died, or was taken away",
            "start it again if it is missed: its trials go on elsewhere",
            node,
        )


def outside_findings(cluster: Cluster) -> Iterator[Finding]:
    """Yield what is to be said of a cluster that is reached by its dashboard."""
    from sweep.orchestration.cluster import is_open

    ours = metadata.version("ray")
    if cluster.version != ours:
        yield warning(
            f"the cluster has Ray {cluster.version}, here is {ours}",
            f"install ray=={cluster.version} here; submitting mostly works all the same",
        )
    if is_open(cluster.address):
        yield warning("token authentication is off", OPEN_REMEDY)
    elif _is_open_wire(cluster.address):
        yield warning(
            "the token goes over the network in clear text",
            "use https:// by way of a reverse proxy, or SSH: ssh -L 8265:localhost:8265 HEAD",
        )
    yield ok(f"the Ray {cluster.version} at {cluster.address} lets us in")


def remote_findings(cluster: Cluster, space: Space | None) -> Iterator[Finding]:
    """Yield what the doctor finds on the cluster itself, where it runs as a job on the head.

    Args:
        cluster: to look at.
        space: that is sent, and looked at there; or None.
    """
    from sweep.orchestration.cluster import ClusterError, errors_of
    from sweep.orchestration.packed import SPACE_FILE
    from sweep.orchestration.submit import run_remotely

    command = ["doctor", "--address", "auto", "--json"]
    if space is not None:
        command += ["--", SPACE_FILE, *space.document.texts]
    try:
        output, code = run_remotely(cluster, command, space)
    except ClusterError as error:
        yield problem(f"the doctor could not run there: {error.text}", error.remedy or LOG_REMEDY)
        return
    try:
        yield from reported(output)
    except ValueError:
        said = errors_of(output) or output.strip().splitlines()[-1:] or ["it printed nothing"]
        yield problem(f"the doctor ended with {code} there: {said[-1]}", LOG_REMEDY)


def reported(output: str) -> list[Finding]:
    """Return the findings that a doctor printed as JSON.

    Raises:
        ValueError: it printed none.
    """
    _, bracket, rest = f"\n{output}".partition(
        "\n[\n"
    )  # before it, Ray may have had to say something
    findings, _ = json.JSONDecoder().raw_decode(bracket.strip() + rest)
    try:
        return [Finding(**{**one, "nodes": tuple(one["nodes"])}) for one in findings]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no findings: {error}") from None


def _is_open_wire(address: str) -> bool:
    """Tell whether what is sent to an address can be read on the way."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and not local
