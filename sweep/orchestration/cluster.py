"""A Ray cluster seen from outside: the address of its Jobs API, and what one asks of that.

Nothing here connects to Ray itself: all goes over HTTP, so that a laptop needs no more than the
address of the dashboard, and the token.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray.job_submission import JobDetails, JobSubmissionClient

from sweep.errors import UserError, first_line

STUDY, SPACE, VERSION, USER, HOST = "sweep_study", "sweep_space", "sweep", "user", "host"
"""What a job says of itself: the sweep, a digest of its space, who sent it, and with what."""

INTERRUPTED = 130
"""Exit code of a command that was stopped."""
ACTIVE = ("pending", "running")
ANSWER_SECONDS = 10.0
"""How long a cluster may take to say that it is there."""
SILENCE_SECONDS = 30.0
"""How long a job that is followed may print nothing before the cluster is asked something."""
MONITOR_SECONDS = 60.0
"""After which Ray has surely looked for the last time at a job that has ended."""
POLL_SECONDS = 0.5
"""Between two looks at a job that is waited for."""
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name the certificates to trust; the first that is set counts."""
NO_DASHBOARD = "what answers is no dashboard of Ray"
OLDEST_RAY = (2, 52)
"""That a cluster may have: of pyproject.toml, and the first with tokens."""
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray looks if neither is set."""
MODE = "RAY_AUTH_MODE"
TOKEN_REMEDY = f"set {MODE}=token, and {TOKEN} (or {TOKEN_PATH}) to the cluster's"
REACH_REMEDY = (
    "look whether the head runs, whether the address is that of its dashboard (http://HEAD:8265), "
    "and whether a firewall is between; through SSH: ssh -L 8265:localhost:8265 HEAD"
)
TROUBLE = "Server got itself in trouble"
"""What a dashboard answers whose head is gone."""
GONE_REMEDY = (
    "look whether the head runs; a sweep that ended with it goes on when it is submitted again"
)


class ClusterError(UserError, RuntimeError):
    """A cluster cannot be asked, or refuses.

    Args:
        text: what is wrong.
        remedy: what to do, where that can be told.
    """

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.text, self.remedy = text, remedy


@dataclass(frozen=True)
class Job:
    """A job of a cluster, as it is now."""

    job_id: str
    study: str
    """That it runs; empty if it runs none."""
    state: str
    """pending, running, succeeded, failed or stopped."""
    began: float | None
    """Seconds since the epoch, when it was submitted."""
    ended: float | None
    user: str
    host: str
    exit_code: int | None
    """Of its command; None if that did not end by itself."""
    message: str
    """Ray's; of a command that failed, with the end of its output."""
    space: str = ""
    """A digest of the search space and of its overrides."""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE

    @property
    def by(self) -> str:
        """Who submitted it, and from where."""
        return f"{self.user}@{self.host}"

    @property
    def seconds(self) -> float | None:
        """How long it took, or takes so far; None if it is not known."""
        if self.began is None:
            return None
        return (self.ended or time.time()) - self.began

    @property
    def ending(self) -> str:
        """How it ended, in a few words; empty if it has not, or well."""
        if self.active or self.state == "succeeded":
            return ""
        if self.exit_code is None:
            return first_line(Exception(self.message)) if self.state == "failed" else ""
        told = errors_of(self.message)
        return told[-1] if told else f"exit code {self.exit_code}"

    @property
    def outcome(self) -> int:
        """The exit code of who waited for it."""
        if self.state == "stopped":
            return INTERRUPTED
        return 0 if self.state == "succeeded" else self.exit_code or 1


