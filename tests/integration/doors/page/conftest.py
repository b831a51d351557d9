"""Fixtures: a browser for each module of tests, and visits that must have behaved."""

import pytest

from tests.support.browser import Visit, launched


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for which voice.example is this machine."""
    with launched("--host-resolver-rules=MAP voice.example 127.0.0.1") as one:
        yield one


@pytest.fixture
def visit(browser, door):
    """Opens the page of the module's door, or of another one; each visit must have behaved at the end."""
    made = []

    def open_(url=None, **context):
        made.append(Visit(browser, url or door, **context))
        return made[-1].page

    yield open_
    for one in made:
        one.close()


@pytest.fixture
def held(chain, eventually):
    """A file; a job with the bytes `until <file>` holds the worker until the test ends, or creates it."""
    path = chain.root / "go"
    path.unlink(missing_ok=True)
    yield path
    path.touch()
    eventually(lambda: not chain.client.hlen(f"{chain.settings.prefix}:unacked"))
