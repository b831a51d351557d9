"""Requests end: each client gets a whole answer, an error in its shape, or a connection that is closed early."""

import asyncio
import json

import pytest

from golem_chain.broker.doors.lifecycle.ending import Ending

SCOPE = {"type": "http", "method": "GET", "path": "/x"}


class Client:
    """The other side of a request."""

    def __init__(self):
        self.status, self.headers, self.body, self.whole = None, {}, b"", False

    async def receive(self):
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message):
        if message["type"] == "http.response.start":
            assert self.status is None, "a second answer"
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            assert not self.whole, "more after the end"
            self.body += message.get("body", b"")
            self.whole = not message.get("more_body", False)


def begun(headers=(), body=b"begun"):
    """An application that begins an answer and does not end it."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(60)

    return app


async def silent(scope, receive, send):
    await asyncio.sleep(60)


def cut(app):
    """Return the client of a request that is cut."""

    async def run():
        client, ending = Client(), Ending(app)
        task = asyncio.create_task(ending(SCOPE, client.receive, client.send))
        await asyncio.sleep(0.01)
        ending.refuse()
        ending.cut()
        ending.cut()  # again: it is interrupted once
        await asyncio.wait_for(task, 5)
        return client

    return asyncio.run(run())


def test_a_request_without_an_answer_yet_is_told_that_the_server_stops():
    client = cut(silent)
    assert client.status == 503
    assert json.loads(client.body)["error"]["code"] == "server_stopping"
    assert client.headers[b"retry-after"] == b"2"
    assert client.whole


def test_a_body_without_a_length_is_ended():
    client = cut(begun())
    assert (client.status, client.body, client.whole) == (200, b"begun", True)


def test_a_body_shorter_than_its_length_is_not_passed_off_as_whole():
    client = cut(begun([(b"content-length", b"100")]))
    assert not client.whole


def test_a_new_request_is_refused_while_the_server_stops():
    async def run():
        client, ending = Client(), Ending(begun())
        ending.refuse()
        await ending(SCOPE, client.receive, client.send)
        return client

    assert asyncio.run(run()).status == 503


def test_an_application_may_tidy_up_while_it_is_cut():
    tidied = []

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)

    cut(app)
    assert tidied == [True]


def test_a_request_that_somebody_else_cancels_stays_cancelled():
    async def run():
        client = Client()
        task = asyncio.create_task(Ending(silent)(SCOPE, client.receive, client.send))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return client

    assert asyncio.run(run()).status is None


async def failing(scope, receive, send):
    raise ValueError("secret words")


def test_an_unexpected_error_is_told_without_its_text(caplog):
    client = Client()
    asyncio.run(Ending(failing)(SCOPE, client.receive, client.send))
    assert client.status == 500
    assert json.loads(client.body)["error"]["code"] == "internal_error"
    assert b"secret" not in client.body
    assert caplog.messages == ["GET /x: ValueError"]


def test_the_programmer_sees_it_on_request(monkeypatch):
    monkeypatch.setenv("GOLEM_DEBUG", "1")
    client = Client()
    with pytest.raises(ValueError, match="secret"):
        asyncio.run(Ending(failing)(SCOPE, client.receive, client.send))