def moment(seconds: float | None) -> str:
    """Return a time as people here write it; empty if it is not known."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


class Cluster:
    """The Jobs API of a cluster that answers.

    Args:
        address: such as http://head:8265.

    Raises:
        ClusterError: it cannot be reached, or does not let us in; the text says what to do.
    """

    def __init__(self, address: str) -> None:
        self.address = checked_address(address)
        verify = _certificates() if self.address.startswith("https:") else True
        headers = _headers()
        self.version = _check(self.address, headers)
        # Ray lets this variable, and RAY_ADDRESS, win over the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        with self._asking():
            self._client = JobSubmissionClient(self.address, headers=headers, verify=verify)

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        folder: Path,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        """Start a job; its name must be new.

        Args:
            job_id: its name.
            entrypoint: a command for the shell.
            folder: is sent, and becomes the working folder of the command and of its workers.
            environment: variables of the command and of its workers.
            metadata: what the job says of itself.
        """
        with self._asking():
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata=dict(metadata),
            )

    def jobs(self) -> list[Job]:
        """Return the jobs that run sweeps, or did; those begun last first."""
        with self._asking():
            details = self._client.list_jobs()
        found = [
            _job(one) for one in details if one.submission_id and STUDY in (one.metadata or {})
        ]
        return sorted(found, key=lambda job: job.began or 0.0, reverse=True)

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        with self._asking():
            return _job(self._client.get_job_info(job_id))

    def wait(self, job_id: str, seconds: float) -> Job:
        """Return a job once it has ended, or as it is after so many seconds."""
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id)).active and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return job

    def stop(self, job_id: str) -> None:
        """Ask a job to stop: its command gets SIGTERM."""
        with self._asking():
            self._client.stop_job(job_id)

    def forget(self, prefix: str) -> None:
        """Let the cluster forget the jobs that ended a while ago, of names that begin so.

        Of one that has just ended, Ray's monitor would write down again that it had failed.
        """
        before = 1000 * (time.time() - MONITOR_SECONDS)
        with self._asking():
            for one in self._client.list_jobs():
                name, ended = one.submission_id or "", one.end_time
                if name.startswith(prefix) and ended and ended < before:
                    self._client.delete_job(name)

    def output(self, job_id: str) -> str:
        """Return all that a job has printed, after what Ray says of its start."""
        with self._asking():
            return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str, show: Callable[[str], object]) -> Job:
        """Show what a job prints until it has ended; return how."""
        with self._asking(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of aiohttp, at how Ray calls it
            # What Ray's own client asks has no limit of time.
            asyncio.run(
                _follow(self._client, job_id, show, lambda: _check(self.address, _headers()))
            )
        return self.wait(job_id, ANSWER_SECONDS)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Keep Ray quiet, and turn what goes wrong on the way into one line."""
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # of Ray, requests or aiohttp; they have no class in common
            said = str(error).rstrip(". \n") or repr(error)
            last = said.splitlines()[-1]  # of the traceback, where it is one of the cluster
            gone = isinstance(error, OSError) or TROUBLE in said
            raise ClusterError(
                f"{self.address}: {last.strip()}", GONE_REMEDY if gone else ""
            ) from None
        finally:
            logging.disable(before)


def errors_of(output: str) -> list[str]:
    """Return the errors that a command of ours has printed, each a line."""
    return re.findall(r"^[eE]rror: (.*)$", output, re.MULTILINE)  # click writes it with a capital


def checked_address(address: str) -> str:
    """Return an address of a Jobs API, without a slash at its end.

    A path stays, for a dashboard behind a proxy: Ray asks for its pages below it.

    Raises:
        ClusterError: it is of another form; the text names the one that is meant.
    """
    if re.search("[@?#]", address):  # what may be a secret is not repeated
        raise ClusterError(
            "--address: holds more than scheme, host, port and path; leave out user name and "
            "password, query and fragment, as in http://head:8265",
            TOKEN_REMEDY,
        )
    try:
        parts = urlsplit(address)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:  # no number, or too large a one, where the port should be
        wrong = True
    if wrong or re.search(r"\s", address):
        raise ClusterError(
            f"--address {address}: is no address of a cluster's Jobs API, which is that of its "
            "dashboard, such as http://head:8265; `sweep run --address auto` is for a command on "
            "a node of the cluster"
        )
    return address.rstrip("/")


def is_open(address: str) -> bool:
    """Tell whether a dashboard of Ray lets in who shows no token.

    Raises:
        OSError: it does not answer.
    """
    try:
        _ask_version(address, {}).close()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def own_token() -> str:
    """Return the token, looked for where Ray looks for it; empty if there is none to be shown.

    Raises:
        ClusterError: it cannot be read.
    """
    if os.environ.get(MODE, "token").lower() != "token":
        return ""
    token = os.environ.get(TOKEN, "")
    path = Path(os.environ.get(TOKEN_PATH) or TOKEN_FILE).expanduser()
    if not token and (TOKEN_PATH in os.environ or path.exists()):
        try:
            token = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ClusterError(
                f"{path}: the token cannot be read: {why}",
                f"let {TOKEN_PATH} name a file that can be read, or set {TOKEN}",
            ) from None
    return token.strip()


