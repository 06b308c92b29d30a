"""Being connected to a Ray cluster, and what it is."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # reads the settings above when it is imported

from sweep.errors import UserError, first_line
from sweep.orchestration.nodes import Node, alive_nodes, dead_nodes

REACH_SECONDS = 5.0
TRY_SECONDS = 25.0
"""Ray itself goes on for 20 s with a token that is not accepted."""
TRY = (
    "import logging, sys, ray\n"
    "ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)\n"
)
RESTART = "start Ray anew on every node, from one image"
TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's"


class ConnectionFailedError(UserError, ConnectionError):
    """A cluster cannot be connected to; with what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


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
        ConnectionFailedError: it cannot be connected to, or not be started.
    """
    if address is not None:
        if address != "auto":
            _reach(address)
        _try(address)
    try:
        context = ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray has no class of its own for most of it
        ray.shutdown()
        raise _failed(address, error) from error
    try:
        yield AttachedCluster(
            address=str(ray.get_runtime_context().gcs_address),
            dashboard=str(context.dashboard_url or ""),
            alive=tuple(alive_nodes()),
            dead=tuple(dead_nodes()),
        )
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Connect to a cluster's port, and no more: Ray would try for half a minute.

    Raises:
        UserError: it is no address.
        ConnectionFailedError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f"--address {address}: 'auto', HOST:PORT of a Ray head (mostly 6379), or the address "
            "of its dashboard (http://HOST:8265)"
        )
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionFailedError(
            f"no Ray answers at {address}: {error}",
            "see that the head runs (`ray status` there) and that its port can be reached; from "
            "outside, use the dashboard's address (http://HOST:8265)",
        ) from None


def _try(address: str) -> None:
    """Connect in a process of its own: where no cluster answers, Ray tries for ever, and tells.

    Raises:
        ConnectionFailedError: it does not come to an end, or is not let in.
    """
    command = [sys.executable, "-c", TRY, address]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TRY_SECONDS)
        said, why = ended.stdout + ended.stderr, "it does not answer as one"
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
        why = f"it does not answer within {TRY_SECONDS:g} s"
    else:
        if ended.returncode == 0:
            return
    if "InvalidAuthToken" in said or "Unauthenticated" in said:
        raise ConnectionFailedError(f"the Ray at {address} does not accept the token", TOKEN)
    last = said.strip().splitlines()[-1:]
    if last and ("Error: " in last[0] or "ersion mismatch" in said):
        raise _failed(address, RuntimeError(last[0].partition("Error: ")[2] or said))
    remedy = "see that its head runs, and that the address is the one of `ray status` there"
    raise ConnectionFailedError(f"no Ray cluster at {address}: {why}", remedy)


def _failed(address: str | None, error: Exception) -> ConnectionFailedError:
    text, first = str(error), first_line(error)
    if address is None:
        return ConnectionFailedError(
            f"Ray cannot be started here: {first}",
            "see the log in /tmp/ray/session_latest/logs; TMPDIR must be short, and writable",
        )
    if "ersion mismatch" in text:
        return ConnectionFailedError(" ".join(text.split())[:200], RESTART)
    if isinstance(error, ray.exceptions.AuthenticationError) or "uthenticat" in text:
        return ConnectionFailedError(
            f"the Ray at {address} does not let us in: {first.partition('. ')[0]}", TOKEN
        )
    if address == "auto":
        return ConnectionFailedError(
            f"this machine is no node of a Ray cluster: {first}",
            "run this on a node, or name the head: --address HOST:6379 or http://HOST:8265",
        )
    return ConnectionFailedError(f"Ray at {address} cannot be connected to: {first}", RESTART)
