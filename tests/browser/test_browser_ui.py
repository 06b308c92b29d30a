"""What the report links to is in MLflow's pages, and the report itself is, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect
from spec.spaces import call

from sweep.tracking.links import run_page, sweep_page
from tests.browser.conftest import Server, Tab

SLOW = 60_000
"""Milliseconds that MLflow's pages may take to show something; they are large."""
UNKNOWN_TO_MLFLOW = "/ajax-api/2.0/mlflow/users/current"
"""What its pages complain of themselves, since a store without users does not know its own."""


@pytest.fixture(scope="module")
def index(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report on the server's sweep; the command made it an artifact of its run."""
    target = tmp_path_factory.mktemp("report")
    result = call("report", "small", "-o", target, "--tracking-uri", server.address)
    assert result.code == 0, result.err
    return (target / "index.html").as_uri()


@pytest.fixture
def tab(open_tab: Callable[..., Tab], index: str) -> Iterator[Tab]:
    tab = open_tab(index, viewport={"width": 1300, "height": 900})
    yield tab
    tab.page.close()  # or it complains after it was asked
    tab.complaints[:] = _unexpected(tab.complaints)


def _unexpected(complaints: list[str]) -> list[str]:
    return [text for text in complaints if not text.endswith(UNKNOWN_TO_MLFLOW)]


def test_what_is_missing_is_a_complaint(tab: Tab, server: Server) -> None:
    """But for the one address that MLflow's own pages ask for in vain."""
    tab.page.goto(server.address)
    with tab.page.expect_console_message(lambda message: "no-such-run" in message.location["url"]):
        tab.page.evaluate("fetch('/ajax-api/2.0/mlflow/no-such-run').then(() => null)")
    (complaint,) = _unexpected(tab.complaints)
    assert "404 (Not Found)" in complaint
    tab.complaints.remove(complaint)


def test_a_number_leads_to_its_run(tab: Tab, server: Server) -> None:
    trials = tab.page.get_by_role("table", name="All trials")
    trials.get_by_role("link", name="50.00").first.click()
    assert tab.page.url in {run_page(server.address, "1", run) for run in server.run_ids}
    expect(tab.page.get_by_role("heading", name="seed 0")).to_be_visible(timeout=SLOW)


def test_a_mean_leads_to_the_comparison_of_its_runs(tab: Tab) -> None:
    tab.page.get_by_role("link", name="50.00 ± 0.00 (3)").first.click()
    heading = tab.page.get_by_text("Comparing 3 Runs from 1 Experiment")
    expect(heading).to_be_visible(timeout=SLOW)


def test_mlflow_lists_the_runs_of_the_sweep(tab: Tab, server: Server) -> None:
    tab.page.goto(sweep_page(server.address, "1", "small"))
    expect(tab.page.get_by_text("4 matching runs")).to_be_visible(timeout=SLOW)  # and the sweep's
    tab.page.get_by_role("row").filter(has_text="small").get_by_role("button").first.click()
    for name in ("seed 0", "seed 1", "seed 2"):
        expect(tab.page.get_by_role("link", name=name)).to_be_visible()


def test_mlflow_shows_the_report(tab: Tab, server: Server) -> None:
    tab.page.goto(f"{run_page(server.address, '1', server.parent_id)}/artifacts")
    tab.page.get_by_text("report", exact=True).click(timeout=SLOW)
    tab.page.get_by_text("index.html").click(timeout=SLOW)
    shown = tab.page.frame_locator("iframe")
    expect(shown.get_by_role("heading", name="small", exact=True)).to_be_visible(timeout=SLOW)
    expect(shown.get_by_text("MLflow follows no links")).to_be_visible()
    shown.get_by_role("button", name="Top-1 (%)").first.click()
    expect(shown.get_by_role("columnheader", name="Top-1 (%)").first).to_have_attribute(
        "aria-sort", "ascending"
    )
