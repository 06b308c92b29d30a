"""Every service of the deployment refuses who has no password, key or token, and takes who has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.cluster.conftest import DASHBOARD, DASHBOARD_TLS, MLFLOW, MLFLOW_TLS, Lab

SUBMISSION = {"entrypoint": "touch /tmp/submitted"}
WRONG = "0" * 32

PG = """
import sys, pg8000.native
database = dict(host="postgres", database="mlflow", password=sys.argv[1] or None)
rows = pg8000.native.Connection("mlflow", **database).run("SELECT username, is_admin FROM users")
print(sorted(map(tuple, rows)))
"""
S3 = """
import sys, boto3
keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), sys.argv[1:], strict=True))
boto3.client("s3", endpoint_url="http://objects:8333", **keys).list_buckets()
"""
GRPC = """
import grpc, json, sys

calls, tokens = json.loads(sys.argv[1])
codes = []
for address, method in calls:
    with grpc.insecure_channel(address) as channel:
        for token in tokens:
            metadata = [("authorization", f"Bearer {token}")] if token else []
            try:
                channel.unary_unary(method)(b"", metadata=metadata, timeout=10)
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
            codes.append([[address, method], token, code])
print(json.dumps(codes))
"""


def get(lab: Lab, url: str, **more: Any) -> requests.Response:
    return requests.get(url, timeout=20, verify=str(lab.certificate), **more)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("server", [MLFLOW, MLFLOW_TLS])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/version",
        "/metrics",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/ajax-api/2.0/mlflow/users/current",
        "/graphql",
    ],
)
def test_mlflow_asks_for_a_password(lab: Lab, server: str, path: str) -> None:
    assert get(lab, server + path).status_code == 401
    assert get(lab, server + path, auth=("admin", WRONG)).status_code == 401


@pytest.mark.parametrize("server", [MLFLOW, MLFLOW_TLS])
def test_mlflow_takes_the_password(lab: Lab, server: str) -> None:
    search = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert get(lab, search, auth=lab.login).json()["experiments"]
    assert "<title>" in get(lab, server, auth=lab.login).text


@pytest.mark.parametrize("server", [MLFLOW, MLFLOW_TLS])
def test_mlflow_takes_nothing_without_a_password(lab: Lab, server: str) -> None:
    experiment, artifact = {"name": "intruder"}, "/api/2.0/mlflow-artifacts/artifacts/intruder.txt"
    for login, code in ((None, 401), (("admin", WRONG), 401)):
        create = requests.post(
            f"{server}/api/2.0/mlflow/experiments/create",
            json=experiment,
            auth=login,
            timeout=20,
            verify=str(lab.certificate),
        )
        upload = requests.put(
            server + artifact, data=b"x", auth=login, timeout=20, verify=str(lab.certificate)
        )
        assert (create.status_code, upload.status_code) == (code, code)


@pytest.mark.parametrize("server", [MLFLOW, MLFLOW_TLS])
def test_the_user_interface_of_mlflow_works(lab: Lab, server: str) -> None:
    """A browser sends the page's origin with a request of a script, and MLflow checks it."""
    search = f"{server}/ajax-api/2.0/mlflow/experiments/search"
    body = {"max_results": 1}
    codes = [
        requests.post(
            search,
            json=body,
            headers={"Origin": origin},
            auth=lab.login,
            timeout=20,
            verify=str(lab.certificate),
        ).status_code
        for origin in (server, "https://elsewhere.example")
    ]
    assert codes == [200, 403]


def test_mlflow_answers_no_other_name_than_its_own(lab: Lab) -> None:
    search = MLFLOW + "/api/2.0/mlflow/experiments/search?max_results=1"
    rebound = get(lab, search, headers={"Host": "evil.example"}, auth=lab.login)
    assert rebound.status_code == 403


@pytest.mark.parametrize("server", [MLFLOW, MLFLOW_TLS])
def test_health_is_open_and_says_nothing_else(lab: Lab, server: str) -> None:
    assert get(lab, server + "/health").text == "OK"


@pytest.mark.parametrize("server", [DASHBOARD, DASHBOARD_TLS])
@pytest.mark.parametrize(
    "path",
    [
        "/api/version",
        "/api/jobs/",
        "/nodes?view=summary",
        "/api/v0/actors",
        "/logs/",
        "/api/cluster_status",
    ],
)
def test_ray_asks_for_a_token(lab: Lab, server: str, path: str) -> None:
    assert get(lab, server + path).status_code == 401
    assert get(lab, server + path, headers=bearer(WRONG)).status_code == 403


