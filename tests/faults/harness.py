"""What the faults are aimed at: a sweep by its real command line, an MLflow server, a small disk.

Everything a driver starts shares its session (``setsid``), so that its orphans are found after it
died, and no process of anybody else ever is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.request import urlopen

import psutil

SPACE = """
study: faults
question: Does a sweep come to the same end whatever happens to it?
dataset: {{name: digits, subset: {images}, val_size: 64}}
backbones: [mobilenet_v2]
attention:
{attention}
seeds: {seeds}
recipe: {{epochs: {epochs}, batch_size: 32, lr: 0.02, schedule: one_cycle, evaluate: best}}
stopping: {{patience: 4}}
resources: {{cpus: 1, gpus: 0, max_concurrent: 2}}
"""
MODULES = ("none", "{name: ela, preset: L}", "{name: ca, reduction: 16}")
DISK_BYTES = 256 * 2**20
"""Room for the checkpoints of two trials at once, and not much more."""
ROOT = Path(__file__).parents[2]
GONE = (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError)
"""What a process that has ended, or a file that was removed, raises."""


def space_text(*, images: int, epochs: int, modules: int, seeds: int) -> str:
    """Return a search space of ``modules`` x ``seeds`` trials."""
    attention = "\n".join(f"  - {module}" for module in MODULES[:modules])
    return SPACE.format(images=images, epochs=epochs, attention=attention, seeds=list(range(seeds)))


class Sweep:
    """A sweep under test: one command line, run again and again over one working folder.

    Args:
        space: the search space.
        folder: the working folder.
        logs: what every run of the command prints goes here.
        uri: of the MLflow store; None means the working folder's own.
        runner: of the trials.
    """

    def __init__(
        self,
        space: Path,
        folder: Path,
        logs: Path,
        uri: str | None = None,
        runner: Literal["ray", "inline"] = "ray",
    ) -> None:
        self.space, self.folder, self.logs = space, folder, logs
        self.uri, self.runner = uri, runner
        self.driver: subprocess.Popen[bytes] | None = None
        self.runs = 0
        self._sessions: set[int] = set()
        logs.mkdir(parents=True, exist_ok=True)
        # Ray's sockets lie below it, and their paths may have 107 characters.
        self._scratch = Path(tempfile.mkdtemp(prefix="flt"))

    def start(self) -> None:
        """Run the command; its output goes to a log of its own."""
        self.runs += 1
        command = [sys.executable, "-m", "sweep.cli", "run", str(self.space)]
        with self.log.open("wb") as output:
            self.driver = subprocess.Popen(
                [*command, "--dir", str(self.folder), "--runner", self.runner],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._sessions.add(self.driver.pid)

    @property
    def log(self) -> Path:
        """What the last run printed."""
        return self.logs / f"run-{self.runs:02d}.txt"

    @property
    def code(self) -> int | None:
        """The exit code of the last run; None while it runs."""
        assert self.driver is not None
        return self.driver.poll()

    @property
    def complete(self) -> bool:
        """Whether the last run ended well, and said that nothing is left to do."""
        return self.code == 0 and "does not have everything" not in self.log.read_text()

    @property
    def pid(self) -> int:
        assert self.driver is not None
        return self.driver.pid

    def processes(self) -> list[psutil.Process]:
        """Return every living process that a run of the command started, its orphans included."""
        mine = [pid for pid in psutil.pids() if _session(pid) in self._sessions]
        # The number of a session without members may go to somebody else.
        self._sessions &= {_session(pid) for pid in mine} | {self.pid}
        return list(_living(mine))

    def parts(self, *words: str) -> list[psutil.Process]:
        """Return the processes of the running command whose command line has one of the words."""
        own = [p for p in self.processes() if p.pid != self.pid and _session(p.pid) == self.pid]
        return [p for p in own if any(word in _command(p) for word in words)]

    def workers(self) -> list[psutil.Process]:
        """Return the actors that train."""
        return self.parts("TrialActor", "Trainable")

    def orphans(self) -> list[psutil.Process]:
        """Return what may still train for a run of the command that has ended."""
        words = ("TrialActor", "Trainable", "default_worker")
        running = self.pid if self.code is None else None
        others = [p for p in self.processes() if _session(p.pid) != running]
        return [p for p in others if any(word in _command(p) for word in words)]

    def trials(self) -> list[Path]:
        """Return the folders of the trials that have begun."""
        return sorted((self.folder / "trials").glob("*/"))

    def progress(self) -> int:
        """Return how many epochs and results the working folder has."""
        files = [trial / "journal.jsonl" for trial in self.trials()]
        epochs = sum(path.read_bytes().count(b"\n") for path in files if path.exists())
        return epochs + sum((trial / "result.json").exists() for trial in self.trials())

    def phase(self) -> str:
        """Return what the sweep seems to be doing."""
        trials = self.trials()
        if any((self.folder / "trials").glob("*/checkpoints/*.partial")):
            return "saving"
        if trials and all((trial / "result.json").exists() for trial in trials):
            return "ending"
        return "training" if self.workers() else "starting"

    def close(self) -> None:
        """End what is left."""
        for process in self.processes():
            with suppress(*GONE):
                process.kill()
        if self.driver is not None:
            self.driver.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",  # a driver that hangs is aborted, and shows its stacks
            "RAY_TMPDIR": str(self._scratch),
            "RAY_worker_niceness": "0",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        return {**environment, "MLFLOW_TRACKING_URI": self.uri} if self.uri else environment


class Server:
    """A real MLflow server on sqlite, that can die, hang and come back.

    Args:
        folder: of its database, artifacts and log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.database = folder / "mlflow.db"
        self._log = folder / "server.txt"
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return at once."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri()]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )

    @property
    def answers(self) -> bool:
        """Whether it takes requests."""
        try:
            with urlopen(f"{self.uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    @property
    def batches(self) -> int:
        """How many batches of metrics and parameters it has taken, by its log of requests."""
        return self._log.read_bytes().count(b'runs/log-batch HTTP/1.1" 200')

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        if self._process is not None:
            with suppress(*GONE):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None


class Disk:
    """A small disk of its own (tmpfs), where mounting is permitted; else a plain folder.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._ballast = folder / "ballast"
        self.small = _mount(folder)
        """Whether it is one that can be filled."""

    @property
    def full(self) -> bool:
        """Whether the ballast lies on it."""
        return self._ballast.exists()

    def fill(self, leave: int) -> None:
        """Fill it but for ``leave`` bytes."""
        with self._ballast.open("wb") as file:
            for _ in range(3):  # others write meanwhile
                room = shutil.disk_usage(self.folder).free - leave
                try:
                    os.posix_fallocate(file.fileno(), 0, max(room, 1))
                    return
                except OSError:
                    continue

    def free(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
            self.small = False


@dataclass
class Watcher:
    """Sees every file appear that a result or a checkpoint is, whatever the ledger says of it.

    A file that is written again is another inode, or has another time.
    """

    folder: Path
    results: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    """Trial to the results it was given."""
    epochs: dict[tuple[str, str], set[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """Trial and checkpoint to the times it was saved."""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    @property
    def retrained(self) -> int:
        """Epochs that were saved, lost, and trained again."""
        return sum(len(seen) - 1 for seen in self.epochs.values())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._look()

    def _look(self) -> None:
        for path in self.folder.glob("trials/*/result.json"):
            with suppress(*GONE):
                self.results[path.parent.name].add(_version(path))
        for path in self.folder.glob("trials/*/checkpoints/epoch-*.pt"):
            with suppress(*GONE):
                self.epochs[path.parents[1].name, path.name].add(_version(path))


@dataclass
class Bench:
    """One sweep under test with all that can be taken from it."""

    sweep: Sweep
    server: Server
    disk: Disk
    watcher: Watcher
    count: int
    """Trials of the sweep."""
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    """Trial folder and name of every checkpoint that was damaged."""

    @property
    def trained(self) -> bool:
        """Whether every trial has its result."""
        results = list(self.sweep.folder.glob("trials/*/result.json"))
        return len(results) == self.count

    def newest_checkpoints(self) -> list[Path]:
        """Return the file that each unfinished trial would go on from."""
        manifests = self.sweep.folder.glob("trials/*/checkpoints/manifest.json")
        return [newest for path in sorted(manifests) for newest in _newest(path)]


@contextmanager
def bench(folder: Path, text: str, count: int) -> Iterator[Bench]:
    """Set up a sweep with its own server and disk, and take everything down in the end.

    Args:
        folder: for all of it.
        text: the search space.
        count: its trials.
    """
    space = folder / "faults.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    space.write_text(text)
    server, disk = Server(folder / "server"), Disk(folder / "disk")
    sweep = Sweep(space, disk.folder / "sweeps", folder / "logs", server.uri)
    watcher = Watcher(sweep.folder)
    try:
        server.start()
        yield Bench(sweep, server, disk, watcher, count)
    finally:
        watcher.close()
        sweep.close()
        server.kill()
        disk.close()


def _newest(manifest: Path) -> Iterator[Path]:
    if (manifest.parents[1] / "result.json").exists():
        return
    with suppress(*GONE):
        first = json.loads(manifest.read_text())["epochs"][0]
        yield manifest.parent / first["last"]["file"]


def _mount(folder: Path) -> bool:
    """Mount a small tmpfs; return whether that is permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _living(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with suppress(*GONE):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _command(process: psutil.Process) -> str:
    with suppress(*GONE):
        return " ".join(process.cmdline())
    return ""


def _session(pid: int) -> int:
    with suppress(*GONE):
        return os.getsid(pid)
    return -1


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
