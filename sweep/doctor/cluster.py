"""What is to be said of a Ray cluster as a whole, from a node of it or from outside."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from sweep.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from sweep.orchestration.connect import AttachedCluster

SECONDS = 5.0
VERSION_PATH = "/api/version"
OPEN_REMEDY = (
    "start every node with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN: without, all who reach a "
    "port of Ray can run any program there"
)
TOKEN_REMEDY = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's"
)
REACH_REMEDY = (
    "see that the head runs, that the address is its dashboard's (http://HOST:8265), and that no "
    "firewall is between; through SSH: ssh -L 8265:localhost:8265 HEAD"
)


@dataclass(frozen=True)
class Reply:
    """What a Ray dashboard answers when it is asked for its version."""

    status: int
    version: str
    """Of Ray; empty if it does not say."""


def cluster_findings(cluster: AttachedCluster) -> Iterator[Finding]:
    """Yield what is to be said of a cluster that this process is connected to."""
    yield from dead_findings(cluster)
    if cluster.dashboard:
        try:
            if ask_version(f"http://{cluster.dashboard}", "").status == 200:
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


def outside_findings(address: str) -> Iterator[Finding]:
    """Yield what is to be said of a cluster that is reached by its dashboard alone.

    Args:
        address: http(s)://HOST:PORT.
    """
    token = own_token()
    try:
        reply = ask_version(address, token)
        unasked = ask_version(address, "") if token and reply.status == 200 else reply
    except OSError as error:
        yield problem(f"no Ray answers at {address}: {_reason(error)}", REACH_REMEDY)
        return
    if reply.status in (401, 403):
        what = "does not accept the token" if token else "asks for a token"
        yield problem(f"the Ray at {address} {what} ({reply.status})", TOKEN_REMEDY)
        return
    if reply.status != 200 or not reply.version:
        yield problem(f"{address} answers, but not as Ray's dashboard does", REACH_REMEDY)
        return
    ours = metadata.version("ray")
    if reply.version != ours:
        yield warning(
            f"the cluster has Ray {reply.version}, here is {ours}",
            f"install ray=={reply.version} here; submitting mostly works all the same",
        )
    if unasked.status == 200:
        yield warning("token authentication is off", OPEN_REMEDY)
    elif _is_open_wire(address):
        yield warning(
            "the token goes over the network in clear text",
            "use https:// by way of a reverse proxy, or SSH: ssh -L 8265:localhost:8265 HEAD",
        )
    yield ok(f"the Ray {reply.version} at {address} lets us in")


def ask_version(address: str, token: str) -> Reply:
    """Ask a Ray dashboard for its version.

    Raises:
        OSError: it does not answer.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = Request(address.rstrip("/") + VERSION_PATH, headers=headers)
        with urlopen(request, timeout=SECONDS) as answer:
            said = json.loads(answer.read())
            return Reply(int(answer.status), str(said.get("ray_version", "")))
    except HTTPError as error:
        return Reply(error.code, "")
    except (AttributeError, json.JSONDecodeError):
        return Reply(200, "")
    except (HTTPException, UnicodeDecodeError) as error:
        raise OSError(f"what answers does not speak HTTP: {error}") from None


def own_token() -> str:
    """Return the token that Ray would use here; empty if there is none, or it is switched off."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _is_open_wire(address: str) -> bool:
    """Tell whether what is sent to an address can be read on the way."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and not local


def _reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLError):
        return f"TLS: {reason.reason or reason}"
    if isinstance(reason, socket.gaierror):
        return "no machine is known by that name here"
    if isinstance(reason, ConnectionRefusedError):
        return "nobody listens there"
    return str(reason)
