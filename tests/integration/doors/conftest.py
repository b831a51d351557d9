"""Fixtures: a door on a running chain with fake engines."""

import pytest

from tests.support.door import serving


@pytest.fixture(scope="module")
def door(chain):
    """The URL of a door without keys, on a chain that a module's tests share."""
    with serving(chain.settings) as url:
        yield url