@pytest.mark.parametrize("server", [DASHBOARD, DASHBOARD_TLS])
def test_ray_takes_the_token(lab: Lab, server: str) -> None:
    answer = get(lab, server + "/api/version", headers=bearer(lab.token))
    assert answer.json()["ray_version"]


@pytest.mark.parametrize("server", [DASHBOARD, DASHBOARD_TLS])
def test_ray_runs_nothing_without_a_token(lab: Lab, server: str) -> None:
    codes = [
        requests.post(
            server + "/api/jobs/",
            json=SUBMISSION,
            headers=headers,
            timeout=20,
            verify=str(lab.certificate),
        ).status_code
        for headers in ({}, bearer(WRONG))
    ]
    assert codes == [401, 403]
    assert get(lab, DASHBOARD + "/api/jobs/", headers=bearer(lab.token)).json() == []


def test_the_parts_of_ray_refuse_each_other_without_the_token(lab: Lab) -> None:
    """The control service, Ray Client's server, and what every node has: asked as Ray asks them."""
    answer = get(lab, DASHBOARD + "/nodes?view=summary", headers=bearer(lab.token)).json()
    nodes = [node["raylet"] for node in answer["data"]["summary"]]
    assert len(nodes) == 3
    calls = [
        ("ray-head:6379", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
        ("ray-head:10001", "/ray.rpc.RayletDriver/ClusterInfo"),
        *(
            (
                f"{node['nodeManagerAddress']}:{node['nodeManagerPort']}",
                "/ray.rpc.NodeManagerService/GetNodeStats",
            )
            for node in nodes
        ),
    ]
    worker, tokens = lab.cluster.of("worker-cpu")[0], ["", WRONG, lab.token]
    done = lab.cluster.run(worker, ["python", "-c", GRPC, json.dumps([calls, tokens])])
    codes = json.loads(done.stdout)
    assert len(codes) == 3 * len(calls)
    for call, token, code in codes:
        assert (code == "UNAUTHENTICATED") == (token != lab.token), (call, code)


def test_no_node_takes_a_job_without_the_token(lab: Lab) -> None:
    jobs = "http://worker-cpu-1:52365/api/job_agent/jobs/"
    codes = [
        lab.cluster.run(
            lab.cluster.one("ray-head"),
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *header, "-d", "{}", jobs],
        ).stdout
        for header in ([], ["-H", f"Authorization: Bearer {WRONG}"])
    ]
    assert codes == ["401", "403"]


def test_what_kubernetes_probes_is_open_and_says_nothing_else(lab: Lab) -> None:
    """The manifests name this path and port: a probe has no token."""
    for service in ("ray-head", "worker-cpu"):
        container = lab.cluster.of(service)[0]
        url = f"http://{container.address}:52365/api/healthz"
        done = lab.cluster.run(container, ["curl", "-s", "-w", " %{http_code}", url])
        assert done.stdout.endswith(" 200")
        assert len(done.stdout) < 100


def test_metrics_of_ray_show_no_secret(lab: Lab) -> None:
    """They are open to the cluster's network, and to nobody outside of it."""
    shown = []
    for service in ("ray-head", "worker-cpu"):
        for container in lab.cluster.of(service):
            for port in listening(container.pid, outward=True):
                url = f"http://{container.address}:{port}/metrics"
                words = ["curl", "-s", "--max-time", "5", url]
                shown.append(lab.cluster.run(container, words).stdout)
    assert any("ray_" in text for text in shown)
    assert not [secret for text in shown for secret in lab.secrets if secret in text]


@pytest.mark.parametrize("password", ["", WRONG])
def test_postgresql_asks_for_a_password(lab: Lab, password: str) -> None:
    done = lab.cluster.run(lab.cluster.one("mlflow"), ["python", "-c", PG, password])
    assert done.returncode == 1
    assert "password" in done.stderr


def test_mlflow_keeps_its_users_in_postgresql_and_one_is_the_sweeps(lab: Lab) -> None:
    """As its configuration says, not in a file of its container."""
    right = lab.variables["POSTGRES_PASSWORD"]
    done = lab.cluster.run(lab.cluster.one("mlflow"), ["python", "-c", PG, right])
    assert done.stdout == "[('admin', True), ('sweep', False)]\n", done.stderr


