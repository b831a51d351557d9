"""A door behind nginx and behind Caddy, each with the configuration of the documentation and TLS."""

import json
import time

import httpx
import pytest

from golem_chain.broker.doors.access import keys
from golem_chain.broker.doors.access.keys import Key
from tests.support.door_program import door_process
from tests.support.hostile_clients import head
from tests.support.reverse_proxies import NAME, PROGRAMS, installed, proxied

KEY = keys.make()


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def proxy(request, chain, tmp_path_factory):
    """A proxy that runs in front of a door with a key."""
    for program in (request.param, "openssl"):
        if installed(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    keys.add(folder / "keys.toml", Key(name="alice", sha256=keys.hash_of(KEY), operator=True))
    given = {"serve_hosts": NAME, "serve_proxies": "127.0.0.1", "api_keys": f"@{folder}/keys.toml"}
    with (
        door_process(chain, folder, {"BODY_IDLE_S": 2}, **given) as door,
        proxied(request.param, folder, door.port) as running,
    ):
        yield running


@pytest.fixture
def client(proxy):
    with proxy.client(authorization=f"Bearer {KEY}") as client:
        yield client


def test_a_request_comes_through_with_its_headers(client):
    answer = client.get("/v1/session", headers={"x-request-id": "mine-1"})
    assert (answer.status_code, answer.json()["caller"]) == (200, "alice")
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_transcription_comes_through(client):
    answer = client.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", b"turn it on")}
    )
    assert answer.json()["text"] == "turn it on"


def test_events_pass_one_by_one(client):
    came: list[float] = []
    with client.stream("GET", "/v1/system/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("event: status"):
                came.append(time.monotonic())
            if len(came) == 4:
                break
    assert came[-1] - came[0] > 1  # about a second apart: a buffer would have let them come together


def test_an_upload_reaches_the_server_while_it_is_sent(proxy):
    """The server gives up a body that stalls: a proxy that had buffered it would have given up itself, much later."""
    lines = [f"Authorization: Bearer {KEY}", "Content-Type: multipart/form-data; boundary=B", "Content-Length: 9000000"]
    request = head(headers=["Connection: close", *lines]).replace(
        b"Host: localhost", f"Host: {NAME}:{proxy.port}".encode()
    )
    with proxy.socket() as connection:
        connection.sendall(
            request + b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 99
        )
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"408"
            assert b'"code":"timeout"' in answer.read()


@pytest.mark.parametrize("size", [9 << 20])
def test_a_large_upload_passes(client, size):
    answer = client.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", b"bad" + b"\0" * size)}
    )
    assert answer.status_code != 413
    assert "x-request-id" in answer.headers  # the server's answer, not the proxy's


def test_its_own_page_passes_and_others_do_not(client, proxy):
    assert client.get("/v1/session", headers={"origin": proxy.origin}).status_code == 200
    plain = proxy.origin.replace("https:", "http:")  # the proxy's word that TLS is spoken is believed
    for origin in (plain, f"https://{NAME}", "https://evil.example", "null"):
        assert client.get("/v1/session", headers={"origin": origin}).status_code == 403, origin


def test_other_names_do_not_reach_the_server(client, proxy):
    answer = client.get("/v1/session", headers={"host": f"evil.example:{proxy.port}"})
    assert answer.status_code == 421 or not answer.content  # nginx passes it on, Caddy knows no such site


def test_the_address_of_a_client_holds_whatever_it_says_of_itself(proxy):
    def wrong(client, n):
        lies = {"x-forwarded-for": f"10.0.0.{n}", "forwarded": f"for=10.0.0.{n}", "x-real-ip": f"10.0.0.{n}"}
        return client.get("/v1/session", headers={"authorization": f"Bearer {n}", **lies}).status_code

    with proxy.client("127.0.0.2") as one, proxy.client("127.0.0.3") as other:
        seen = [wrong(one, n) for n in range(40)]
        assert (seen[0], seen[-1]) == (401, 429)
        assert wrong(other, 1) == 401


def test_without_a_proxy_in_the_settings_nobody_is_believed(chain, tmp_path):
    keys.add(tmp_path / "keys.toml", Key(name="alice", sha256=keys.hash_of(KEY)))
    with (
        door_process(chain, tmp_path, api_keys=f"@{tmp_path}/keys.toml") as door,
        httpx.Client(base_url=door.url) as client,
    ):
        seen = [
            client.get(
                "/v1/session", headers={"authorization": "Bearer x", "x-forwarded-for": f"10.0.0.{n}"}
            ).status_code
            for n in range(40)
        ]
        assert seen[-1] == 429
        forged = {
            "authorization": f"Bearer {KEY}",
            "x-forwarded-proto": "https",
            "origin": f"http://127.0.0.1:{door.port}",
        }
        assert client.get("/v1/session", headers=forged).status_code == 200
        assert json.loads(client.get("/v1/session", headers=forged).text)["caller"] == "alice"
