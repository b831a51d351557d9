"""Streams of events: what goes over the line, and that each of their ends closes the generator and leaves no task."""

import asyncio
import json

import pytest

from golem_chain.broker.doors.door import Door
from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake.sse import KEEPALIVE, Event, EventStream, encoded
from golem_chain.shared.errors import BadAudio
from golem_chain.shared.settings import Settings


class Client:
    """The other side of a stream, as ASGI shows it."""

    def __init__(self):
        self.status, self.headers, self.body, self.ended = None, {}, b"", False
        self.leaves = asyncio.Event()

    async def receive(self):
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)


class Counting:
    """A generator of events that tells whether it was closed."""

    def __init__(self, *events, then=None, pause=None):
        self.events, self.then, self.pause, self.closed = events, then, pause, False

    async def __call__(self):
        try:
            for event in self.events:
                yield event
            if self.then:
                raise self.then
            if self.pause:
                await self.pause.wait()
        finally:
            self.closed = True


def streamed(made, act=None, method="GET", **given):
    """Answer with the events; return the client. `act(client, door)` runs beside it. Fails if a task is left."""

    async def main():
        client, door = Client(), Door(Settings.read(_env_file=None))
        scope = {"type": "http", "method": method, "path": "/events"}
        answering = asyncio.create_task(EventStream(door, made(), **given)(scope, client.receive, client.send))
        if act:
            await act(client, door)
        try:
            async with asyncio.timeout(5):
                await answering
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return client

    return asyncio.run(main())


def test_an_event_has_its_kind_its_id_and_a_line_of_data_for_each_line():
    assert encoded(Event("one\ntwo\r\nthree", "job", "5-1")) == (
        b"event: job\nid: 5-1\ndata: one\ndata: two\ndata: three\n\n"
    )


def test_no_text_can_end_an_event_early_or_begin_another():
    hostile = "a\u2028b\x85c\n\ndata: forged"
    body = encoded(Event({"text": hostile}, "job\ndata: forged", "1\n\nevent: forged")).decode()
    assert len(body.splitlines()) == 4
    assert json.loads(body.splitlines()[2].removeprefix("data: ")) == {"text": hostile}


def test_a_stream_sends_its_events_in_their_order_and_ends_with_them():
    made = Counting(*(Event({"n": n}) for n in range(5)))
    client = streamed(made)
    assert client.body == b"".join(b'data: {"n":%d}\n\n' % n for n in range(5))
    assert client.ended
    assert made.closed
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    assert client.headers[b"cache-control"] == b"no-store"
    assert client.headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in client.headers


def test_a_silent_stream_is_kept_alive():
    async def leave_after_a_while(client, door):
        while client.body.count(KEEPALIVE) < 2:
            await asyncio.sleep(0.01)
        client.leaves.set()

    streamed(Counting(pause=asyncio.Event()), leave_after_a_while, keepalive_s=0.02)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_stream_ends_when_its_client_leaves_or_the_server_stops(who):
    made = Counting(Event("first"), pause=asyncio.Event())

    async def end(client, door):
        while not client.body:
            await asyncio.sleep(0)
        (client.leaves if who == "client" else door.stopping).set()

    client = streamed(made, end)
    assert client.ended
    assert made.closed


def test_the_streamed_answer_to_a_post_is_not_cut_short_by_a_stop():
    pause = asyncio.Event()
    made = Counting(Event("first"), pause=pause)

    async def end(client, door):
        while not client.body:
            await asyncio.sleep(0)
        door.stopping.set()
        await asyncio.sleep(0.02)
        assert not client.ended
        pause.set()

    assert streamed(made, end, method="POST").ended


def test_a_generator_that_swallows_a_cancellation_ends_all_the_same():
    closed = []

    async def deaf():
        try:
            yield Event("first")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                yield Event("in the way of an answer that came at the same time")
                yield Event("which nobody reads")
                await asyncio.sleep(60)
        finally:
            closed.append(True)

    async def leave(client, door):
        while b"first" not in client.body:
            await asyncio.sleep(0)
        client.leaves.set()

    streamed(deaf, leave)
    assert closed == [True]


def test_a_client_that_does_not_read_holds_the_generator_back():
    given = []

    async def made():
        for n in range(100):
            given.append(n)
            yield Event(str(n))

    async def leave(client, door):
        gate = asyncio.Event()
        send = client.send

        async def slow(message):
            if message["type"] == "http.response.body":
                await gate.wait()
            await send(message)

        client.send = slow
        await asyncio.sleep(0.05)
        assert len(given) <= 3
        gate.set()

    async def main():
        client, door = Client(), Door(Settings.read(_env_file=None))
        acting = asyncio.create_task(leave(client, door))
        await asyncio.sleep(0)
        await EventStream(door, made())({"type": "http", "method": "GET", "path": "/"}, client.receive, client.send)
        await acting
        return client

    assert asyncio.run(main()).body.count(b"data: ") == 100


def test_an_error_before_the_first_event_is_raised_to_be_answered_with_its_status():
    with pytest.raises(HttpError):
        streamed(Counting(then=HttpError(404, "There is none.", "unknown")), hold_s=5)


def test_an_error_later_is_the_last_event_and_tells_no_secret():
    client = streamed(Counting(Event("first"), then=BadAudio("clip.wav is not audio.")))
    assert b'event: error\ndata: {"error":{"message":"clip.wav is not audio."' in client.body
    assert client.ended
    client = streamed(Counting(Event("first"), then=ValueError("words of a user")))
    assert b"words of a user" not in client.body
    assert b"internal_error" in client.body


def test_a_held_answer_begins_with_its_first_keepalive_at_the_latest():
    async def leave(client, door):
        while not client.body:
            assert client.status is None
            await asyncio.sleep(0.005)
        assert client.status == 200
        client.leaves.set()

    client = streamed(Counting(pause=asyncio.Event()), leave, hold_s=0.03)
    assert client.body == KEEPALIVE
