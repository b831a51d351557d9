"""A headless Chromium whose pages must behave: no error, no violation of the policy, no request to anybody else."""

import shutil
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: What a browser says of an answer above 399, which is no fault of the page.
_ANSWERED = "Failed to load resource: the server responded with a status of"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 1000}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
expect.set_options(timeout=20_000)


@contextmanager
def launched(*more):
    """Run the installed Chromium during the block; skips where there is none. `more` are switches for it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no {' or '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *more])
        yield browser
        browser.close()


class Visit:
    """One visit to a door's page, in a context of its own."""

    def __init__(self, browser, url, **context):
        self.url = url
        self.problems: list[str] = []
        self.asked: list[str] = []  # URLs
        self.context = browser.new_context(**DESKTOP | context)
        self.page = self.context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def _said(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(_ANSWERED):
            self.problems.append(f"{message.type}: {message.text}")

    def close(self):
        """End the visit. Fails if the page did not behave."""
        self.context.close()
        assert self.problems == []
        own = urlsplit(self.url).netloc
        strangers = [url for url in self.asked if urlsplit(url).scheme != "blob" and urlsplit(url).netloc != own]
        assert strangers == []


def files(**contents):
    """Files as the browser takes them, by name without an ending."""
    return [{"name": f"{name}.wav", "mimeType": "audio/wav", "buffer": data} for name, data in contents.items()]


def result(page, name):
    """The row of a job that ended."""
    return page.get_by_role("list", name="Jobs that ended").get_by_role("listitem").filter(has_text=name)


def drop(page, name, text):
    """Drop a file with this text onto the page."""
    page.evaluate(
        """([name, text]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], name, { type: "audio/wav" }));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [name, text],
    )