def test_the_user_of_the_sweeps_gets_its_password_again(lab: Lab) -> None:
    account = lab.cluster.one("mlflow-account")
    lab.cluster.start(account)
    lab.cluster.wait(account)
    search = f"{MLFLOW}/api/2.0/mlflow/experiments/search?max_results=1"
    assert get(lab, search, auth=lab.login).status_code == 200


def test_no_job_has_the_administrators_password(lab: Lab) -> None:
    for service in ("ray-head", "worker-cpu"):
        for container in lab.cluster.of(service):
            done = lab.cluster.run(container, ["env"])
            assert lab.login[1] in done.stdout
            assert lab.variables["MLFLOW_ADMIN_PASSWORD"] not in done.stdout


def test_a_job_reads_data_sets_and_only_fetching_writes_them(lab: Lab) -> None:
    assert lab.cluster.run_once("fetch", ["touch", "/data/fetched"]) == 0
    for service in ("ray-head", "worker-cpu"):
        for container in lab.cluster.of(service):
            assert lab.cluster.run(container, ["ls", "/data"]).stdout == "fetched\n"
            done = lab.cluster.run(container, ["touch", "/data/fetched"])
            assert "Read-only file system" in done.stderr


def test_the_object_store_asks_for_keys(lab: Lab) -> None:
    mlflow = lab.cluster.one("mlflow")
    anonymous = lab.cluster.run(
        mlflow, ["curl", "--silent", "--write-out", "%{http_code}", "http://objects:8333/mlflow"]
    )
    assert anonymous.stdout.endswith("403")
    key, secret = lab.variables["S3_ACCESS_KEY"], lab.variables["S3_SECRET_KEY"]
    for keys, code in (((key, WRONG), 1), ((WRONG, secret), 1), ((key, secret), 0)):
        done = lab.cluster.run(mlflow, ["python", "-c", S3, *keys])
        assert done.returncode == code, done.stderr


def test_trials_reach_neither_the_database_nor_the_object_store(lab: Lab) -> None:
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    worker = lab.cluster.of("worker-cpu")[0]
    for service, port in (("postgres", 5432), ("objects", 8333)):
        for host in (service, lab.cluster.one(service).address):
            done = lab.cluster.run(worker, ["python", "-c", code, host, str(port)])
            assert done.returncode == 1


def test_the_lab_reaches_published_ports_alone(lab: Lab) -> None:
    """Seen from a laptop: what listens in each container, and what of that it can connect to."""
    code = """
import json, socket, sys
reached = []
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 1).close()
        reached.append([host, port])
    except OSError:
        pass
print(json.dumps(reached))
"""
    inside = [
        [container.address, port]
        for container in lab.cluster.containers.values()
        if container.running
        for port in listening(container.pid)
    ]
    assert len(inside) > 10
    tried = [*inside, [MLFLOW.split("/")[2].split(":")[0], 5000]]
    done = lab.cluster.run_outside(["python", "-c", code, json.dumps(tried)], {})
    assert json.loads(done.stdout) == tried[-1:], done.stderr


def test_the_object_store_listens_to_the_network_for_s3_alone(lab: Lab) -> None:
    assert listening(lab.cluster.one("objects").pid, outward=True) == [8333, 18333]


def test_no_process_shows_a_secret_in_its_command_line(lab: Lab) -> None:
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    assert any("--app-name=basic-auth" in line for line in lines)
    assert not [line for line in lines for secret in lab.secrets if secret in line]


def test_no_log_shows_a_secret(lab: Lab) -> None:
    logs = {name: one.log.read_text() for name, one in lab.cluster.containers.items()}
    assert "Uvicorn running" in logs["mlflow-1"]
    names = {lab.variables["S3_ACCESS_KEY"]}  # a name that is told, the secret is the other one
    hidden = set(lab.secrets) - names
    shown = {name for name, text in logs.items() for secret in hidden if secret in text}
    assert shown == set()


def test_no_process_of_a_container_has_privileges(lab: Lab) -> None:
    for container in filter(lambda one: one.running, lab.cluster.containers.values()):
        for process in [
            psutil.Process(container.pid),
            *psutil.Process(container.pid).children(True),
        ]:
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert int(status["Uid"].split()[0]) != 0
            assert int(status["CapBnd"], 16) == 0
            assert status["NoNewPrivs"] == "1"


def listening(pid: int, *, outward: bool = False) -> list[int]:
    """Return the TCP ports of a container; ``outward``, those that are not on loopback alone."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, port = local.split(":")
            loopback = address.endswith("0100007F")
            if state == "0A" and not (outward and loopback):
                found.add(int(port, 16))
    return sorted(found)
