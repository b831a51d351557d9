"""Who may come in, over real HTTP: keys, rates, hosts, origins, and the headers that browsers obey."""

import time
from typing import Any

import httpx
import pytest

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from tests.support.door import serving


@pytest.fixture(scope="module")
def given():
    """A key, an operator's and one of few requests, in the clear."""
    return {name: keys.make() for name in ("alice", "root", "slow")}


@pytest.fixture(scope="module")
def file(given, tmp_path_factory):
    """A file of their hashes."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    more: dict[str, dict[str, Any]] = {
        "alice": {"upload": 1 << 20, "queued": 9},
        "root": {"operator": True},
        "slow": {"requests_per_min": 2},
    }
    for name, key in given.items():
        keys.add(path, Key(name=name, sha256=keys.hash_of(key), **more[name]))
    return path


@pytest.fixture(scope="module")
def locked(chain, file):
    """The URL of a door with these keys."""
    settings = chain.settings.model_copy(update={"api_keys": f"@{file}"})
    with serving(settings) as url:
        yield url


def ask(url, key=None, method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return httpx.request(method, url, headers=headers)


def test_a_door_without_keys_knows_its_caller(door):
    told = ask(f"{door}/v1/session").json()
    assert (told["caller"], told["operator"], told["keys"]) == ("local", True, False)
    assert told["limits"]["upload_bytes"] == 256 << 20


def test_a_key_says_who_asks_and_what_it_may(locked, given):
    told = ask(f"{locked}/v1/session", given["alice"]).json()
    assert (told["caller"], told["operator"], told["keys"]) == ("alice", False, True)
    assert told["limits"] == {"requests_per_min": None, "upload_bytes": 1 << 20, "queued": 9}
    assert ask(f"{locked}/v1/session", given["root"]).json()["operator"]


@pytest.mark.parametrize("key", [None, "x", "golem_wrong", "x" * 10_000, "ü".encode()])
def test_a_wrong_or_missing_key_is_401_in_openais_shape(locked, key):
    if isinstance(key, bytes):
        answer = httpx.get(f"{locked}/v1/session", headers={b"authorization": b"Bearer " + key})
    else:
        answer = ask(f"{locked}/v1/session", key)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_hash_of_the_file_is_no_key(locked, given):
    assert ask(f"{locked}/v1/session", keys.hash_of(given["alice"])).status_code == 401


@pytest.mark.parametrize("name", ["key", "api_key", "API_KEY", "access_token", "token"])
def test_a_key_in_a_url_is_refused_even_with_the_right_one_in_the_header(locked, given, name):
    answer = ask(f"{locked}/v1/session?{name}={given['alice']}", given["alice"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "key_in_url")
    assert given["alice"] not in answer.text


def test_the_page_and_health_need_no_key_and_the_rest_does(locked):
    for path in ("/", "/static/page.js", "/health", "/ready", "/openapi.json"):
        assert ask(locked + path).status_code != 401, path
    for path in ("/v1/session", "/v1/jobs", "/metrics", "/v1/models", "/nothing", "/static", "/static/../v1/jobs"):
        assert ask(locked + path.replace("..", "%2e%2e")).status_code in (400, 401), path


@pytest.mark.parametrize("path", ["/metrics", "/v1/dead-letters", "/v1/dead-letters/1/retry"])
def test_what_shows_all_users_needs_an_operators_key(locked, given, path):
    assert ask(locked + path, given["alice"]).status_code == 403
    assert ask(locked + path, given["root"]).status_code != 403


def test_a_key_that_asks_too_often_is_told_when_to_come_back(locked, given):
    answers = [ask(f"{locked}/v1/session", given["slow"]) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "2"
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["1", "0", "0"]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert ask(f"{locked}/v1/session", given["alice"]).status_code == 200


def test_the_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(chain, tmp_path, eventually, caplog):
    path, first, second = tmp_path / "keys.toml", keys.make(), keys.make()
    keys.add(path, Key(name="first", sha256=keys.hash_of(first)))
    with serving(chain.settings.model_copy(update={"api_keys": f"@{path}"})) as url:

        def status(key):
            return ask(f"{url}/v1/session", key).status_code

        assert (status(first), status(second)) == (200, 401)
        keys.add(path, Key(name="second", sha256=keys.hash_of(second)))
        eventually(lambda: status(second) == 200, 10)
        keys.remove(path, "first")
        eventually(lambda: status(first) == 401, 10)
        path.write_text("[[key]\n")
        eventually(lambda: "The API keys stay as they were" in caplog.text or status(second) != 200, 10)
        time.sleep(1.1)
        assert status(second) == 200
        assert caplog.text.count("The API keys stay as they were") == 1


def test_wrong_keys_from_one_address_are_limited_and_the_right_one_is_not(chain, file, given, caplog):
    with (
        serving(chain.settings.model_copy(update={"api_keys": f"@{file}"})) as url,
        httpx.Client(base_url=url) as client,
    ):
        seen = [
            client.get("/v1/session", headers={"authorization": f"Bearer golem_{n}"}).status_code for n in range(30)
        ]
        assert seen[0] == 401
        assert seen[-1] == 429
        assert caplog.text.count("wrong API keys came from 127.0.0.1") == 1
        assert "golem_29" not in caplog.text
        assert client.get("/v1/session", headers={"authorization": f"Bearer {given['alice']}"}).status_code == 200


def test_a_name_that_was_made_to_lead_here_gets_nothing(door):
    answer = ask(f"{door}/v1/session", host="evil.example:8000")
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_other_sites_get_nothing(door, origin, method):
    answer = ask(f"{door}/v1/session", method=method, origin=origin)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_form_of_another_site_starts_no_job(door, chain):
    before = chain.client.dbsize()
    answer = httpx.post(
        f"{door}/v1/jobs", data={"text": "turn it on"}, headers={"origin": "null", "sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
    assert chain.client.dbsize() == before


def test_our_own_page_passes(door):
    assert ask(f"{door}/v1/session", origin=door, sec_fetch_site="same-origin").status_code == 200


def test_there_is_no_cors_unless_it_is_set(door):
    answer = ask(
        f"{door}/v1/jobs", method="OPTIONS", origin="https://app.example", access_control_request_method="POST"
    )
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_a_named_origin_may_ask_and_see(chain, file, given):
    settings = chain.settings.model_copy(update={"api_keys": f"@{file}", "serve_origins": ("https://app.example",)})
    page = {"origin": "https://app.example", "sec_fetch_site": "cross-site"}
    with serving(settings) as url:
        asked = ask(f"{url}/v1/session", method="OPTIONS", access_control_request_method="GET", **page)
        assert asked.status_code == 204
        assert "authorization" in asked.headers["access-control-allow-headers"]
        for answer in (asked, ask(f"{url}/v1/session", **page), ask(f"{url}/v1/session", given["alice"], **page)):
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert answer.headers["vary"] == "origin"
            assert "access-control-allow-credentials" not in answer.headers
        stranger = ask(f"{url}/v1/session", given["alice"], origin="https://other.example")
        assert stranger.status_code == 403
        assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/session", 200), ("GET", "/nothing", 404), ("POST", "/v1/session", 405), ("TRACE", "/", 405),
     ("OPTIONS", "/v1/session", 405), ("BREW", "/v1/session", 405), ("GET", "/a//b", 400)],
)  # fmt: skip
def test_every_answer_has_the_headers_that_browsers_obey(door, method, path, status):
    answer = ask(door + path, method=method)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in answer.headers
    if status != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if status == 405:
        assert answer.headers["allow"]


def test_a_request_keeps_its_id_if_that_is_a_sane_one(door):
    assert ask(f"{door}/v1/session", x_request_id="my-id.7").headers["x-request-id"] == "my-id.7"
    made = {ask(f"{door}/v1/session", x_request_id=odd).headers["x-request-id"] for odd in ("", "a b", "x" * 65)}
    assert len(made) == 3
    assert all(one.startswith("req_") for one in made)