def _check(address: str, headers: Mapping[str, str]) -> str:
    """Return the version of Ray, which answers, lets us in, and is new enough.

    Raises:
        ClusterError: it does not, or is not.
    """
    try:
        with _ask_version(address, headers) as answer:
            version = str(json.load(answer)["ray_version"])
        numbers = tuple(map(int, version.split(".")[:2]))
    except urllib.error.HTTPError as error:
        raise _refused(address, error, token=bool(headers)) from None
    except OSError as error:
        raise _unreachable(address, error) from None
    except (ValueError, KeyError, TypeError, http.client.HTTPException):
        raise ClusterError(f"{address}: {NO_DASHBOARD}", REACH_REMEDY) from None
    if numbers < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        raise ClusterError(f"{address}: has Ray {version}; sweep needs {oldest} or newer there")
    return version


def _ask_version(address: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    verify = _certificates() if address.startswith("https:") else True
    request = urllib.request.Request(f"{address}/api/version", headers=dict(headers))
    context = ssl.create_default_context(
        cafile=verify if isinstance(verify, str) and Path(verify).is_file() else None,
        capath=verify if isinstance(verify, str) and Path(verify).is_dir() else None,
    )
    answer: http.client.HTTPResponse = urllib.request.urlopen(
        request, timeout=ANSWER_SECONDS, context=context
    )
    return answer


def _refused(address: str, error: urllib.error.HTTPError, *, token: bool) -> ClusterError:
    if error.headers.get("WWW-Authenticate", "").startswith("Basic"):  # MLflow's, say
        return ClusterError(f"{address}: {NO_DASHBOARD}", REACH_REMEDY)
    if error.code == 401 and not token:
        mode = os.environ.get(MODE, "token")
        also = f"{MODE}, which is {mode!r}, to token, and " if mode.lower() != "token" else ""
        remedy = f"set {also}{TOKEN}, or {TOKEN_PATH} to the file that holds it"
        return ClusterError(f"{address}: needs a token", remedy)
    if error.code in (401, 403):
        named = next((name for name in (TOKEN, TOKEN_PATH) if os.environ.get(name)), TOKEN_FILE)
        return ClusterError(
            f"{address}: does not take this token ({error.code})",
            f"compare {named} with that of the cluster",
        )
    return ClusterError(f"{address}: {NO_DASHBOARD} ({error.code} {error.reason})", REACH_REMEDY)


def _unreachable(address: str, error: OSError) -> ClusterError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ClusterError(
            f"{address}: its certificate is not trusted ({reason.verify_message})",
            f"set {CERTIFICATES[0]} to the file of the authority that signed it",
        )
    if isinstance(reason, ssl.SSLError):
        return ClusterError(
            f"{address}: does not speak TLS ({reason.reason})", "try it with http://"
        )
    said = getattr(reason, "strerror", None) or str(reason)
    return ClusterError(f"{address}: cannot be reached: {said}", REACH_REMEDY)


def _certificates() -> str | bool:
    """Return the file or folder of certificates to trust; True for those of the system."""
    for name in CERTIFICATES:
        if value := os.environ.get(name):
            if not Path(value).exists():
                raise ClusterError(f"{name}={value}: there is no such file")
            return value
    return True


def _headers() -> dict[str, str]:
    """Return the header that holds the token."""
    token = own_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


async def _follow(
    client: JobSubmissionClient,
    job_id: str,
    show: Callable[[str], object],
    ask: Callable[[], object],
) -> None:
    """Show what a job prints; ask the cluster something whenever it has printed nothing for long.

    Raises:
        Exception: the cluster does not answer.
    """
    lines: AsyncIterator[str] = client.tail_job_logs(job_id)
    async with aclosing(lines) as parts:  # type: ignore[type-var]
        while True:
            part = asyncio.ensure_future(anext(parts, None))
            try:
                while not (await asyncio.wait({part}, timeout=SILENCE_SECONDS))[0]:
                    await asyncio.to_thread(ask)
            finally:
                part.cancel()
                await asyncio.wait({part})
            text = part.result()
            if text is None:
                return
            show(text)


def _job(details: JobDetails) -> Job:
    told: Mapping[str, Any] = details.metadata or {}
    return Job(
        job_id=str(details.submission_id),
        study=str(told.get(STUDY, "")),
        state=str(details.status).lower(),
        began=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        user=str(told.get(USER, "")),
        host=str(told.get(HOST, "")),
        exit_code=details.driver_exit_code,
        message=details.message or "",
        space=str(told.get(SPACE, "")),
    )
