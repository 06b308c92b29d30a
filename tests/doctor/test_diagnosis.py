"""The whole examination: of clusters that cannot be reached, that differ, and of a real one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from ray._private import services
from ray.cluster_utils import Cluster
from spec.spaces import call, text_of

from sweep.doctor.checks import tracking, versions
from sweep.doctor.cluster import reported
from sweep.doctor.diagnosis import diagnose
from sweep.doctor.finding import Finding, problem
from sweep.doctor.site import Site
from sweep.orchestration import connect, nodes
from sweep.orchestration.connect import AttachedCluster
from sweep.orchestration.nodes import Answer, Node
from sweep.tracking.health import EXPERIMENT
from sweep.tracking.store import open_client
from tests.doctor.test_findings import serving, states
from tests.faults.harness import Server

FAST_SECONDS = 15.0
"""Ray itself tries for 20 s at least."""
START_SECONDS = 120.0
STORE = {"object_store_memory": 80 * 2**20}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "SWEEP_DIR", "SWEEP_DATA", "SWEEP_CONFINED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # is set by what is tested, and put back
    monkeypatch.setenv("HOME", str(tmp_path))  # and no token of this user


@pytest.fixture
def free() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


def looked(address: str) -> Finding:
    """Return the one thing that is found where no cluster can be joined."""
    began = time.monotonic()
    (finding,) = diagnose(None, (), Path("sweeps"), address)
    assert time.monotonic() - began < FAST_SECONDS
    assert (finding.state, finding.check) == ("problem", "Ray")
    assert finding.remedy
    return finding


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", "head:99999", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    assert looked(address).text == (
        f"--address {address}: is neither auto nor HOST:PORT of a cluster's head"
    )


def test_nobody_listens(free: str) -> None:
    assert "no Ray answers at " in looked(free).text
    assert looked(f"http://{free}").text == f"http://{free}: cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("greeting", "said"),
    [(b"SSH-2.0-OpenSSH_9.2\r\n", "is no control service of Ray"), (b"", "does not answer within")],
)
def test_what_listens_is_no_control_service(
    greeting: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1.0)
    held = []

    def greet(listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed
            while True:
                held.append(listening.accept()[0])
                held[-1].sendall(greeting)

    with socket.create_server(("", 0)) as listening:
        thread = threading.Thread(target=greet, args=(listening,))
        thread.start()
        text = looked(f"localhost:{listening.getsockname()[1]}").text
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()
    assert said in text


def test_an_address_that_a_cluster_left_behind_is_told(
    free: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "find_gcs_addresses", frozenset)  # others may run one here
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    assert looked("auto").text == "--address auto: no Ray runs on this machine"
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: free)
    assert looked("auto").text.endswith("its address is left of a cluster that is gone")
    monkeypatch.setenv("RAY_ADDRESS", free)
    assert looked("auto").text.endswith(f"(RAY_ADDRESS={free}): Connection refused")
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert "(RAY_ADDRESS=http://head:8265): is neither auto nor" in looked("auto").text


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "needs a token"),
        (200, b'{"ray_version": "1.0"}', "has Ray 1.0; sweep needs"),
        (200, b"hello", "what answers is no dashboard of Ray"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told(status: int, body: bytes, words: str) -> None:
    with serving(status, body) as address:
        (finding,) = diagnose(None, (), Path("sweeps"), address)
    assert finding.state == "problem"
    assert words in finding.text


def test_a_cluster_that_takes_no_job_is_told_with_what_was_seen_from_here() -> None:
    with serving(200, b'{"version": "4", "ray_version": "2.59.0"}') as address:
        found = list(diagnose(None, (), Path("sweeps"), address))
    assert states(found) == ["warning", "warning", "ok", "problem"]
    assert [finding.check for finding in found] == ["Ray"] * 4
    assert found[0].text.startswith("the cluster has Ray 2.59.0, here is ")
    assert found[1].text == "token authentication is off"
    assert found[3].text.startswith("the doctor could not run there: ")


def test_a_space_that_may_not_be_submitted_is_refused_before_the_cluster_is_asked() -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    result = call(
        "doctor", "space.yaml", "dataset.root=/home/ann/birds", "--address", "http://127.0.0.1:1"
    )
    assert (result.code, result.out) == (2, "")
    assert "is a place of one machine" in result.err
    result = call("doctor", "--address", "http://127.0.0.1:1", "--dir", "x")
    assert (result.code, "--dir is a folder of this machine" in result.err) == (2, True)


def test_findings_come_back_from_a_cluster_as_they_were_there() -> None:
    printed = (
        'a warning of Ray [1]\n[\n {\n  "state": "problem",\n  "text": "it is off",\n'
        '  "remedy": "switch it on",\n  "nodes": [\n   "node a"\n  ],\n  "check": "GPUs"\n'
        " }\n]\nand another one\n"
    )
    expected = replace(problem("it is off", "switch it on", "node a"), check="GPUs")
    assert reported(printed) == [expected]
    for wrong in ("", "Traceback", "[\n", '[\n {"state": "ok"}\n]', "[\n 1\n]"):
        with pytest.raises(ValueError):  # noqa: PT011
            reported(wrong)


def node(name: str) -> Node:
    return Node(name, name, "10.0.0.1", 8.0, 0.0)


def test_what_differs_between_nodes_is_told_with_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = versions.versions()
    installed = tuple((n, "2.0" if n == "torch" else v) for n, v in here.installed)
    said = [
        Answer(node("a"), here),
        Answer(node("b"), replace(here, installed=installed)),
        Answer(node("c"), replace(here, code="0", unmet=("ray is not installed",))),
        Answer(node("d"), problem="it does not answer"),
    ]
    asked: list[list[Node]] = []

    def ask(
        whom: list[Node], question: object, *arguments: object, seconds: float
    ) -> list[Answer[object]]:
        asked.append(list(whom))
        return [one for one in said if one.node in whom]

    monkeypatch.setattr(nodes, "ask_nodes", ask)
    site = Site(
        Path("sweeps"), "", cluster=AttachedCluster("", "", tuple(a.node for a in said), ())
    )
    found = {str(one): one for one in versions.look(site)}
    torch = dict(here.installed)["torch"]
    assert [line for line in found if found[line].state == "problem"] == [
        f"node b (10.0.0.1): it has torch 2.0, here {torch}",
        "node c (10.0.0.1): ray is not installed",
        "node c (10.0.0.1): its code of sweep is not the code that runs here",
    ]
    assert str(site.silent[0]).startswith("node d (10.0.0.1): it cannot be examined: it does not")
    site.ask(versions.versions)
    assert [len(whom) for whom in asked] == [4, 3], "who did not answer is not asked again"


def test_an_mlflow_server_takes_a_run_and_gives_it_back(tmp_path: Path) -> None:
    server = Server(tmp_path / "mlflow")
    server.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.answers:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for _ in range(2):
            (finding,) = tracking.look(Site(tmp_path, server.uri))
            assert (finding.state, finding.text.startswith(f"{server.uri} (MLflow ")) == (
                "ok",
                True,
            )
            assert finding.text.endswith("takes a run and an artifact, and gives them back")
        client = open_client(server.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert client.list_artifacts(run.info.run_id) == []
    finally:
        server.kill()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing, and two nodes."""
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE}
    )
    for _ in range(2):
        started.add_node(num_cpus=1, **STORE)
    yield started
    started.shutdown()


def test_every_node_of_a_cluster_is_looked_at(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    space = (Path("space.yaml"), ("resources.cpus=1", "resources.gpus=0"))
    found = list(diagnose(*space, tmp_path / "sweeps", cluster.address))
    assert [str(one) for one in found if one.state == "problem"] == []
    said = [f"{one.check}: {one}" for one in found]
    for line in (
        f"at {cluster.address}: 3 nodes, 2 CPU cores, 0 GPUs",
        "clock: compared with 3 nodes",
        f"storage is shared: {tmp_path} is one folder on 3 nodes, with one lock",
        "data sets: digits is here on 3 of 3 nodes",
    ):
        assert [one for one in said if line in one], said
    assert {path.name for path in tmp_path.iterdir()} == {"space.yaml"}
    monkeypatch.setattr(services, "find_node_ids", set)
    assert looked(cluster.address).text == (
        f"this machine is no node of the Ray cluster at {cluster.address}"
    )
