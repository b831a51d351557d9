"""The guard in front of small applications: what is answered for them, and what the log says."""

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from golem_chain.broker.doors.access import keys, limits
from golem_chain.broker.doors.access.guard import Guard
from golem_chain.broker.doors.door import Door
from golem_chain.shared.settings import Settings

KEY = keys.make()
SECRET = "the words of a user"


class Client:
    """One connection: parts of a body that come, and then silence; what is sent stays in `messages`."""

    def __init__(self, guard, method="GET", path="/v1/x", parts=(), headers=(), gone=False):
        given = [(b"host", b"localhost"), *headers]
        if parts:
            given += [(b"transfer-encoding", b"chunked")]
        self.scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "scheme": "http", "headers": given, "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        self.guard, self.parts, self.gone = guard, list(parts), gone
        self.messages: list[Any] = []

    async def receive(self):
        if self.parts:
            return {"type": "http.request", "body": self.parts.pop(0), "more_body": True}
        if not self.gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.messages.append(message)

    async def ask(self):
        await self.guard(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        (start,) = [one for one in self.messages if one["type"] == "http.response.start"]
        return start["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def error(self):
        return json.loads(b"".join(one.get("body", b"") for one in self.messages[1:]))["error"]


async def answer(send, body=b"ok", status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def fine(scope, receive, send):
    await answer(send)


def guard(app=fine, **given):
    settings = Settings.read(_env_file=None, owner="me", **given)
    return Guard(app, Door(settings))


def ask(app=fine, *, given=None, **request):
    return asyncio.run(Client(guard(app, **(given or {})), **request).ask())


def test_an_error_that_nobody_expects_is_answered_and_no_word_of_it_is_told_or_logged(caplog):
    async def bug(scope, receive, send):
        raise ValueError(SECRET)

    seen = ask(bug, headers=[(b"x-request-id", b"id-1")])
    assert (seen.status, seen.error["code"]) == (500, "internal_error")
    assert SECRET not in caplog.text + str(seen.messages)
    assert "id-1: internal error: ValueError at" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_error_after_the_answer_began_sends_no_second_one(caplog):
    async def late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)

    assert ask(late).status == 200
    assert SECRET not in caplog.text


def test_a_client_that_leaves_is_no_error(caplog):
    async def reads(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    assert ask(reads, parts=[b"x"], gone=True, method="POST").messages == []
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_body_that_stalls_looks_to_the_application_like_a_client_that_left(monkeypatch):
    monkeypatch.setattr(limits, "BODY_IDLE_S", 0.05)
    monkeypatch.setattr(limits, "LINGER_S", 0.05)
    came: list[str] = []

    async def reads(scope, receive, send):
        while "http.disconnect" not in came:
            came.append((await receive())["type"])
        await answer(send)  # too late: the client is told what was wrong

    seen = ask(reads, parts=[b"x", b"y"], method="POST")
    assert came == ["http.request", "http.request", "http.disconnect"]
    assert (seen.status, seen.error["code"]) == (408, "timeout")


def test_a_body_above_the_limit_is_cut_where_it_exceeds_it(monkeypatch):
    monkeypatch.setattr(limits, "BODY_BYTES", 10)
    monkeypatch.setattr(limits, "LINGER_S", 0.05)
    came: list[bytes] = []

    async def reads(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            came.append(message["body"])

    seen = ask(reads, parts=[b"x" * 6, b"y" * 4, b"z", b"z"], method="POST")
    assert came == [b"x" * 6, b"y" * 4]
    assert (seen.status, seen.error["code"]) == (413, "request_too_large")


def test_a_length_above_the_limit_is_refused_before_anything_is_read():
    async def never(scope, receive, send):
        raise AssertionError

    length = str(limits.BODY_BYTES + 1).encode()
    seen = ask(never, method="POST", headers=[(b"content-length", length), (b"expect", b"100-continue")])
    assert seen.status == 413


def test_what_the_application_says_of_itself_stands():
    async def page(scope, receive, send):
        mine = [(b"content-security-policy", b"default-src 'self'"), (b"Cache-Control", b"max-age=9")]
        await answer(send, headers=[*mine, (b"server", b"uvicorn")])

    seen = ask(page)
    assert seen.headers["content-security-policy"] == "default-src 'self'"
    assert "cache-control" not in seen.headers
    assert "server" not in seen.headers
    assert seen.headers["x-content-type-options"] == "nosniff"


def test_the_log_has_one_line_for_a_request_with_whose_key_it_was_but_not_the_key(caplog):
    caplog.set_level(logging.INFO)
    given = {"api_keys": f"alice={keys.hash_of(KEY)}"}
    ask(given=given, path="/v1/\u202ex", headers=[(b"authorization", f"Bearer {KEY}".encode())])
    (line,) = [one.getMessage() for one in caplog.records if one.name.endswith("guard")]
    assert line.startswith("req_")
    assert "GET /v1/\\u202ex 200" in line
    assert line.endswith(" alice")
    assert KEY not in caplog.text


def test_a_caller_is_set_for_the_routes_and_without_a_key_nobody_owns_anything():
    callers = []

    async def sees(scope, receive, send):
        callers.append(scope["state"]["caller"])
        await answer(send)

    given = {"api_keys": f"alice={keys.hash_of(KEY)}"}
    ask(sees, given=given, headers=[(b"authorization", f"bearer {KEY}".encode())])
    ask(sees, given=given, path="/")
    ask(sees, given=given, path="/")
    ask(sees)
    assert [one.name for one in callers] == ["alice", "nobody", "nobody", "local"]
    assert len({one.owner for one in callers}) == 4
    assert [one.operator for one in callers] == [False, False, False, True]


def crowd(path="/v1/x", **given):
    """Statuses of three requests of which none ends before the others have begun."""

    async def together():
        over = asyncio.Event()

        async def waits(scope, receive, send):
            await over.wait()
            await answer(send)

        door = guard(waits, **given)
        key = (b"authorization", f"Bearer {KEY}".encode())
        clients = [Client(door, headers=[key], path=path) for _ in range(3)]
        tasks = [asyncio.create_task(one.ask()) for one in clients]
        await asyncio.sleep(0.05)
        over.set()
        await asyncio.gather(*tasks)
        await Client(door, headers=[key]).ask()  # the places are free again
        return sorted(one.status for one in clients)

    return asyncio.run(together())


def test_requests_in_progress_are_bounded_for_all_and_for_each_key(monkeypatch):
    keyed = {"api_keys": f"alice={keys.hash_of(KEY)}"}
    monkeypatch.setattr(limits, "REQUESTS_OF_KEY", 2)
    assert crowd(**keyed) == [200, 200, 429]
    assert crowd() == [200, 200, 200]  # who needs no key is not counted by one
    monkeypatch.setattr(limits, "REQUESTS", 1)
    assert crowd() == [200, 503, 503]
    assert crowd("/health") == [200, 200, 200]


@pytest.mark.parametrize("setting", ["@/nope/keys.toml", "golem_secret"])
def test_keys_that_cannot_be_used_stop_the_server_before_it_serves(setting):
    with pytest.raises(Exception, match="GOLEM_API_KEYS"):
        guard(api_keys=setting)


def test_websockets_are_refused():
    sent: list[Any] = []

    async def run():
        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message)

        await guard()({"type": "websocket"}, receive, send)

    asyncio.run(run())
    assert sent == [{"type": "websocket.close", "code": 1008}]
