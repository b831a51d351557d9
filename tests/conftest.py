"""Fixtures shared by all tests: an embedded server, and settings isolated from the environment."""

import os
import signal
import time

import hypothesis
import pytest
import redis

from golem_chain.broker.local import embedded
from golem_chain.shared.errors import BrokerAway, MissingExtra
from golem_chain.shared.settings import Settings

# No deadline: on a busy machine a slow example is not a failure.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def eventually():
    """Waits for a condition and returns its value. The deadline catches hangs only, not a busy machine."""

    def wait(condition, within_s=60.0, told=lambda: None):
        end = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {within_s:g} s: {told()}"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture(autouse=True, scope="session")
def _own_settings():
    """Remove all GOLEM_* variables of the environment, except the store and the choice of models."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("GOLEM_") and name not in ("GOLEM_STORE", "GOLEM_MODELS", "GOLEM_DEVICE"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard():
    """Restore SIGINT: a shell ignores it for background jobs, and child processes inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def start_server():
    """Starts an embedded server, as `embedded.start`. If it cannot, the test skips on a laptop and fails in CI."""

    def start(*args, **kwargs):
        try:
            return embedded.start(*args, **kwargs)
        except (MissingExtra, BrokerAway) as exc:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no embedded server: {exc.message}")

    return start


@pytest.fixture(scope="session")
def redis_server(start_server):
    """One server for all tests."""
    with start_server() as server:
        yield server


@pytest.fixture
def settings(redis_server):
    """Settings for the embedded server, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return Settings.read(_env_file=None, redis_url=redis_server.url, keep_s=60)


@pytest.fixture
def client(settings):
    """A plain client for the server of `settings`."""
    with redis.Redis.from_url(settings.redis_url) as connected:
        yield connected
