"""The page for everybody: axe-core finds nothing in any theme or width, and the keyboard alone is enough."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.browser import DESKTOP, PHONE, files, result

LOOKS = {
    "light": DESKTOP | {"color_scheme": "light"},
    "dark": DESKTOP | {"color_scheme": "dark"},
    "phone": PHONE | {"color_scheme": "light"},
    "dark phone": PHONE | {"color_scheme": "dark"},
}
WEIGHT_MOST = 200_000


def violations(page):
    """What axe-core finds, a line for each."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_while_empty_busy_and_with_an_outcome(visit, look, held):
    page = visit(**LOOKS[look], bypass_csp=True)  # axe is a script of the test's own
    expect(page.get_by_role("list", name="The three models").get_by_role("listitem")).to_have_count(3)
    assert violations(page) == []
    page.get_by_text("Options").click()
    page.set_input_files("#files", files(failing=b"bad", heard=b"a light in the dark"))
    expect(result(page, "heard.wav").first).to_be_visible()
    expect(result(page, "failing.wav").first).to_be_visible()
    page.set_input_files("#files", files(busy=f"until {held}".encode()))
    expect(page.get_by_role("button", name="Cancel busy.wav")).to_be_visible()
    assert violations(page) == []
    result(page, "heard.wav").first.get_by_role("button").click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Answered")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("look", ["phone", "dark phone"])
def test_nothing_is_wider_than_a_phone(visit, look):
    page = visit(**LOOKS[look])
    page.set_input_files("#files", files(a_name_without_any_space_that_is_longer_than_a_phone_is_wide=b"w" * 300))
    row = result(page, "a_name_without").first
    expect(row).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
    model = page.get_by_role("list", name="The three models").get_by_role("listitem").first
    assert model.evaluate("(element) => element.clientWidth") > 300, "one below the other"
    row.get_by_role("button").click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Heard")).to_be_visible()
    assert page.evaluate("document.getElementById('outcome').scrollWidth") <= PHONE["viewport"]["width"]


def tab_to(page, name, most=80):
    """Press Tab until the element with this accessible name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => document.activeElement === document.body ? "" :
                document.activeElement.ariaLabel ?? document.activeElement.textContent"""
        )
        if name in focused:
            return
    raise AssertionError(f"{name} was not reached in {most} steps")


def test_the_keyboard_alone_submits_opens_an_outcome_and_downloads(visit, tmp_path):
    page = visit()
    file = tmp_path / "keyboard.wav"
    file.write_text("typed and not clicked")
    # before the first key: the browser is told to leave choosers to the test, and does not answer when it will
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    expect(page.get_by_role("status").filter(has_text="box")).to_be_visible()
    tab_to(page, "Choose files")
    page.keyboard.press("Enter")
    expect(result(page, "keyboard.wav")).to_be_visible()
    tab_to(page, "keyboard.wav")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="keyboard.wav")).to_be_visible()
    tab_to(page, "TXT")
    with page.expect_download() as told:
        page.keyboard.press("Enter")
    assert told.value.suggested_filename == "keyboard.txt"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert "keyboard.wav" in page.evaluate("document.activeElement.textContent")


def test_colours_can_be_chosen_and_stay_chosen(visit):
    page = visit(color_scheme="light")
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != paper
    page.reload()
    expect(page.get_by_role("button", name="Change between light and dark")).to_have_text("Light")


def test_the_page_comes_in_under_200_kilobytes_and_asks_nobody_else(visit):
    page = visit()
    page.wait_for_load_state("load")
    total = page.evaluate(
        """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .filter((one) => !one.name.includes("/v1/")).reduce((sum, one) => sum + one.transferSize, 0)"""
    )
    assert 30_000 < total < WEIGHT_MOST
