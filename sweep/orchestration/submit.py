"""Sweeps as jobs of a Ray cluster: submitted, followed, asked about and stopped from outside.

A job is the command `sweep run` on the head of the cluster, in its working folder, under the
cluster's accounts; it needs no one who waits for it. Ray's Jobs API keeps and starts jobs, the
ledger says what is left to run: a sweep whose job died goes on when it is submitted again.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import os
import platform
import shlex
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.orchestration import cluster as names
from sweep.orchestration.cluster import Cluster, ClusterError, Job, moment
from sweep.orchestration.packed import SPACE_FILE, pack_code, pack_space
from sweep.registry import nearest
from sweep.spec.confined import CONFINED
from sweep.spec.schema import Space

COMMAND = ("python", "-m", "sweep.cli")
STOP_SECONDS = "RAY_JOB_STOP_WAIT_TIME_S"
"""How long Ray waits between asking a job to stop and killing it: 3 s if nobody says so. A job's
own wins over that of the cluster, which the operator sets; so a job has one only if its sender says
so."""
REMOTE_SECONDS = 600.0
"""How long a command may take that only asks; most of it is the import of torch."""
ASKS = "sweep-ask-"
"""What the names of such jobs begin with."""


def submit(cluster: Cluster, space: Space, tell: Callable[[str], object]) -> str:
    """Start a sweep on a cluster, and return the name of its job.

    Args:
        cluster: that runs it.
        space: that was checked here.
        tell: is told that it takes the place of another one of the same name.

    Raises:
        ClusterError: the sweep runs there already, or is another one of another user, or the
            cluster refuses.
    """
    study, document = space.general.study, space.document
    jobs = jobs_of(cluster.jobs(), study)
    if jobs and jobs[0].active:
        raise ClusterError(_runs_already(cluster.address, jobs[0]))
    said = _said(study, document.text, document.texts)
    _check_owner(cluster.address, jobs, said)
    if jobs and jobs[0].space != said[names.SPACE]:
        tell(f"takes the place of another search space of this name, that of job {jobs[0].job_id}")
    job_id = job_name(study, jobs)
    with TemporaryDirectory() as folder:
        pack_code(Path(folder))
        pack_space(Path(folder), document.text)
        try:
            cluster.submit(
                job_id,
                entrypoint(["run", "--address", "auto", "--", SPACE_FILE, *document.texts]),
                Path(folder),
                _environment(),
                said,
            )
        except ClusterError:
            again = jobs_of(cluster.jobs(), study)
            if job_id in [job.job_id for job in again]:  # somebody was faster by a moment
                raise ClusterError(_runs_already(cluster.address, again[0])) from None
            raise
    return job_id


def jobs_of(jobs: Iterable[Job], study: str) -> list[Job]:
    """Return the jobs of a sweep: first the one that runs, then those that ended last."""
    found = [job for job in jobs if job.study == study]
    active = sorted((job for job in found if job.active), key=lambda job: job.began or 0.0)
    over = [job for job in found if not job.active]
    return active + sorted(over, key=lambda job: job.ended or 0.0, reverse=True)


def last_job(cluster: Cluster, study: str) -> Job:
    """Return the job of a sweep that runs, or ended last.

    Raises:
        ClusterError: no such sweep was submitted there; the text names those that were.
    """
    jobs = cluster.jobs()
    found = jobs_of(jobs, study)
    if found:
        return found[0]
    known = sorted({job.study for job in jobs})
    if not known:
        raise ClusterError(f"no sweep was submitted to {cluster.address} yet")
    guess = nearest(study, known)
    hint = f"; did you mean {guess!r}?" if guess else "."
    raise ClusterError(
        f"no sweep {study!r} was submitted to {cluster.address}{hint} Known: {', '.join(known)}"
    )


def stop(cluster: Cluster, job: Job) -> Job:
    """Ask a job to stop, and return it once it has."""
    cluster.stop(job.job_id)
    return cluster.wait(job.job_id, math.inf)


def run_remotely(
    cluster: Cluster, arguments: Sequence[str], space: Space | None = None
) -> tuple[str, int]:
    """Run a command of this program on the head of a cluster, with this code.

    Args:
        cluster: to run it on.
        arguments: of `sweep`; its working folder is the cluster's.
        space: whose text lies beside the command, as SPACE_FILE.

    Returns:
        What it printed, and its exit code.

    Raises:
        ClusterError: it could not be run, or not to its end.
    """
    job_id = f"{ASKS}{uuid.uuid4().hex[:12]}"
    command = entrypoint(arguments)
    with TemporaryDirectory() as folder:
        pack_code(Path(folder))
        if space is not None:
            pack_space(Path(folder), space.document.text)
        cluster.submit(job_id, command, Path(folder), _environment(), {names.USER: _user()})
    try:
        job = cluster.wait(job_id, REMOTE_SECONDS)
        if job.exit_code is None:
            why = f"is not over after {REMOTE_SECONDS:.0f} s" if job.active else job.ending
            raise ClusterError(f"{cluster.address}: {command}: {why}")
        printed = cluster.output(job_id)
    finally:
        with suppress(ClusterError):
            if cluster.job(job_id).active:  # it is not waited for any more
                cluster.stop(job_id)
            cluster.forget(ASKS)
    # Before this line it is Ray that speaks.
    _, start, said = printed.partition(f"Running entrypoint for job {job_id}: {command}\n")
    return (said if start else printed), job.exit_code


def entrypoint(arguments: Sequence[str]) -> str:
    """Return a command of this program for the shell of a cluster's head."""
    return shlex.join([*COMMAND, *arguments])


