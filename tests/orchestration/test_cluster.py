"""Asking a cluster's Jobs API: addresses, tokens, certificates, and servers that are none."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
from spec.spaces import call, text_of

from sweep.orchestration import cluster as cluster_module
from sweep.orchestration.cluster import OLDEST_RAY, Cluster, ClusterError, errors_of

Answers = dict[tuple[str, str], tuple[int, object]]
VERSION = ("GET", "/api/version")
JOBS = ("GET", "/api/jobs/")
HERE: Answers = {VERSION: (200, {"version": "4", "ray_version": "2.60.0"}), JOBS: (200, [])}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SWEEP_DIR", "SWEEP_CONFINED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # is set by what is tested, and put back
    monkeypatch.setenv("HOME", str(tmp_path))  # and no token of this user


@contextmanager
def server(
    answers: Answers,
    token: str = "",
    context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[int]:
    """Answer like a dashboard that has these pages; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers.get((self.command, self.path), (404, "no such page"))
            given = self.headers.get("Authorization")
            if token and given != f"Bearer {token}":
                status, body = (403 if given else 401), "no"
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        if context is not None:
            httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        serving = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield httpd.server_address[1]
        finally:
            httpd.shutdown()
            serving.join()


def message(address: str) -> str:
    """Return the one line that `sweep list` says of an address that it cannot ask."""
    result = call("list", "--address", address)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    "address",
    ["auto", "head:6379", "ray://head:10001", "http://", "http://head:port", "http://a b:8265",
     "http://head:99999", "ftp://head", ""],
)  # fmt: skip
def test_an_address_of_another_form_is_told_which_is_meant(address: str) -> None:
    said = message(address)
    assert said.startswith(f"--address {address}: is no address of a cluster's Jobs API")
    assert "http://head:8265; `sweep run --address auto`" in said


@pytest.mark.parametrize(
    "address",
    ["http://u:s3cret@head:8265", "http://s3cret@head", "http://head:8265/foo?token=s3cret",
     "https://head#s3cret", "u:s3cret@head:8265", "http://u:s3#cret@head"],
)  # fmt: skip
def test_an_address_with_what_may_be_a_secret_is_refused_and_not_repeated(address: str) -> None:
    said = message(address)
    assert said.startswith("--address: holds more than scheme, host, port and path; leave out user")
    assert said.endswith("set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to "
                         "the cluster's")  # fmt: skip
    assert "s3" not in said


def test_a_dashboard_may_be_below_a_path_of_a_proxy() -> None:
    below = {(how, f"/lab/ray{path}"): answer for (how, path), answer in HERE.items()}
    with server(below) as port:
        cluster = Cluster(f"http://127.0.0.1:{port}/lab/ray/")
        assert cluster.address == f"http://127.0.0.1:{port}/lab/ray"
        assert cluster.jobs() == []


@pytest.mark.parametrize("command", [["submit", "x.yaml"], ["cancel", "x"]])
def test_a_cluster_must_be_named(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    result = call(*command)
    assert result.code == 2
    assert "Missing option '--address'" in result.err


def test_a_cluster_can_be_named_as_ray_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(HERE) as port:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{port}")
        result = call("cancel", "x")
    assert result.err == f"error: no sweep was submitted to http://127.0.0.1:{port} yet\n"


def test_the_address_given_wins_over_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with server(HERE) as port:
        result = call("list", "--address", f"http://127.0.0.1:{port}/")
    assert (result.code, result.out) == (0, "no sweep was submitted there yet\n"), result.err


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert message(address).startswith(f"{address}: cannot be reached: Connection refused; look ")
    assert message("http://no.such.host.invalid:8265").startswith(
        "http://no.such.host.invalid:8265: cannot be reached: "
    )


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "what answers is no dashboard of Ray (404 Not Found)"),
        ({VERSION: (500, "oh")}, "what answers is no dashboard of Ray (500 Internal Server Error)"),
        ({VERSION: (200, "<html>")}, "what answers is no dashboard of Ray"),
        ({VERSION: (200, {"version": 1})}, "what answers is no dashboard of Ray"),
        ({VERSION: (200, [])}, "what answers is no dashboard of Ray"),
        ({VERSION: (200, {"ray_version": "2.9.3"})}, "has Ray 2.9.3; sweep needs 2.52 or newer"),
        (HERE | {JOBS: (500, "Traceback\n  x\nKeyError: 'gone'\n")}, "KeyError: 'gone'"),
    ],
)
def test_what_goes_wrong_is_one_line(answers: Answers, said: str) -> None:
    with server(answers) as port:
        assert message(f"http://127.0.0.1:{port}").startswith(f"http://127.0.0.1:{port}: {said}")


def test_what_speaks_no_http_is_no_dashboard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.close()

        threading.Thread(target=answer).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert message(address).startswith(f"{address}: what answers is no dashboard of Ray; look ")


