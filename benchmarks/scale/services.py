"""A real MLflow server on a real PostgreSQL, for as long as they are measured."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

import pg8000.native
import psutil
import requests

from sweep.tracking.account import USER, ensure_account

POSTGRES = Path("/usr/lib/postgresql/15/bin")
"""Where Debian puts it."""
ACCOUNTS = ["--app-name=basic-auth"]
WORKERS = ["--workers=4"]
DEPLOYED = "as deployed"
SERVERS = {
    DEPLOYED: [*ACCOUNTS, *WORKERS],
    "no accounts": WORKERS,
    "no uvloop": [*ACCOUNTS, *WORKERS, "--uvicorn-opts=--loop asyncio"],
}
"""What serves MLflow: as docker-compose.yml starts it, without accounts, and on Python's own event
loop in the place of uvloop."""
ADMIN = "admin"
AUTH = {"default_permission": "READ", "auth_cache_ttl_seconds": "30"}
"""As in docker-compose.yml, but for where the accounts are."""
START_SECONDS = 120.0
IDLE = 0.05
"""CPU seconds in a second, under which the server has come up and imported MLflow everywhere."""


@dataclass
class Spent:
    """What some deliveries took, summed."""

    seconds: float = 0.0
    requests: int = 0
    statements: int = 0
    transactions: int = 0
    server_cpu: float = 0.0
    """Seconds, of all processes of the MLflow server."""
    postgres_cpu: float = 0.0


@dataclass
class Services:
    """Both services, and what can be seen of them from outside."""

    uri: str
    database: pg8000.native.Connection
    server: psutil.Process
    postgres: psutil.Process

    def settle(self) -> None:
        """Wait until the server has nothing left to do, three seconds in a row."""
        idle, deadline = 0, time.monotonic() + START_SECONDS
        while idle < 3 and time.monotonic() < deadline:
            before = _cpu(self.server)
            time.sleep(1.0)
            idle = idle + 1 if _cpu(self.server) - before < IDLE else 0

    @contextmanager
    def metered(self) -> Iterator[Spent]:
        """Meter what this process asks of the server while the context is open."""
        spent, send = Spent(), requests.Session.request

        def counted(session: Any, method: str, url: str, **named: Any) -> Any:
            spent.requests += 1
            return send(session, method, url, **named)

        self.database.run("SELECT pg_stat_statements_reset()")
        server, postgres = _cpu(self.server), _cpu(self.postgres)
        started = time.perf_counter()
        requests.Session.request = counted  # type: ignore[assignment,method-assign]
        try:
            yield spent
        finally:
            requests.Session.request = send  # type: ignore[method-assign]
        spent.seconds = time.perf_counter() - started
        spent.server_cpu = _cpu(self.server) - server
        spent.postgres_cpu = _cpu(self.postgres) - postgres
        calls = self.database.run("SELECT query, calls FROM pg_stat_statements")
        spent.statements = sum(n for query, n in calls if "pg_stat_statements" not in query)
        spent.transactions = sum(n for query, n in calls if query.upper() == "COMMIT")


@contextmanager
def services(kind: str) -> Iterator[Services]:
    """Start PostgreSQL, and MLflow on it (see ``SERVERS``), in a folder of their own."""
    with ExitStack() as stack:
        folder = Path(mkdtemp(prefix="sweep-scale-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        data = folder / "postgres"
        data.mkdir()
        if user:
            shutil.chown(data, user)

        def run(command: list[str], log: str, **more: Any) -> psutil.Process:
            output = stack.enter_context((folder / log).open("wb"))
            process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, **more
            )
            stack.callback(_end, process)
            return psutil.Process(process.pid)

        subprocess.run(
            [POSTGRES / "initdb", "-D", data / "db", "-U", "postgres", "-A", "trust"],
            check=True,
            user=user,
            stdout=subprocess.DEVNULL,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": data,
            "shared_preload_libraries": "pg_stat_statements",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        postgres = run([POSTGRES / "postgres", "-D", data / "db", *options], "db.log", user=user)
        at = data / ".s.PGSQL.5432"
        database = _wait(lambda: pg8000.native.Connection("postgres", unix_sock=str(at)))
        stack.callback(database.close)
        database.run("CREATE EXTENSION pg_stat_statements")
        store = f"postgresql+pg8000://postgres@/postgres?unix_sock={at}"
        auth = folder / "auth.ini"
        auth.write_text(auth_ini(store), encoding="utf-8")
        admin, password = token_hex(24), token_hex(24)
        port = _free_port()
        server = run(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), *SERVERS[kind],
             "--backend-store-uri", store, "--serve-artifacts",
             "--artifacts-destination", str(folder / "artifacts")],
            "mlflow.log",
            env={**os.environ, **_settings(auth, admin)},
        )  # fmt: skip
        uri = f"http://127.0.0.1:{port}"
        _wait(lambda: requests.get(f"{uri}/health", timeout=5).raise_for_status())
        if ACCOUNTS[0] in SERVERS[kind]:
            with _as_user(ADMIN, admin):
                ensure_account(uri, password)
            stack.enter_context(_as_user(USER, password))
        running = Services(uri, database, server, postgres)
        running.settle()
        yield running


def auth_ini(store: str) -> str:
    """Return MLflow's settings of accounts that are kept in the same database as its runs."""
    settings = {"database_uri": store, **AUTH}
    return "\n".join(["[mlflow]", *(f"{key} = {value}" for key, value in settings.items())])


def _settings(auth: Path, password: str) -> dict[str, str]:
    """Return what MLflow is told in its environment: of accounts, and not to do more than serve."""
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": token_hex(32),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@contextmanager
def _as_user(name: str, password: str) -> Iterator[None]:
    """Have clients of MLflow in this process log in."""
    login = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    with patch.dict(os.environ, login):
        yield


def _wait(attempt: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return attempt()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _end(process: subprocess.Popen[bytes]) -> None:
    own = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for one in own:
            with suppress(psutil.NoSuchProcess):
                end(one)
        own = psutil.wait_procs(own, timeout=10)[1]
    process.wait()


def _cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of those that it started, ended ones included."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
