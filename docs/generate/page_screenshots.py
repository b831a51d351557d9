"""Writes docs/figures/serve-*.png: the page of `golem serve` at work with the bundled models, in an installed Chromium.

usage: .venv/bin/python docs/generate/page_screenshots.py     (on a machine that does nothing else)
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
SPOKEN = [
    ROOT / "samples" / f"{name}.flac" for name in ("lights-on", "timer", "weather", "music-stop", "spell", "alchemy")
]
DESKTOP = {"width": 1440, "height": 1000}
PHONE = {"width": 390, "height": 844}
ROUNDS, ROUND_S = 6, 8  # so that a minute of turns is on the chart
#: Little room, so that the models take turns as on a small card.
BUDGET = "1200MB"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
BYTES = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .filter((one) => !one.name.includes('/v1/')).reduce((sum, one) => sum + one.transferSize, 0)"""


def main() -> None:
    """Run a server, let its models take turns, and take the pictures."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit("No Chromium is installed: install the package chromium.")
    with server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        light = visit(browser, url, color_scheme="light", viewport=DESKTOP)
        print(f"first paint {light.evaluate(PAINT):.0f} ms, {light.evaluate(BYTES) / 1000:.0f} kB in all")
        work(light)
        light.screenshot(path=FIGURES / "serve-light.png")
        wait_for_all(light)
        phone = visit(browser, url, color_scheme="light", viewport=PHONE, is_mobile=True)
        phone.wait_for_timeout(1500)
        phone.evaluate("document.querySelector('.card').scrollIntoView()")
        phone.screenshot(path=FIGURES / "serve-phone.png")
        light.emulate_media(color_scheme="dark")
        ended = light.get_by_role("list", name="Jobs that ended").get_by_role("listitem")
        ended.filter(has_text="timer.flac").first.get_by_role("button").click()
        expect(light.get_by_role("dialog").locator(".wave")).to_be_visible()
        light.get_by_role("group", name="Words").get_by_role("button", name="five").click()
        light.wait_for_timeout(300)
        light.screenshot(path=FIGURES / "serve-outcome.png")
        browser.close()


def visit(browser: Browser, url: str, **context: object) -> Page:
    """Open the page."""
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type] # as new_context names them
    page.goto(url)
    expect(page.get_by_role("list", name="The three models").get_by_role("listitem")).to_have_count(3)
    return page


def work(page: Page) -> None:
    """Send recordings in rounds, and return while a few of the last round wait."""
    for n in range(ROUNDS):
        page.set_input_files("#files", SPOKEN[: 2 + n % 3] if n + 1 < ROUNDS else SPOKEN)
        if n == 0:
            expect(page.locator(".box")).to_be_visible()
        page.wait_for_timeout(1000 * (ROUND_S if n + 1 < ROUNDS else 1.5))


def wait_for_all(page: Page) -> None:
    """Wait until no job waits."""
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0, timeout=120_000)


@contextmanager
def server() -> Iterator[str]:
    """Run golem serve with a system of its own; yields its URL once it serves."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"GOLEM_SERVE_PORT": str(port), "GOLEM_SERVE_DATA": folder, "GOLEM_WYOMING_PORT": "0"}
        env |= {"GOLEM_MODELS": "bundled", "GOLEM_MEMORY_BUDGET": BUDGET}
        command = [sys.executable, "-m", "golem_chain.broker.cli", "serve"]
        with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until_ready(url, process)
                yield url
            finally:
                process.terminate()


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a worker serves. Exits if the server does."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ready"):  # noqa: S310 - the server that was just started
                return
        except urllib.error.URLError:
            time.sleep(0.2)
    sys.exit("golem serve ended: see above.")


if __name__ == "__main__":
    main()
