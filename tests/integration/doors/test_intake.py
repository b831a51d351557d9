"""What comes in over HTTP: forms and uploads within limits, jobs that a retry finds, clients that leave."""

import http.client
import json
import os
import socket
import time
from hashlib import sha256
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from fastapi import Request

from golem_chain.broker.doors.app import create_app
from golem_chain.broker.doors.door import Caller, Limits, TheDoor
from golem_chain.broker.doors.intake.bodies import read_json
from golem_chain.broker.doors.intake.forms import read_form
from golem_chain.broker.doors.intake.options import options_of
from golem_chain.broker.doors.intake.requests import outcome_of, submit
from golem_chain.broker.keys import Keys
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from tests.support.door import serving
from tests.support.serve import Served

keys = Keys()
LEAVE_S = 0.5
UPLOAD_MOST = 3 << 20


def caller_of(request):
    """Return the caller that a header names: `name` or `name queued`."""
    name, _, queued = request.headers.get("x-caller", "anna").partition(" ")
    return Caller(name, name * 8, limits=Limits(upload_bytes=UPLOAD_MOST, queued=int(queued) if queued else None))


def add_routes(app):
    @app.post("/t/form")
    async def form(request: Request, door: TheDoor) -> JsonObject:
        read = await read_form(request, door, caller_of(request), 3)
        return {"fields": read.fields, "files": [[one.name, one.size_bytes, one.sha256] for one in read.files]}

    @app.post("/t/json")
    async def as_json(request: Request) -> JsonObject:
        return await read_json(request, 1 << 20)

    @app.post("/t/submit")
    async def handed_in(request: Request, door: TheDoor) -> JsonObject:
        caller, read = caller_of(request), await read_form(request, door, caller_of(request))
        key = request.headers.get("idempotency-key")
        options = await options_of(stop=read.one("stop") or "scribe", language=read.one("language"))
        asked = read.files[0] if read.files else read.one("text") or ""
        if isinstance(asked, str):
            options = options.model_copy(update={"stop": "interpreter"})
        return {
            "job": await submit(door, caller, asked, options, identity=("key", key) if key is not None else "fresh")
        }

    @app.post("/t/wait")
    async def waited_for(request: Request, door: TheDoor) -> JsonObject:
        caller = caller_of(request)
        read = await read_form(request, door, caller)
        job = await submit(door, caller, read.files[0], await options_of(stop="scribe"), identity="request")
        outcome = await outcome_of(door, caller, job, request, 60)
        return {"job": job, "state": outcome.state if outcome else None}

    return app


@pytest.fixture(scope="module", autouse=True)
def _routes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.door.create_app", lambda door: add_routes(create_app(door)))
        yield


@pytest.fixture(scope="module")
def url(chain, _routes):
    settings = chain.settings.model_copy(update={"serve_leave_s": LEAVE_S, "vault_limit": 16 << 20})
    with serving(settings) as url:
        yield url


@pytest.fixture
def client(chain):
    return chain.client


def files(data, name="clip.wav"):
    return {"file": (name, data, "audio/wav")}


