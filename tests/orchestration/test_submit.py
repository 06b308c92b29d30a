"""What a job brings to a cluster, what it is called, and what its shell makes of it."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from spec.spaces import space_of

from sweep.orchestration import submit as submitting
from sweep.orchestration.cluster import Cluster, ClusterError, Job, moment
from sweep.orchestration.packed import pack_code
from sweep.orchestration.submit import entrypoint, job_name, jobs_of, submit

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "question=; rm -rf /",
    "question=$(touch owned)`touch owned`",
    "question='\"\\ \n * ~ #",
    "--dir=/elsewhere",
    "-h",
    "",
]


def job(job_id: str, state: str, began: float, ended: float | None = None) -> Job:
    return Job(job_id, "small", state, began, ended, "ann", "desk", None, "")


class FakeCluster(Cluster):
    """Takes jobs and runs none; its files are read while they are there."""

    def __init__(self, *jobs: Job, taken: tuple[Job, ...] = ()) -> None:
        self.address = "http://head:8265"
        self.known = jobs
        self.taken = taken
        self.got: dict[str, object] = {}

    def jobs(self) -> list[Job]:
        return list(self.known)

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        folder: Path,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        if self.taken:
            self.known = self.taken
            raise ClusterError(f"{self.address}: ValueError: Job {job_id} already exists.")
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        space = (folder / "search_space.yaml").read_bytes()
        self.got = {"id": job_id, "entrypoint": entrypoint, "files": files, "space": space}
        self.got |= {"environment": environment, "metadata": metadata}


def test_the_code_that_is_packed_is_this_code_and_its_data(tmp_path: Path) -> None:
    stray = ROOT / "sweep" / "__pycache__" / "stray.pyc"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"")
    try:
        pack_code(tmp_path)
    finally:
        stray.unlink()
    packed = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "sweep", "reports"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert packed == set(tracked)
    assert "reports/templates/index.html.j2" in packed
    assert filecmp.cmpfiles(ROOT, tmp_path, tracked, shallow=False)[0] == tracked
    where = subprocess.run(
        [sys.executable, "-c", "import sweep.cli, reports; print(sweep.cli.__file__)"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert where.stdout.strip() == str(tmp_path / "sweep/cli.py")


def test_a_job_brings_the_space_as_it_was_and_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_JOB_STOP_WAIT_TIME_S", raising=False)
    monkeypatch.setenv("LOGNAME", "ann")
    cluster = FakeCluster(job("sweep-small-4", "failed", 1, 2))
    overrides = ("recipe.epochs=1", "question=Is it ; $(small)?")
    assert submit(cluster, space_of(tmp_path, *overrides), print) == "sweep-small-5"
    got = cluster.got
    assert got["space"] == (tmp_path / "space.yaml").read_bytes()
    assert got["entrypoint"] == (
        "python -m sweep.cli run --address auto -- search_space.yaml recipe.epochs=1 "
        "'question=Is it ; $(small)?'"
    )
    assert got["environment"] == {"SWEEP_CONFINED": "1", "PYTHONUNBUFFERED": "1"}
    metadata = got["metadata"]
    assert isinstance(metadata, dict)
    assert {key: metadata[key] for key in ("sweep_study", "user", "host")} == {
        "sweep_study": "small",
        "user": "ann",
        "host": os.uname().nodename,
    }
    again = FakeCluster()
    submit(again, space_of(tmp_path, "recipe.epochs=2", overrides[1]), print)
    other = again.got["metadata"]
    assert isinstance(other, dict)
    assert other["sweep_space"] != metadata["sweep_space"]
    assert len(other["sweep_space"]) == 64


def test_how_long_a_job_may_take_to_stop_is_the_clusters_unless_its_sender_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "7")
    cluster = FakeCluster()
    submit(cluster, space_of(tmp_path), print)
    environment = cluster.got["environment"]
    assert isinstance(environment, dict)
    assert environment["RAY_JOB_STOP_WAIT_TIME_S"] == "7"


def sent(number: int, user: str, space: str) -> Job:
    """Return a job of a user that has ended, later than those of lower numbers."""
    ended = job(f"sweep-small-{number}", "succeeded", number * 100, number * 100 + 1)
    return dataclasses.replace(ended, user=user, space=space)


def digest_of(tmp_path: Path) -> str:
    cluster = FakeCluster()
    submit(cluster, space_of(tmp_path), print)
    metadata = cluster.got["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["sweep_space"])


def test_another_space_does_not_take_the_name_of_another_users_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    cluster = FakeCluster(sent(1, "ann", "old"), sent(2, "ann", "hers"), sent(3, "bob", "hers"))
    with pytest.raises(ClusterError) as refused:
        submit(cluster, space_of(tmp_path), print)
    assert not cluster.got
    assert str(refused.value) == (
        f"sweep small at http://head:8265 is that of ann@desk: job sweep-small-2 of {moment(200)} "
        "has another search space; submit yours under a name of its own, such as study=small_bob"
    )
    monkeypatch.setenv("LOGNAME", "ann")  # although bob had it go on
    told: list[str] = []
    assert submit(cluster, space_of(tmp_path), told.append) == "sweep-small-4"
    assert told == [
        "takes the place of another search space of this name, that of job sweep-small-3"
    ]


def test_anybody_may_have_a_sweep_go_on_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    cluster = FakeCluster(sent(1, "ann", digest_of(tmp_path)))
    told: list[str] = []
    assert submit(cluster, space_of(tmp_path), told.append) == "sweep-small-2"
    assert told == []


@pytest.mark.parametrize("word", HOSTILE)
def test_the_shell_takes_no_word_for_a_command(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]
    monkeypatch.setattr(submitting, "COMMAND", show)
    ended = subprocess.run(
        ["sh", "-c", entrypoint(["run", "--", word])],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(ended.stdout) == ["run", "--", word]
    assert list(tmp_path.iterdir()) == []


def test_the_one_of_two_that_comes_second_is_refused_by_the_name(tmp_path: Path) -> None:
    first = job("sweep-small-1", "pending", 5)
    cluster = FakeCluster(taken=(first,))
    with pytest.raises(ClusterError, match="sweep small is pending at http://head:8265 already"):
        submit(cluster, space_of(tmp_path), print)


def test_names_go_on_counting() -> None:
    assert job_name("small", []) == "sweep-small-1"
    known = [job(f"sweep-small-{n}", "failed", 1) for n in ("9", "10", "mine")]
    assert job_name("small", known) == "sweep-small-11"


def test_the_job_of_a_sweep_is_the_one_that_works_on_it() -> None:
    refused = job("sweep-small-3", "failed", 30, 31)
    long = job("sweep-small-2", "succeeded", 20, 90)
    other = Job("sweep-x-1", "x", "running", 50, None, "", "", None, "")
    assert [j.job_id for j in jobs_of([refused, other, long], "small")] == [
        "sweep-small-2",
        "sweep-small-3",
    ]
    late, early = job("sweep-small-5", "running", 60), job("sweep-small-4", "running", 50)
    assert jobs_of([late, early, refused, long], "small")[0] == early
