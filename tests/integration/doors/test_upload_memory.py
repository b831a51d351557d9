"""Uploads go through a door without staying in it."""

import http.client
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis

from golem_chain.broker.keys import Keys
from tests.support.serve import Served

#: What one upload of the largest kind and twenty at once may add to the memory of an idle door, bytes.
MORE_BYTES = 64 << 20
keys = Keys()


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def served(server, tmp_path_factory):
    """A door without a worker: jobs wait."""
    served = Served(tmp_path_factory.mktemp("door"), GOLEM_REDIS_URL=server.url)
    yield served
    served.end()


def send(served, size_bytes, kind="bulk", chunk=b"x" * 65536):
    """Submit a job of so many bytes as a client with a form does, and return its id."""
    head = (
        f'--x\r\nContent-Disposition: form-data; name="lane"\r\n\r\n{kind}\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    ).encode()
    tail = b'\r\n--x\r\nContent-Disposition: form-data; name="stop"\r\n\r\nscribe\r\n--x--\r\n'
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    line.putrequest("POST", "/v1/jobs")
    line.putheader("Content-Type", "multipart/form-data; boundary=x")
    line.putheader("Content-Length", str(len(head) + size_bytes + len(tail)))
    line.endheaders(head)
    for _ in range(size_bytes // len(chunk)):
        line.send(chunk)
    line.send(chunk[: size_bytes % len(chunk)] + tail)
    answer = line.getresponse()
    told = json.loads(answer.read())
    line.close()
    assert answer.status == 202, told
    return told["jobs"][0]["id"]


class Memory:
    """The resident memory of a process: now, and at most since `reset`, bytes."""

    def __init__(self, pid):
        self._folder = Path(f"/proc/{pid}")
        self.reset()

    def reset(self):
        (self._folder / "clear_refs").write_text("5")

    def read(self, field):
        [size_kib] = re.findall(rf"{field}:\s+(\d+) kB", (self._folder / "status").read_text())
        return 1024 * int(size_kib)


@pytest.fixture
def grown(served):
    """Returns by how much the door's memory has grown at most during the test, from its idle size."""
    for _ in range(3):
        send(served, 1 << 20)
    memory = Memory(served.process.pid)
    idle = memory.read("VmRSS")
    return lambda: memory.read("VmHWM") - idle


def test_an_upload_of_200_mib_leaves_the_door_within_64_mib_of_its_idle_memory(served, server, grown):
    began = time.monotonic()
    job = send(served, 200 << 20)
    took_s, more = time.monotonic() - began, grown()
    print(f"\n200 MiB: {took_s:.1f} s, {more / (1 << 20):.0f} MiB more")
    assert more < MORE_BYTES
    with redis.Redis.from_url(server.url) as client:
        assert client.strlen(keys.audio(job)) == 200 << 20
    assert httpx.delete(f"{served.url}/v1/jobs/{job}").json()["state"] == "cancelled"


def test_twenty_uploads_at_once_leave_it_there_too(served, grown):
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(lambda _: send(served, 20 << 20), range(20)))
    more = grown()
    print(f"\n20 x 20 MiB: {more / (1 << 20):.0f} MiB more")
    assert len(set(jobs)) == 20
    assert more < MORE_BYTES
    for job in jobs:
        httpx.delete(f"{served.url}/v1/jobs/{job}")