def refused(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"].endswith("."), error
    return error


def booked(client):
    return int(client.get(keys.vault_total) or 0)


def uploading(client):
    return list(client.scan_iter("golem:upload:*"))


@pytest.fixture
def left_nothing(client, eventually):
    """Waits until no upload is left and the vault is as it was before the test."""
    eventually(lambda: not uploading(client))  # what the test before has left goes after its answer
    before = booked(client)
    return lambda: eventually(lambda: not uploading(client) and booked(client) == before)


# -- forms


def test_fields_come_before_and_after_a_file_and_several_times(url):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="C:\\dir\\clip.wav"\r\n\r\nbytes\r\n--y\r\n\r\n'
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n2 \xc3\xa4\r\n--x--\r\n'
    )
    answer = httpx.post(f"{url}/t/form", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    found = answer.json()
    assert found["fields"] == [["a", "1"], ["a", "2 \xe4"]]
    assert [one[:2] for one in found["files"]] == [["clip.wav", len("bytes\r\n--y\r\n")]]


@pytest.mark.parametrize("cut", [0, 10, 60, 130, -8, -3])
def test_a_truncated_form_is_refused_and_leaves_nothing(url, left_nothing, cut):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"b" * 1000 + b"\r\n--x--\r\n"
    )[:cut]
    answer = httpx.post(f"{url}/t/form", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert "cannot be read" in refused(answer, 400)["message"]
    left_nothing()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--x--\r\n", 400),
        ("multipart/form-data; boundary=" + "y" * 300, b"--x--\r\n", 400),
        ("multipart/form-data; boundary=y", b"--x\r\n\r\n\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 10_000, 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n" + b"z" * 600_000, 400),
        ("text/plain", b"hello", 415),
        ("", b"hello", 415),
        ("application/x-www-form-urlencoded", b"a=1&" * 101, 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"a" * (2 << 20), 413),
    ],
)
def test_a_body_that_is_no_form_is_one_sentence(url, kind, body, status):
    refused(httpx.post(f"{url}/t/form", content=body, headers={"content-type": kind}), status)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({f"f{n}": "x" for n in range(10_000)}, 400),
        ({"language": "x" * 70_000}, 413),
        ({"prompt": "x" * 300_000}, 413),
        ({f"f{n}": "x" * 60_000 for n in range(30)}, 413),
    ],
)
def test_too_much_in_fields_is_refused(url, fields, status):
    refused(httpx.post(f"{url}/t/form", data=fields, files=files(b"x")), status)


def test_long_lists_are_read_whole(url):
    answer = httpx.post(f"{url}/t/form", data={"labels": "x" * 200_000}, files=files(b"x"))
    assert len(answer.json()["fields"][0][1]) == 200_000


@pytest.mark.parametrize(
    "many",
    [
        [("file", ("a", b"x")), ("file", ("b", b"x")), ("file", ("c", b"x")), ("file", ("d", b"x"))],
        [("other", ("a", b"x"))],
        [("file", ("a", b""))],
    ],
)
def test_files_that_are_not_expected_are_refused_and_leave_nothing(url, left_nothing, many):
    refused(httpx.post(f"{url}/t/form", files=many), 400)
    left_nothing()


def test_audio_as_the_body_has_its_fields_in_the_query(url):
    headers = {"content-type": "audio/wav"}
    found = httpx.post(f"{url}/t/form?name=clip.wav&a=1", content=b"sound", headers=headers).json()
    assert found["fields"] == [["name", "clip.wav"], ["a", "1"]]
    assert found["files"][0][:2] == ["clip.wav", 5]


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"a": NaN}', b"[" * 100_000, b"\xff", b"1"])
def test_a_body_that_is_no_json_object_is_one_sentence(url, body):
    refused(httpx.post(f"{url}/t/json", content=body, headers={"content-type": "application/json"}), 400)


# -- uploads


def test_an_upload_is_stored_as_it_came_and_is_gone_when_no_job_wants_it(url, left_nothing):
    data = os.urandom(1_000_000)
    found = httpx.post(f"{url}/t/form", files=[("file", ("a", data)), ("file", ("b", b"x"))]).json()
    assert [one[1:] for one in found["files"]] == [[len(one), sha256(one).hexdigest()] for one in (data, b"x")]
    left_nothing()


class Slow:
    """A request whose body is sent by hand."""

    def __init__(self, url, path, length=None, caller="anna"):
        self.socket = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 20)
        how = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n{how}\r\n"
        self.socket.sendall(f"{head}X-Caller: {caller}\r\n\r\n".encode())
        self.chunked, self.sent = length is None, 0
        self.send(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')

    def send(self, data):
        self.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self.chunked else data)
        self.sent += len(data)

    def answer(self):
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        return answer.status, json.loads(answer.read())

    def close(self):
        self.socket.close()


def test_a_client_that_leaves_in_the_middle_leaves_nothing(url, client, left_nothing, eventually):
    before = booked(client)
    slow = Slow(url, "/t/wait", 2_000_000)
    slow.send(b"x" * 1_000_000)
    eventually(lambda: uploading(client))
    assert booked(client) == before + 2_000_000, "what is announced finds space at once"
    slow.close()
    left_nothing()


