"""Connecting to a Ray cluster, and what it is.

Ray goes on trying for a minute, or for ten, where nobody answers, where an address is left of a
cluster that is gone, with a token that is not accepted, and on a machine that is no node of the
cluster. So its control service is asked first: it answers within some hundredths of a second.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import grpc  # type: ignore[import-untyped]
import ray  # reads the settings above when it is imported
from ray._private import services
from ray._private.gcs_utils import create_gcs_channel
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from sweep.errors import first_line
from sweep.orchestration.cluster import MODE, TOKEN_REMEDY, ClusterError, own_token
from sweep.orchestration.nodes import Node, alive_nodes, dead_nodes

ADDRESS = "RAY_ADDRESS"
"""Variable that says what "auto" stands for."""
CONNECT_SECONDS = 5.0
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
START = "look whether the head runs (`ray status` there), and whether its port can be reached"
OUTSIDE = (
    "run this on a node; from outside, `sweep submit` and `sweep doctor` take the address of the "
    "dashboard (--address http://HEAD:8265)"
)
FORM = (
    "write it like head:6379; from outside, `sweep submit` and `sweep doctor` take the address of "
    "the dashboard, like http://head:8265"
)
RESTART = "start Ray anew on every node, from one image"


@dataclass(frozen=True)
class AttachedCluster:
    """A Ray cluster that this process is connected to."""

    address: str
    """Of its control service: HOST:PORT."""
    dashboard: str
    """HOST:PORT of its HTTP interface; empty if it has none."""
    alive: tuple[Node, ...]
    dead: tuple[Node, ...]
    """Nodes that were there, and are not any more."""


@contextmanager
def connected(address: str | None) -> Iterator[AttachedCluster]:
    """Be connected to a Ray cluster while the context is open.

    Args:
        address: "auto" (the cluster that this machine is a node of) or HOST:PORT; None starts one
            on this machine for as long.

    Raises:
        ClusterError: it cannot be connected to, or not be started.
    """
    dashboard = _start() if address is None else join(address)
    try:
        yield AttachedCluster(
            address=str(ray.get_runtime_context().gcs_address),
            dashboard=dashboard,
            alive=tuple(alive_nodes()),
            dead=tuple(dead_nodes()),
        )
    finally:
        ray.shutdown()


def join(address: str) -> str:
    """Connect this process to a Ray cluster that this machine belongs to.

    Args:
        address: "auto" for the one that runs here, or host and port of its head.

    Returns:
        HOST:PORT of its dashboard; empty if it has none.

    Raises:
        ClusterError: there is none, or it refuses.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    _check(address, _meant(address))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # every trial that runs is a lock
    try:
        context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a dozen kinds, some of them bare RuntimeErrors
        ray.shutdown()
        said = " ".join(str(error).split()) if "ersion mismatch" in str(error) else ""
        raise ClusterError(
            f"--address {address}: the cluster cannot be joined: {said or first_line(error)}",
            RESTART,
        ) from None
    return str(context.dashboard_url or "")


def answers(host: str, port: int | str) -> bool:
    """Tell whether something listens at an address, or this process cannot find out.

    It cannot while it has no file descriptor left, say, which tells nothing of the other side.
    """
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (ConnectionError, TimeoutError, socket.gaierror):
        return False
    except OSError as error:
        return error.errno not in UNREACHABLE
    return True


def start_alone() -> str:
    """Start a Ray cluster of this machine alone; return HOST:PORT of its dashboard, if it has one.

    Raises:
        Exception: it cannot be started; Ray has no class of its own for it.
    """
    context = ray.init(
        address="local",  # never one that happens to run here
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return str(context.dashboard_url or "")


def _start() -> str:
    try:
        return start_alone()
    except Exception as error:  # Ray has no class of its own for it
        ray.shutdown()
        raise ClusterError(
            f"Ray cannot be started here: {first_line(error)}",
            "see that TMPDIR and RAY_TMPDIR, where set, name a short path that can be written; "
            "Ray's own log is in /tmp/ray/session_latest/logs",
        ) from None


def _meant(address: str) -> str:
    """Return the host and port that an address stands for, which "auto" is where Ray finds it.

    Raises:
        ClusterError: "auto" stands for nothing here, or it is no address.
    """
    try:
        found = services.canonicalize_bootstrap_address(address)
    except Exception:  # nothing runs here, or it is of no form that Ray knows
        found = None
    if found is None and address == "auto" and not os.environ.get(ADDRESS):
        raise ClusterError("--address auto: no Ray runs on this machine", OUTSIDE)
    host, _, port = (found or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        by = f" ({ADDRESS}={os.environ[ADDRESS]})" if address == "auto" else ""
        what = "is neither auto nor HOST:PORT of a cluster's head"
        raise ClusterError(f"--address {address}{by}: {what}", FORM)
    return str(found)


def _check(address: str, place: str) -> None:
    """Look whether a cluster answers, lets this process in, and has this machine as a node.

    Args:
        address: as it was given, for the message.
        place: its host and port.

    Raises:
        ClusterError: it does not.
    """
    environment = os.environ.get(ADDRESS) if address == "auto" else None
    source = f"{ADDRESS}={environment}" if environment else f"--address {address}"
    named = place if address == place else f"{place} ({source})"
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        left = address == "auto" and not environment
        gone = "; its address is left of a cluster that is gone" if left else ""
        why = error.strerror or str(error)
        raise ClusterError(f"no Ray answers at {named}: {why}{gone}", START) from None
    # Where it is not told to show a token, Ray does so with "auto" alone.
    token = own_token() if address == "auto" or os.environ.get(MODE) else ""
    shown = () if os.environ.get(MODE) or not token else (("authorization", f"Bearer {token}"),)
    try:
        with create_gcs_channel(place) as channel:
            service = NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
            nodes = service.GetAllNodeInfo(
                GetAllNodeInfoRequest(state_filter=GcsNodeInfo.ALIVE),
                timeout=CONNECT_SECONDS,
                metadata=shown,
            ).node_info_list
    except grpc.RpcError as error:
        raise _refused(named, error, token=bool(token)) from None
    except Exception as error:  # of the certificates that RAY_TLS_... name
        raise ClusterError(f"Ray at {named} cannot be asked: {first_line(error)}") from None
    here = services.find_node_ids()  # type: ignore[no-untyped-call]
    if not here & {node.node_id.hex() for node in nodes}:
        raise ClusterError(f"this machine is no node of the Ray cluster at {named}", OUTSIDE)


def _refused(named: str, error: grpc.RpcError, *, token: bool) -> ClusterError:
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        what = "does not accept the token" if token else "asks for a token"
        return ClusterError(f"the Ray at {named} {what}", TOKEN_REMEDY)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClusterError(
            f"what listens at {named} does not answer within {CONNECT_SECONDS:g} s", START
        )
    return ClusterError(
        f"what listens at {named} is no control service of Ray",
        "name the port of `ray start --head` (6379, if it was not given another)",
    )
