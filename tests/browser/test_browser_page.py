"""index.html as its readers have it: sorted, filtered, in the dark, on a phone, without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from reports.configs import config_rows
from reports.html import Page as Report
from reports.rows import StudyRows, TrialRow
from sweep.tracking.links import comparison_page
from tests.browser.conftest import Tab, drawing, table

GRID = ["97.04", "98.33", "9.50", "–", "98.06", "100.00"]


def shown(page: Page) -> list[str]:
    """The numbers of the rows that are to be seen, from top to bottom."""
    cells = section(page).locator("tbody tr:not(.group):visible td").all_inner_texts()
    return [re.sub(r"\s*★$", "", text) for text in cells]


def section(page: Page) -> Locator:
    return page.locator("[data-table=configurations]")


def sort(page: Page) -> None:
    section(page).get_by_role("button", name="Top-1 (%)").click()


def heading(page: Page) -> Locator:
    return section(page).get_by_role("columnheader", name="Top-1 (%)")


@pytest.fixture
def tab(open_tab: Callable[..., Tab], address: Callable[..., str]) -> Tab:
    return open_tab(address())


def test_a_click_sorts_by_number_within_groups_and_missing_comes_last(tab: Tab) -> None:
    page = tab.page
    assert shown(page) == GRID
    sort(page)
    expect(heading(page)).to_have_attribute("aria-sort", "ascending")
    assert shown(page) == ["9.50", "97.04", "98.33", "98.06", "100.00", "–"]
    expect(section(page).get_by_role("status")).to_have_text("6 rows, ascending by Top-1 (%)")
    sort(page)
    expect(heading(page)).to_have_attribute("aria-sort", "descending")
    assert shown(page) == ["98.33", "97.04", "9.50", "100.00", "98.06", "–"]
    sort(page)
    expect(heading(page)).to_have_attribute("aria-sort", "none")
    assert shown(page) == GRID


def test_groups_can_be_taken_apart(tab: Tab) -> None:
    page = tab.page
    section(page).get_by_role("checkbox", name="keep groups together").uncheck()
    sort(page)
    assert shown(page) == ["9.50", "97.04", "98.06", "98.33", "100.00", "–"]
    expect(section(page).get_by_text("MobileNetV2")).to_be_hidden()


def test_a_filter_keeps_the_rows_that_have_all_words(tab: Tab) -> None:
    page = tab.page
    section(page).get_by_role("searchbox", name="Filter rows of Configurations").fill("ROW mobile")
    assert shown(page) == GRID[3:]
    expect(section(page).get_by_role("status")).to_have_text("3 of 6 rows")
    expect(section(page).get_by_text("ResNet-18")).to_be_hidden()
    section(page).get_by_role("searchbox").fill("9.5")
    assert shown(page) == ["9.50"]
    section(page).get_by_role("searchbox").fill("no such row")
    expect(section(page).get_by_role("status")).to_have_text("0 of 6 rows")


def test_the_keyboard_is_enough(tab: Tab) -> None:
    page = tab.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the summary")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
        if focused.inner_text() == "Top-1 (%)":
            break
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_attribute("aria-sort", "ascending")


def test_what_a_screen_reader_finds(tab: Tab) -> None:
    page = tab.page
    configurations = page.get_by_role("table", name="Configurations")
    names = configurations.get_by_role("columnheader").all_inner_texts()
    assert names == ["Method", "Top-1 (%)"]
    assert configurations.get_by_role("rowheader").count() == 8  # two of groups
    expect(page.get_by_role("img", name="What the first figure shows.")).to_be_visible()
    expect(
        page.get_by_role(
            "img", name="chosen on validation, and better on test than every other of its group"
        )
    ).to_be_visible()
    levels = [
        int(tag[1]) for tag in page.locator("h1, h2, h3").evaluate_all("l => l.map(e => e.tagName)")
    ]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    for role in ("main", "navigation", "banner"):
        assert page.get_by_role(role).count() == 1


def test_without_scripts_everything_is_there(
    open_tab: Callable[..., Tab], address: Callable[..., str]
) -> None:
    page = open_tab(address(refresh=30), java_script_enabled=False).page
    assert shown(page) == GRID
    for tools in page.locator(".tools, .watch button").all():
        expect(tools).to_be_hidden()
    expect(page.get_by_text("Reload the page to see what is new.")).to_be_visible()


def test_dark_and_light(open_tab: Callable[..., Tab], address: Callable[..., str]) -> None:
    page = open_tab(address(), color_scheme="dark").page
    body, label = page.locator("body"), page.locator("svg.themed").first
    colours = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    assert body.evaluate(colours) == ["rgb(22, 24, 27)", "rgb(232, 230, 227)"]
    expect(label).to_have_css("color", "rgb(232, 230, 227)")
    page.emulate_media(color_scheme="light")
    assert body.evaluate(colours) == ["rgb(255, 255, 255)", "rgb(26, 26, 26)"]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_only_tables_and_figures_scroll_sideways(
    width: int, open_tab: Callable[..., Tab], address: Callable[..., str]
) -> None:
    page = open_tab(address(refresh=30), viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_print_has_no_controls_and_all_figures(tab: Tab) -> None:
    page = tab.page
    expect(page.get_by_role("img", name="What the second figure shows.")).to_be_hidden()
    page.emulate_media(media="print")
    for control in page.locator("input, nav").all():
        expect(control).to_be_hidden()
    expect(section(page).get_by_role("status")).to_be_visible()  # it may say that rows are hidden
    expect(page.locator("#figure-second-text")).to_be_visible()


def test_what_is_folded_is_open_while_the_page_is_printed(
    open_tab: Callable[..., Tab], address: Callable[..., str]
) -> None:
    drawings = [drawing(name, folded=True) for name in ("first", "second")]
    page = open_tab(address(drawings=drawings)).page
    page.locator("details").first.evaluate("details => { details.open = true; }")
    page.evaluate("""() => {
        window.seen = [];
        const count = () => seen.push(document.querySelectorAll("details:not([open])").length);
        for (const event of ["beforeprint", "afterprint"]) addEventListener(event, count);
    }""")
    page.pdf()
    assert page.evaluate("seen") == [0, 1]


def test_figures_keep_their_own_glyphs(tab: Tab) -> None:
    """Two figures have the same ids in their files; here each refers to its own."""
    strays = """svgs => svgs.flatMap(svg => [...svg.querySelectorAll("use")]
        .filter(use => !svg.contains(document.querySelector(
            `[id="${use.getAttribute("xlink:href").slice(1)}"]`))))"""
    assert tab.page.locator("svg").evaluate_all(strays) == []
    assert tab.page.locator("svg use").count() > 20
    ids = tab.page.locator("[id]").evaluate_all("elements => elements.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_a_page_of_a_running_sweep_reloads_and_keeps_what_was_chosen(
    open_tab: Callable[..., Tab], address: Callable[..., str], report: Callable[..., Report]
) -> None:
    made = address(refresh=30)
    tab = open_tab("about:blank", viewport={"width": 800, "height": 300})
    page = tab.page
    page.clock.install()
    page.goto(made)
    sort(page)
    section(page).get_by_role("searchbox").fill("row")
    section(page).get_by_role("searchbox").blur()
    page.evaluate("scrollTo(0, 500)")
    before = len(tab.asked)
    with page.expect_navigation():
        page.clock.fast_forward("00:31")
    assert tab.asked[before:] == [made]
    assert shown(page) == ["9.50", "97.04", "98.33", "98.06", "100.00", "–"]
    assert section(page).get_by_role("searchbox").input_value() == "row"
    assert page.evaluate("scrollY") == 500
    page.get_by_role("button", name="Pause").click()
    page.clock.fast_forward("10:00")
    assert tab.asked[before:] == [made]
    expect(page.get_by_text("does not reload")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    with page.expect_navigation():
        page.clock.fast_forward("00:31")


def test_it_does_not_reload_while_words_are_typed(
    open_tab: Callable[..., Tab], address: Callable[..., str]
) -> None:
    made = address(refresh=30)
    tab = open_tab("about:blank")
    tab.page.clock.install()
    tab.page.goto(made)
    section(tab.page).get_by_role("searchbox").fill("row")
    tab.page.clock.fast_forward("05:00")
    assert tab.asked.count(made) == 1


def test_two_thousand_trials(
    open_tab: Callable[..., Tab],
    address: Callable[..., str],
    trial: Callable[..., TrialRow],
    study: Callable[..., StudyRows],
) -> None:
    many = study(
        [trial(f"ELA-{kind}", seed, kind / 1000) for kind in range(667) for seed in range(3)]
    )
    made = address(
        rows=many,
        configs=config_rows(many),
        drawings=[drawing("one")],
        tables=[table([0.5] * 667 * 3, many)],
    )
    page = open_tab(made).page
    sort(page)
    section(page).get_by_role("searchbox").fill("row 1999")
    expect(section(page).get_by_role("status")).to_have_text(
        "1 of 2001 rows, ascending by Top-1 (%)"
    )


def test_links(tab: Tab, report: Callable[..., Report]) -> None:
    links = section(tab.page).locator("td a")
    found = [link.get_attribute("href") for link in links.all()]
    assert found[0].endswith("/#/experiments/1/runs/run-ELA-A-0")
    pair = {"run-ELA-A-0": "1", "run-ELA-A-1": "1"}
    assert found[-1] == comparison_page(report().server, pair)