def test_the_oldest_ray_of_a_cluster_is_the_one_of_the_package() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    (ray,) = (one for one in project["project"]["dependencies"] if one.startswith("ray["))
    assert ray.endswith(f">={'.'.join(map(str, OLDEST_RAY))}")


def by_variable(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("RAY_AUTH_TOKEN", "secret")


def by_path(patch: pytest.MonkeyPatch) -> None:
    Path("token").write_text("secret\n", encoding="utf-8")
    patch.setenv("RAY_AUTH_TOKEN_PATH", "token")


def by_home(patch: pytest.MonkeyPatch) -> None:
    Path(".ray").mkdir()
    Path(".ray/auth_token").write_text("secret", encoding="utf-8")


@pytest.mark.parametrize("give", [by_variable, by_path, by_home])
def test_a_token_is_found_where_ray_finds_it(
    give: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(HERE, token="secret") as port:
        address = f"http://127.0.0.1:{port}"
        assert message(address) == (
            f"{address}: needs a token; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file "
            "that holds it"
        )
        give(monkeypatch)
        assert Cluster(address).jobs() == []
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        assert message(address).startswith(
            f"{address}: does not take this token (403); compare RAY_"
        )
        assert "wrong" not in message(address)


def test_the_token_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    by_home(monkeypatch)
    with server(HERE, token="another") as port:
        address = f"http://127.0.0.1:{port}"
        assert "compare ~/.ray/auth_token with" in message(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", ".ray/auth_token")
        assert "compare RAY_AUTH_TOKEN_PATH with" in message(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
        assert "compare RAY_AUTH_TOKEN with" in message(address)
        monkeypatch.setenv("RAY_AUTH_MODE", "tokens")
        assert "set RAY_AUTH_MODE, which is 'tokens', to token, and RAY_" in message(address)


def test_what_asks_for_a_password_is_no_dashboard() -> None:
    """As MLflow does, whose port is the likeliest wrong one."""
    headers = {"WWW-Authenticate": 'Basic realm="mlflow"'}
    with server(HERE, token="secret", headers=headers) as port:
        assert "what answers is no dashboard of Ray; look" in message(f"http://127.0.0.1:{port}")


def test_a_cluster_that_stops_answering_is_not_followed_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(job_id: str) -> AsyncIterator[str]:
        yield "epoch 1\n"
        await asyncio.sleep(3600)

    monkeypatch.setattr(cluster_module, "SILENCE_SECONDS", 0.01)
    with server(HERE) as port:
        cluster = Cluster(f"http://127.0.0.1:{port}")
        monkeypatch.setattr(cluster._client, "tail_job_logs", silent)
        shown: list[str] = []
        asked: list[str] = []

        def check(address: str, headers: Mapping[str, str]) -> str:
            asked.append(address)
            if len(asked) == 3:
                raise ClusterError("it does not answer")
            return "2.60.0"

        monkeypatch.setattr(cluster_module, "_check", check)
        with pytest.raises(ClusterError, match="it does not answer"):
            cluster.follow("sweep-small-1", shown.append)
    assert shown == ["epoch 1\n"]


def test_a_head_that_is_gone_is_told() -> None:
    trouble = "Server got itself in trouble"
    with server(HERE | {JOBS: (500, trouble)}) as port:
        assert message(f"http://127.0.0.1:{port}").endswith(
            f"{trouble}; look whether the head runs; a sweep that ended with it goes on when it is "
            "submitted again"
        )


def test_questions_that_ended_a_while_ago_are_forgotten() -> None:
    """Not those of a moment ago: Ray would write down again that they had failed."""
    now = int(time.time())
    asked = {"ask-old": (now - 100, now - 90), "ask-new": (now - 9, now - 8), "ask-on": (now, None)}
    jobs = [job(0, "SUCCEEDED", *when, submission_id=name) for name, when in asked.items()]
    jobs.append(job(1, "SUCCEEDED", now - 100, now - 90))
    deleted: list[str] = []

    class Answering(dict[tuple[str, str], tuple[int, object]]):
        def get(self, key: tuple[str, str], default: object = None) -> object:  # type: ignore[override]
            if key[0] == "DELETE":
                deleted.append(key[1])
                return 200, {"deleted": True}
            return super().get(key, default)

    with server(Answering(HERE | {JOBS: (200, jobs)})) as port:
        Cluster(f"http://127.0.0.1:{port}").forget("ask-")
    assert deleted == ["/api/jobs/ask-old"]


def test_a_token_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "nowhere")
    assert message("http://127.0.0.1:1").startswith("nowhere: the token cannot be read: ")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate")
def test_a_certificate_must_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    with server(HERE, context=context) as port:
        address = f"https://127.0.0.1:{port}"
        said = message(address)
        assert said.startswith(f"{address}: its certificate is not trusted (self-signed certif")
        assert said.endswith("set REQUESTS_CA_BUNDLE to the file of the authority that signed it")
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            with monkeypatch.context() as patch:
                patch.setenv(name, "cert.pem")
                assert Cluster(address).jobs() == []
                patch.setenv(name, "nowhere.pem")
                assert message(address) == f"{name}=nowhere.pem: there is no such file"
    with server(HERE) as port:
        assert "does not speak TLS" in message(f"https://127.0.0.1:{port}")


def job(
    number: int, state: str, began: int, ended: int | None, **more: object
) -> dict[str, object]:
    """Return a job as Ray's API tells it; times are seconds."""
    return {
        "type": "SUBMISSION",
        "submission_id": f"sweep-small-{number}",
        "entrypoint": "python -m sweep.cli",
        "status": state,
        "start_time": 1000 * began,
        "end_time": ended and 1000 * ended,
        "metadata": {"sweep_study": "small", "user": "ann", "host": "desk"},
        **more,
    }


OTHERS = [
    {**job(9, "RUNNING", 1, None), "metadata": {}},
    {**job(8, "RUNNING", 2, None), "metadata": {"job_name": "other"}},
    {**job(7, "RUNNING", 3, None), "type": "DRIVER", "submission_id": None},
]
"""Jobs of the cluster that are none of ours."""
REFUSED = (
    "Job entrypoint command failed with exit code 2, last available logs:\nx\nerror: it is run"
)
PAST = [
    job(2, "FAILED", 200, 210, driver_exit_code=2, message=REFUSED),
    job(1, "SUCCEEDED", 100, 300, driver_exit_code=0),
    *OTHERS,
]


def test_list_shows_the_jobs_of_sweeps_last_first() -> None:
    with server(HERE | {JOBS: (200, PAST)}) as port:
        result = call("list", "--address", f"http://127.0.0.1:{port}", "--json")
        shown = call("list", "--address", f"http://127.0.0.1:{port}")
    assert json.loads(result.out) == [
        {
            "study": "small",
            "job": "sweep-small-2",
            "state": "failed",
            "began": "1970-01-01T00:03:20+00:00",
            "ended": "1970-01-01T00:03:30+00:00",
            "seconds": 10.0,
            "user": "ann",
            "host": "desk",
            "exit_code": 2,
            "why": "it is run",
        },
        {
            "study": "small",
            "job": "sweep-small-1",
            "state": "succeeded",
            "began": "1970-01-01T00:01:40+00:00",
            "ended": "1970-01-01T00:05:00+00:00",
            "seconds": 200.0,
            "user": "ann",
            "host": "desk",
            "exit_code": 0,
            "why": "",
        },
    ]
    lines = [line.split() for line in shown.out.splitlines()]
    assert [line[:3] for line in lines[1:]] == [
        ["small", "sweep-small-2", "failed"],
        ["small", "sweep-small-1", "succeeded"],
    ]
    assert lines[1][-4:] == ["ann@desk", "it", "is", "run"]


def test_cancel_of_what_does_not_run_says_so() -> None:
    with server(HERE | {JOBS: (200, PAST)}) as port:
        address = f"http://127.0.0.1:{port}"
        over = call("cancel", "small", "--address", address)
        unknown = call("cancel", "smal", "--address", address)
    assert over.code == 0
    assert over.out.startswith("nothing runs: job sweep-small-1 of ann@desk: succeeded, began ")
    assert unknown.code == 2
    assert unknown.err == (
        f"error: no sweep 'smal' was submitted to {address}; did you mean 'small'? Known: small\n"
    )


def test_a_sweep_that_runs_is_not_submitted_again() -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    running = job(3, "PENDING", 400, None)
    with server(HERE | {JOBS: (200, [*PAST, running])}) as port:
        address = f"http://127.0.0.1:{port}"
        result = call("submit", "space.yaml", "--address", address)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(
        f"error: sweep small is pending at {address} already: job sweep-small-3 of ann@desk, since "
    )
    assert f"`sweep cancel small --address {address}` stops it" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "space.yaml", "recipe.epochz=1"], "recipe.epochz: unknown field; did you mean"),
        (["submit", "space.yaml", "dataset.root=/home/ann/birds"], "is a place of one machine"),
        (["submit", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file"),
        (["status", "small", "--dir", "x"], "--dir is a folder of this machine"),
        (["logs", "small", "--dir", "x"], "--dir is a folder of this machine"),
    ],
)
def test_what_is_wrong_is_told_before_the_cluster_is_asked(
    arguments: list[str], message: str
) -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    result = call(*arguments, "--address", "http://127.0.0.1:1")
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_options_of_a_cluster_need_one() -> None:
    for arguments in (["list", "--json"], ["logs", "small", "--follow"]):
        result = call(*arguments)
        assert result.code == 2
        assert result.err.endswith("of a cluster: give its --address\n")


def test_errors_are_found_in_what_a_command_printed() -> None:
    assert errors_of("a table\nerror: no sweep 'x'\nError: No such option\nan error: not\n") == [
        "no sweep 'x'",
        "No such option",
    ]


def test_a_refusal_of_the_cluster_is_a_user_error() -> None:
    with pytest.raises(ClusterError):
        Cluster("auto")
