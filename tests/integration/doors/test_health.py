"""Health and readiness: what a supervisor and the page are told, whatever is missing."""

import httpx
import pytest

from golem_chain.shared.settings import Settings
from tests.support.door import serving


def test_a_running_system_is_ready(door, chain):
    chain.outcomes([chain.pipeline.submit(b"turn it on", labels="a,b")])
    answer = httpx.get(f"{door}/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True, "redis": "reachable", "workers": 1, "models": "resident", "sentence": None
    }  # fmt: skip


@pytest.fixture(scope="module")
def alone(start_server, tmp_path_factory):
    """A server without a worker, and a door on it."""
    with (
        start_server(tmp_path_factory.mktemp("alone")) as server,
        serving(Settings.read(_env_file=None, redis_url=server.url)) as url,
    ):
        yield server, url


def test_without_a_worker_it_is_not_ready_and_says_what_to_start(alone):
    _, url = alone
    answer = httpx.get(f"{url}/ready")
    assert answer.status_code == 503
    told = answer.json()
    assert (told["ready"], told["redis"], told["workers"], told["models"]) == (False, "reachable", 0, "none")
    assert "golem worker" in told["sentence"]


def test_without_redis_the_door_lives_and_says_so(alone, eventually):
    server, url = alone
    server.stop()
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    answer = eventually(lambda: (told := httpx.get(f"{url}/ready", timeout=20)).json()["redis"] == "away" and told)
    assert answer.status_code == 503
    assert "Redis" in answer.json()["sentence"]
    for path in ("/v1/system", "/v1/system/events", "/v1/dead-letters"):
        answer = httpx.get(f"{url}{path}", timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker_away")
        assert str(server.port) not in answer.text
