"""200 slow, broken and hostile clients at once: honest ones are served, and nothing is left of the others."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from golem_chain.broker.doors.access import limits
from golem_chain.broker.monitoring import status
from tests.support import hostile_clients
from tests.support.door import serving
from tests.support.door_program import door_process
from tests.support.hostile_clients import head

SHORT = {"HEAD_S": 2, "BODY_IDLE_S": 2, "BODY_SLOW_S": 3, "LINGER_S": 1, "WRITE_S": 2}


@pytest.fixture(scope="module")
def process(chain, tmp_path_factory):
    """A door in a process of its own, with deadlines of seconds."""
    with door_process(chain, tmp_path_factory.mktemp("door"), SHORT) as door:
        yield door


async def transcribe(client, n):
    """A request of an honest client: the time it took, seconds. Fails unless it was answered with its own words."""
    began, words = time.monotonic(), f"turn on number {n}"
    answer = await client.post(
        "/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": ("a.wav", words.encode())}
    )
    assert (answer.status_code, answer.json().get("text")) == (200, words), answer.text
    return time.monotonic() - began


async def honest(url, until, gap_s=0.05):
    """An honest client that asks one thing after the other until an event is set; the times, seconds."""
    took: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        while not until.is_set():
            took.append(await transcribe(client, len(took)))
            await asyncio.sleep(gap_s)
    return took


async def storm(process, clients, rounds):
    """A storm, with four honest clients in it; how long each of their requests took, seconds."""
    over = asyncio.Event()
    served = [asyncio.create_task(honest(process.url, over)) for _ in range(4)]
    await hostile_clients.storm(process.port, clients, rounds)
    over.set()
    return sorted(took for times in await asyncio.gather(*served) for took in times)


def test_a_storm_of_hostile_clients_costs_no_job_and_leaves_nothing_behind(process, chain, eventually):
    took = asyncio.run(storm(process, 200, 1))  # the first one warms up caches and pools
    idle = eventually(lambda: process.descriptors() < 40 and process.descriptors(), 30, process.descriptors)
    before, tasks = process.resident_bytes(), process.tasks()
    took += asyncio.run(storm(process, 200, 2))
    eventually(lambda: process.descriptors() <= idle + 3, 30, process.descriptors)
    eventually(lambda: process.tasks() <= tasks + 2, 30, process.tasks)
    grown = [process.resident_bytes() - before]
    while grown[-1] >= 24 << 20 and len(grown) < 3:  # what is kept for good grows with each storm, the heap settles
        before = process.resident_bytes()
        took += asyncio.run(storm(process, 200, 2))
        grown.append(process.resident_bytes() - before)
    assert "Traceback" not in process.log, process.log
    assert "rror" not in process.log, process.log
    assert grown[-1] < 24 << 20, f"{[size >> 20 for size in grown]} MiB more after each storm than before it"
    assert len(took) > 40

    def left():
        seen = status.read(chain.settings)
        return {name: queue["waiting"] for name, queue in seen["queues"].items()}, seen["in_hand"]

    eventually(lambda: not any(left()[0].values()) and not left()[1], 30, left)
    assert "Traceback" not in chain.log.read_text()


def ask(port, data, most_s=20):
    """Send bytes, and return the status and the body of what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=most_s) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as answer:
            line = answer.readline()
            while answer.readline() not in (b"\r\n", b""):
                pass
            return int(line.split()[1]), json.loads(answer.read())["error"]


