"""Debian's Chromium, one for all tests; what a tab asked for and complained of; pages made by hand.

Without Chromium the tests are skipped, but where CI_BROWSER is set: there they fail.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from reports.configs import config_rows
from reports.html import Drawing, render
from reports.html import Page as Report
from reports.rows import StudyRows, TrialRow
from reports.summary import summarise
from reports.tables.base import MISSING, Cell, Column, Section, Table
from sweep.tracking import names
from sweep.tracking.links import OWN_SERVER
from sweep.tracking.store import open_client
from tests.reports.conftest import study, trial
from tests.tracking.conftest import Folder, runs

__all__ = ["study", "trial"]  # fixtures, used by name

PATIENCE = 120
"""Seconds that MLflow's server may take to answer at first."""
TOP1 = [97.04, 98.33, 9.5, math.nan, 98.06, 100.0]
"""In the order of the grid: two groups of three; as text, 100.0 would come before 9.5."""


@pytest.fixture(scope="package")  # its event loop would be in the way of other tests' own
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        reason = "there is no chromium; on Debian: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI_BROWSER") else pytest.skip(reason)
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Tab:
    """A page of the browser, and what it asked for and complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    """Addresses."""
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts and of the console, these with the address they are about."""

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location['url']}")


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens a page in a tab of its own; in the end nothing may have gone wrong in any."""
    contexts: list[BrowserContext] = []
    tabs: list[Tab] = []

    def open_one(address: str, **settings: Any) -> Tab:
        contexts.append(browser.new_context(**settings))
        tabs.append(Tab(contexts[-1].new_page()))
        tabs[-1].page.goto(address)
        return tabs[-1]

    yield open_one
    for context in contexts:
        context.close()
    for tab in tabs:
        assert tab.complaints == []
        hosts = {address.partition("://")[2].partition("/")[0] for address in tab.asked}
        assert {host.partition(":")[0] for host in hosts} <= {"", "127.0.0.1"}


# Pages made by hand ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def report(
    trial: Callable[..., TrialRow], study: Callable[..., StudyRows]
) -> Callable[..., Report]:
    """A report of six configurations of two groups, one without a number, and two figures."""

    def make(**changes: Any) -> Report:
        trials = [trial(f"ELA-{kind}", seed, 0.9) for kind in "ABC" for seed in range(2)]
        trials += [trial("CA", 0, status="failed", reason="loss is nan", metrics={})]
        rows = study(trials)
        configs = config_rows(rows)
        fields: dict[str, Any] = {
            "rows": rows,
            "configs": configs,
            "summary": summarise(rows, configs),
            "drawings": [drawing("first"), drawing("second", folded=True)],
            "tables": [table(TOP1, rows)],
            "server": OWN_SERVER,
        }
        return Report(**{**fields, **changes})

    return make


@pytest.fixture
def address(report: Callable[..., Report], tmp_path: Path) -> Callable[..., str]:
    """Writes the page of a report; returns its address."""

    def write(**changes: Any) -> str:
        path = tmp_path / "index.html"
        path.write_text(render(report(**changes)), encoding="utf-8")
        return path.as_uri()

    return write


def drawing(name: str, **settings: Any) -> Drawing:
    """A figure with what matplotlib gives the same ids in every figure: glyphs, clips, markers."""
    figure = Figure(figsize=(3.5, 2))
    figure.subplots().plot([1, 2], [3, 4], "o", label="one")
    out = io.StringIO()
    figure.savefig(out, format="svg")
    title = f"The {name} figure"
    caption = f"What the {name} figure shows."
    return Drawing(name=name, title=title, caption=caption, svg=out.getvalue(), **settings)


def table(scores: list[float], rows: StudyRows) -> Table:
    """A table of one number per row, in two groups of equal size."""
    finished = [trial.run_id for trial in rows.trials if trial.status == "done"]
    made = []
    for place, score in enumerate(scores):
        number = (
            Cell(text=MISSING)
            if math.isnan(score)
            else Cell(text=f"{score:.2f}", sort=score, runs=tuple(finished[: 1 + place % 2]))
        )
        made.append((Cell(text=f"row {place}"), number))
    made[1] = (made[1][0], Cell(text="98.33", sort=98.33, mark="best", runs=(finished[0],)))
    half = len(made) // 2
    return Table(
        study="a_study",
        name="configurations",
        title="Configurations",
        columns=(Column(title="Method"), Column(title="Top-1", unit="%", kind="spread")),
        sections=(
            Section(title="ResNet-18", rows=tuple(made[:half])),
            Section(title="MobileNetV2", rows=tuple(made[half:])),
        ),
        caption="Six rows.",
    )


# A store, and MLflow's own pages on it -----------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """MLflow's pages, as `sweep ui` serves them, on the store of a working folder."""

    address: str
    folder: Path
    parent_id: str
    run_ids: tuple[str, ...]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The store has one sweep, "small", of three trials."""
    path = tmp_path_factory.mktemp("sweeps")
    folder = Folder(path, f"sqlite:///{path / 'mlflow.db'}")
    for seed in range(3):
        folder.train(1, 2, seed=seed)
        folder.deliver(seed)
    folder.delivery._deliver_pending(closing=True)
    parent_id = runs(folder.uri, "sweep")[0].info.run_id
    nothing = json.dumps({"count": 0, "items": []})
    open_client(folder.uri).set_tag(parent_id, names.REFUSED, nothing)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from sweep.cli import main; main()"]
    command += ["ui", "--dir", str(path), "--port", str(port)]
    with (path / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield Server(
            f"http://127.0.0.1:{port}",
            path,
            parent_id,
            tuple(run.info.run_id for run in runs(folder.uri)),
        )
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    state = "does not answer" if process.poll() is None else "ended"
    pytest.fail(f"MLflow's server {state}")