def job_name(study: str, jobs: Iterable[Job]) -> str:
    """Return a name for the next job of a sweep; Ray refuses one that somebody took meanwhile."""
    numbers = [job.job_id.rpartition("-")[2] for job in jobs]
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    return f"sweep-{study}-{last + 1}"


def _runs_already(address: str, job: Job) -> str:
    where = f"--address {address}"
    return (
        f"sweep {job.study} is {job.state} at {address} already: job {job.job_id} of {job.by}, "
        f"since {moment(job.began)}; `sweep logs {job.study} {where} --follow` follows it, "
        f"`sweep cancel {job.study} {where}` stops it"
    )


def _check_owner(address: str, jobs: Sequence[Job], said: Mapping[str, str]) -> None:
    """Refuse to put another search space in the place of another user's.

    Hers is the sweep whose space, as it is now, she was the first to submit; who only had it go on
    may not change it. That is against mistakes: a user is who her machine says she is.

    Args:
        address: of the cluster.
        jobs: of the sweep, as ``jobs_of`` returns them.
        said: by the next one.

    Raises:
        ClusterError: it would.
    """
    if not jobs or jobs[0].space == said[names.SPACE]:
        return
    same = [job for job in jobs if job.space == jobs[0].space]
    first = min(same, key=lambda job: job.began or 0.0)
    if first.user != said[names.USER]:
        study = said[names.STUDY]
        raise ClusterError(
            f"sweep {study} at {address} is that of {first.by}: job {first.job_id} of "
            f"{moment(first.began)} has another search space",
            f"submit yours under a name of its own, such as study={study}_{said[names.USER]}",
        )


def _environment() -> Mapping[str, str]:
    """Return the variables of a job and of its workers.

    No secret is among them: whoever may ask the cluster for its jobs can read them.
    """
    seconds = os.environ.get(STOP_SECONDS)
    return {
        CONFINED: "1",
        "PYTHONUNBUFFERED": "1",
        **({STOP_SECONDS: seconds} if seconds else {}),
    }


def _said(study: str, text: str, overrides: Sequence[str]) -> Mapping[str, str]:
    """Return what the job of a sweep says of itself."""
    digest = hashlib.sha256(json.dumps([text, *overrides]).encode()).hexdigest()
    return {
        names.STUDY: study,
        names.SPACE: digest,
        names.VERSION: metadata.version("sweep"),
        names.USER: _user(),
        names.HOST: platform.node(),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # of a container, the user may have no name
        return str(os.getuid())