FORM = ["Connection: close", "Content-Type: multipart/form-data; boundary=B"]
CLOSE = ["Connection: close"]
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /v1/session HTTP/1.1\r\nHost: localhost\r\nX: ", 408, "timeout"),
        (head(headers=[*FORM, "Content-Length: 100"]) + b"--B\r\n", 408, "timeout"),
        (head(headers=[*FORM, CHUNKED]) + b"5\r\n--B\r\n\r\n", 408, "timeout"),
        (head("GET", headers=["X: " + "a" * (1 << 20)]), 431, "headers_too_large"),
        (head("GET", headers=[*CLOSE, *(f"X-{n}: {n}" for n in range(1000))]), 431, "headers_too_large"),
        (head("GET", "/" + "a" * 10_000, CLOSE), 414, "uri_too_long"),
        (head("GET", "/?q=" + "a" * 10_000, CLOSE), 414, "uri_too_long"),
        (head("GET", "/a/../b", CLOSE), 400, "invalid_path"),
        (head("GET", "/static/%2e%2e/%2e%2e/etc/passwd", CLOSE), 400, "invalid_path"),
        (head("GET", "/static/..%2f..%2fetc/passwd", CLOSE), 400, "invalid_path"),
        (head("GET", "/%00", CLOSE), 400, "invalid_path"),
        (head("GET", "http://evil.example/v1/session", CLOSE), 400, "invalid_path"),
        (head("TRACE", "/v1/session", CLOSE), 405, "method_not_allowed"),
        (head("BREW", "/v1/session", CLOSE), 405, "method_not_allowed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_http"),  # no Host
        (b"GET / HTTP/1.0\r\n\r\n", 400, "invalid_host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400, "invalid_http"),
        (b"\x16\x03\x01\x02\x00" + b"\x01" * 500 + b"\r\n\r\n", 400, "invalid_http"),
        (head(headers=[*FORM, "Content-Length: 5", CHUNKED]) + b"0\r\n\r\n", 400, "invalid_header"),
        (head(headers=[*CLOSE, "Content-Length: -1"]), 400, "invalid_http"),
        (head(headers=[*FORM, CHUNKED]) + b"zz\r\n", 400, "invalid_http"),
        (head("GET", "/v1/session", [*CLOSE, "Authorization: a", "Authorization: b"]), 400, "invalid_header"),
        (head(path="/v1/session", headers=[*CLOSE, "Content-Length: 5"]) + b"hello", 405, None),
    ],
)  # fmt: skip
def test_each_is_told_what_is_wrong_in_the_shape_of_the_api(process, data, status, code):
    told, error = ask(process.port, data)
    assert (told, error["code"]) == (status, code)
    assert error["message"].endswith(".")


def test_an_answer_comes_through_though_the_client_still_sends(process):
    """Closing a connection on which bytes wait would reset it, and the answer with it."""
    size = 4 << 20
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
        connection.sendall(head(path="/v1/nothing", headers=["Connection: close", f"Content-Length: {size}"]))
        connection.sendall(b"x" * size)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "not_found_error"


def test_a_client_that_asks_before_it_sends_is_told_without_its_body(process):
    asked = head(path="/v1/nothing", headers=["Content-Length: 1000000", "Expect: 100-continue", "Connection: close"])
    assert ask(process.port, asked, most_s=SHORT["LINGER_S"] / 2)[0] == 404


@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_is_held_in_memory_is_bounded(process, length):
    """By what it says, and by what comes."""
    size = limits.BODY_BYTES + (1 << 20)
    fields = ["Content-Type: application/json", "Connection: close"]
    if length:
        data = head(path="/v1/labels/check", headers=[*fields, f"Content-Length: {size}"]) + b"[" * size
    else:
        chunk = b"100000\r\n" + b"[" * (1 << 20) + b"\r\n"
        data = head(path="/v1/labels/check", headers=[*fields, "Transfer-Encoding: chunked"]) + chunk * (size >> 20)
        data += b"0\r\n\r\n"
    assert ask(process.port, data)[0] in (404, 413)


def is_closed(connection):
    """Whether the server has closed a connection on which nothing is to be read."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_an_honest_client_takes_the_place_of_a_silent_one(chain, monkeypatch, eventually):
    monkeypatch.setattr(limits, "connections", lambda: 20)
    with serving(chain.settings) as url, ExitStack() as opened:
        port = int(url.rpartition(":")[2])
        silent = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(60)]
        for _ in range(3):
            assert httpx.get(f"{url}/v1/session", timeout=10).status_code == 200
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""  # the one that was silent for longest
        eventually(lambda: sum(is_closed(one) for one in silent) >= 40, 10)
        assert not is_closed(silent[-1])


def test_a_client_that_does_not_read_is_cut(process, eventually):
    idle = eventually(lambda: process.descriptors() < 40 and process.descriptors(), 30, process.descriptors)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the smallest that there is
        silent.connect(("127.0.0.1", process.port))
        asked = head("GET", "/openapi.json") * 1000
        silent.setblocking(False)
        with suppress(BlockingIOError):
            silent.send(asked)
        eventually(lambda: process.descriptors() > idle, 10)
        eventually(lambda: process.descriptors() <= idle, 30, process.descriptors)


def test_a_client_that_reads_slowly_gets_all(process):
    expected = httpx.get(f"{process.url}/openapi.json").content
    assert len(expected) > 20_000
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.connect(("127.0.0.1", process.port))
        slow.sendall(head("GET", "/openapi.json", CLOSE))
        came = b""
        while part := slow.recv(2000):
            came += part
            time.sleep(0.1)
    assert came.endswith(expected)