def test_a_caller_who_announces_much_and_sends_little_books_half_of_the_vault(url, client, left_nothing, eventually):
    before, announced = booked(client), UPLOAD_MOST
    slow = [Slow(url, "/t/wait", announced) for _ in range(4)]
    for one in slow:
        one.send(b"x" * 300_000)
    eventually(lambda: len(uploading(client)) == 4)
    assert booked(client) < before + 2 * announced + 2 * 300_000 < before + (16 << 20) // 2
    other = httpx.post(f"{url}/t/form", files=files(b"x" * 1_000_000), headers={"x-caller": "bert"})
    assert other.status_code == 200
    for one in slow:
        one.close()
    left_nothing()
    again = Slow(url, "/t/wait", announced)
    again.send(b"x" * 300_000)
    eventually(lambda: booked(client) >= before + announced - 1000)
    again.close()
    left_nothing()


def test_what_is_announced_as_too_large_is_refused_before_it_comes(url, client):
    slow = Slow(url, "/t/wait", 6 << 20)
    status, body = slow.answer()
    assert status == 413
    assert "limit of your key" in body["error"]["message"]
    assert not uploading(client)
    slow.close()


def test_what_becomes_too_large_is_refused_within_a_chunk(url, client, left_nothing, eventually):
    slow = Slow(url, "/t/form")
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    slow.send(b"x" * (UPLOAD_MOST - 1000))
    eventually(lambda: sum(client.strlen(key) for key in uploading(client)) > UPLOAD_MOST - (1 << 20))
    slow.send(b"x" * 64 * 1024)
    status, body = slow.answer()
    assert (status, body["error"]["code"]) == (413, "audio_above_limit")
    slow.close()
    left_nothing()


def test_a_full_vault_is_refused_at_once_and_says_when_to_come_back(url, client):
    full = (16 << 20) - booked(client) - 1000
    client.incrby(keys.vault_total, full)
    try:
        answer = httpx.post(f"{url}/t/wait", files=files(b"x" * 2000))
        assert "GOLEM_VAULT_LIMIT" in refused(answer, 503)["message"]
        assert answer.headers["retry-after"] == "2"
    finally:
        client.decrby(keys.vault_total, full)


# -- identity


def test_the_same_request_again_finds_its_job_and_it_runs_once(url, chain):
    first = httpx.post(f"{url}/t/wait", files=files(b"once only"), timeout=60).json()
    again = httpx.post(f"{url}/t/wait", files=files(b"once only", "other name"), timeout=60).json()
    assert first == again
    assert first["state"] == "done"
    other = httpx.post(f"{url}/t/wait", files=files(b"once only"), headers={"x-caller": "bert"}, timeout=60).json()
    assert other["state"] == "done"
    assert other["job"] != first["job"], "strangers never share outcomes"


def test_a_request_that_failed_runs_again(url, chain):
    first, again = (httpx.post(f"{url}/t/wait", files=files(b"bad"), timeout=60).json() for _ in range(2))
    assert first["state"] == again["state"] == "failed"
    assert first["job"] != again["job"]


def test_an_idempotency_key_stands_for_one_request_of_one_caller(url):
    def sent(text, caller="anna", key="k"):
        headers = {"x-caller": caller, "idempotency-key": key}
        return httpx.post(f"{url}/t/submit", data={"text": text}, headers=headers)

    job = sent("hello").json()["job"]
    assert sent("hello").json()["job"] == job
    assert sent("hello", caller="bert").json()["job"] != job
    assert sent("hello", key="other").json()["job"] != job
    assert refused(sent("good bye"), 422)["code"] == "idempotency_key_reused"
    refused(sent("hello", key=""), 400)
    refused(sent("hello", key="x" * 256), 400)


# -- limits


