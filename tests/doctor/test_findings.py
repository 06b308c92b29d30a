"""What the doctor's checks say of faked and of real machines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sweep.doctor.checks import clock, disk, gpus, scratch, shared
from sweep.doctor.checks.datasets import Held, judge
from sweep.doctor.finding import merged, ok, problem
from sweep.doctor.mounts import Mount, mount_of
from sweep.doctor.site import Site, Told
from sweep.lock import Lock
from sweep.tracking.health import UnfitStoreError, greet

SMI = (
    "0, NVIDIA A100-SXM4-80GB, 550.54.15, 81920, 70000, GPU-a\n"
    "1, Tesla T4, 550.54.15, 16384, 3, GPU-b\n"
)
USERS = "GPU-a, 4711, /usr/bin/python3\n"
TORCH = {"torch": "2.15.0", "cuda": "13.2", "architectures": ["sm_80"], "trouble": ""}
DEVICE = {"name": "Tesla T4", "capability": [8, 0], "trouble": ""}


def states(findings) -> list[str]:
    return [finding.state for finding in findings]


def test_what_nvidia_smi_prints_is_read() -> None:
    busy, idle = gpus.parse(SMI, USERS)
    assert (busy.name, busy.total, busy.used) == ("NVIDIA A100-SXM4-80GB", 81920.0, 70000.0)
    assert (busy.users, idle.users) == (("python3 (4711)",), ())


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 5), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90a"], False),
    ],
)
def test_machine_code_runs_on_its_own_major_version(capability, built, fits) -> None:
    assert gpus.has_kernels(capability, built) is fits


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({**TORCH, "cuda": None, "devices": []}, "build for CPUs"),
        ({**TORCH, "trouble": "driver too old", "devices": []}, "driver 550.54.15): driver too"),
        ({**TORCH, "devices": [{**DEVICE, "capability": [7, 5]}]}, "no kernels for Tesla T4"),
        ({**TORCH, "devices": [{**DEVICE, "trouble": "ECC"}]}, "does not compute: ECC"),
        ({"failed": "no answer"}, "torch cannot be asked: no answer"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_a_problem(said, words) -> None:
    found = gpus.Gpus(gpus.parse(SMI, "")[1:], "", said, hidden=False)
    (finding,) = gpus.judge(found, "node a", None)
    assert finding.state == "problem"
    assert words in finding.text
    assert finding.remedy


def test_a_gpu_in_use_or_not_offered_is_a_warning() -> None:
    found = gpus.Gpus(gpus.parse(SMI, USERS), "", {**TORCH, "devices": [DEVICE]}, hidden=False)
    findings = list(gpus.judge(found, "node a", 1.0))
    assert states(findings) == ["warning", "warning", "ok"]
    assert "11.6 of 80.0 GiB are free, used by python3 (4711)" in findings[1].text


@pytest.mark.parametrize(("ahead", "state"), [(29, None), (-31, "warning"), (151, "problem")])
def test_clocks_may_differ_by_half_of_what_heartbeats_allow(ahead, state) -> None:
    said = clock.judge(ahead, "its")
    assert (said.state if said else None) == state


def test_only_what_lies_outside_of_the_question_is_skew() -> None:
    assert clock.outside(5.0, 4.0, 6.0) == 0
    assert clock.outside(9.0, 4.0, 6.0) == 3
    assert clock.outside(1.0, 4.0, 6.0) == -3


@pytest.mark.parametrize(
    ("room", "found"),
    [
        (disk.Room(2**40, None), ["ok"]),
        (disk.Room(5 * 2**30, None), ["warning"]),
        (disk.Room(2**29, None), ["problem"]),
        (disk.Room(2**40, None, needed=2**41), ["problem"]),
        (disk.Room(2**40, 100, needed=0, trials=6), ["ok", "problem"]),
        (disk.Room(2**40, 5000, needed=0, trials=6), ["ok", "warning"]),
    ],
)
def test_room_is_compared_with_what_trials_need(room, found) -> None:
    assert states(disk.judge_room(room, Path("/x"))) == found


def test_the_innermost_mount_counts(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    real = tmp_path.resolve()
    place = str(real).replace(" ", "\\040")
    table.write_text(f"/dev/a / ext4 rw 0 0\nhead:/x {place} nfs4 rw,nolock 0 0\n")
    assert mount_of(real / "not" / "there", table) == Mount(real, "nfs4", ("rw", "nolock"))


@pytest.mark.parametrize(
    ("kind", "options", "found"),
    [
        ("ext4", (), []),
        ("nfs4", ("local_lock=none",), []),
        ("nfs", ("nolock",), ["problem"]),
        ("9p", (), ["warning"]),
        ("fuse.sshfs", (), ["warning"]),
        ("tmpfs", (), ["warning"]),
    ],
)
def test_a_file_system_is_known_by_its_kind(kind, options, found) -> None:
    assert states(disk.judge_mount(Mount(Path("/x"), kind, options), shared=True)) == found


def test_a_lock_is_seen_by_another_process(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.take()
    assert disk.seen_by_another(lock.path)
    lock.release()
    assert not disk.seen_by_another(lock.path)


def test_a_folder_that_cannot_be_written_is_a_problem() -> None:
    (finding,) = disk.look(Site(Path("/proc/sweeps"), ""))
    assert (finding.state, "cannot be written" in finding.text) == ("problem", True)


def test_the_working_folder_is_left_as_it_was(tmp_path: Path) -> None:
    assert "problem" not in states(disk.look(Site(tmp_path, "")))
    assert list(tmp_path.iterdir()) == []


def test_a_node_proves_that_it_is_in_the_same_folder(tmp_path: Path) -> None:
    word = "abc"
    assert shared.judge(shared.find(tmp_path, word), word, tmp_path, "b").text.startswith("it does")
    shared.token_path(tmp_path, word).write_text(word)
    unlocked = shared.judge(shared.find(tmp_path, word), word, tmp_path, "b")
    assert "does not see locks" in unlocked.text
    lock = Lock(shared.lock_path(tmp_path, word))
    assert lock.take()
    assert shared.judge(shared.find(tmp_path, word), word, tmp_path, "b") is None
    lock.release()


def test_little_shared_memory_ends_data_loading() -> None:
    found = scratch.Scratch(2**26, 2**26, "/tmp", 2**40, "")
    assert states(scratch.judge(found, 0, "")) == ["warning"]
    assert states(scratch.judge(found, 4, "")) == ["problem"]


def test_a_data_set_must_be_the_same_everywhere() -> None:
    told = [
        Told("a", Held("/d", "1", "")),
        Told("b", Held("/d", "2", "")),
        Told("c", Held("", "", "x; y")),
    ]
    findings = list(judge("own", told))
    assert [(f.state, f.nodes) for f in findings] == [
        ("problem", ("b",)),
        ("problem", ("c",)),
        ("ok", ()),
    ]
    assert (findings[1].text, findings[1].remedy) == ("x", "y")


def test_findings_that_differ_in_the_node_alone_are_one_line() -> None:
    many = [problem("it is off", "switch it on", node) for node in "abcde"]
    one, other = merged([*many, ok("fine")])
    assert str(one) == "a, b, c and 2 more: it is off"
    assert str(other) == "fine"


@contextmanager
def serving(status: int, body: bytes, ahead: float = 0.0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + ahead, usegmt=True))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_clock_of_a_server_is_read_off_its_answer() -> None:
    with serving(200, b"3.17.2", ahead=1000) as uri:
        server = greet(uri)
    assert server.version == "3.17.2"
    assert server.ahead == pytest.approx(1000, abs=3)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "user name and a password"),
        (403, b"", "403"),
        (500, b"", "error 500"),
        (200, b"<html>", "not as an MLflow server"),
    ],
)
def test_a_server_that_is_of_no_use_is_told(status, body, words, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    with serving(status, body) as uri, pytest.raises(UnfitStoreError, match=words):
        greet(uri)