def test_a_caller_has_no_more_unfinished_jobs_than_its_limit(url, chain, eventually):
    def sent(n):
        return httpx.post(f"{url}/t/submit", files=files(f"sleep {n}".encode()), headers={"x-caller": "carl 3"})

    jobs = [sent(100 + n).json()["job"] for n in range(3)]
    answer = sent(200)
    assert "3 jobs" in refused(answer, 429)["message"]
    assert answer.headers["retry-after"]
    chain.pipeline.cancel(jobs[0])
    jobs.append(eventually(lambda: sent(300).json().get("job")))
    for job in jobs:
        chain.pipeline.cancel(job)
    assert sum(sent(f"0.0{n}").status_code == 200 for n in range(1, 9)) >= 3


# -- leaving


def test_a_job_whose_client_has_left_is_cancelled_after_a_while(url, chain, eventually):
    slow = Slow(url, "/t/wait", 200)
    slow.send(b"sleep 20".ljust(99 - 10))
    slow.send(b"\r\n--x--\r\n".rjust(0))
    slow.send(b" " * (200 - slow.sent))
    [job] = eventually(lambda: chain_jobs(chain, b"sleep 20"))
    slow.close()
    left = time.monotonic()
    eventually(lambda: chain.pipeline.outcome(job))
    assert time.monotonic() - left >= LEAVE_S * 0.9
    assert chain.pipeline.outcome(job).state == "cancelled"


def test_a_client_that_returns_in_time_keeps_its_job(url, chain, eventually):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/t/wait", files=files(b"sleep 2"), timeout=httpx.Timeout(20, read=0.3))
    again = httpx.post(f"{url}/t/wait", files=files(b"sleep 2"), timeout=60).json()
    assert again["state"] == "done"
    [job] = chain_jobs(chain, b"sleep 2")
    assert again["job"] == job


def test_a_job_that_was_handed_in_without_waiting_goes_on(url, chain):
    job = httpx.post(f"{url}/t/submit", files=files(b"sleep 1.5")).json()["job"]
    assert chain.outcomes([job])[job].state == "done"


def chain_jobs(chain, data):
    """Return the jobs whose audio begins with these bytes, padded by nothing or spaces."""
    found = []
    for key in chain.client.scan_iter("golem:job:*"):
        job = key.decode().removeprefix("golem:job:")
        held = chain.client.get(keys.audio(job))
        if held and held.rstrip() == data:
            found.append(job)
    return found


def test_a_client_that_returns_at_another_server_keeps_its_job(chain):
    settings = chain.settings.model_copy(update={"serve_leave_s": 1.0})
    with serving(settings) as first, serving(settings) as second:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{first}/t/wait", files=files(b"sleep 2.5"), timeout=httpx.Timeout(20, read=0.3))
        again = httpx.post(f"{second}/t/wait", files=files(b"sleep 2.5"), timeout=60).json()
    assert again["state"] == "done"


def test_a_server_that_stops_cancels_no_job_of_its_clients(start_server, tmp_path, eventually):
    with start_server(tmp_path / "server") as server, redis.Redis.from_url(server.url) as client:
        served = Served(tmp_path, GOLEM_REDIS_URL=server.url, GOLEM_STOP_S=0.3, GOLEM_SERVE_LEAVE_S=0)
        slow = Slow(served.url, "/v1/audio/transcriptions", 400)
        slow.send(b'sound\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n')
        slow.send(b" " * (400 - slow.sent))
        eventually(lambda: client.llen(keys.lane("scribe", "interactive")))
        code, said = served.end()
        slow.close()
        assert code == 0, said
        assert not list(client.scan_iter("golem:outcome:*"))


def test_a_redis_that_goes_away_in_the_middle_of_an_upload_is_told_as_such(start_server, tmp_path):
    with start_server(tmp_path) as server:
        settings = Settings.read(_env_file=None, redis_url=server.url)
        with serving(settings) as url:
            slow = Slow(url, "/t/form", 2_000_000)
            slow.send(b"x" * 600_000)
            time.sleep(0.2)
            server.stop()
            slow.send(b"x" * 600_000)
            status, body = slow.answer()
            slow.close()
    assert (status, body["error"]["code"]) == (503, "broker_away")
