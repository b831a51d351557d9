"""Server-sent events: how they look on the line, keepalives while nothing happens, and the ends of their streams.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from golem_chain.broker.asynchronous.ending import end
from golem_chain.broker.doors import errors
from golem_chain.broker.doors.door import Door
from golem_chain.shared.json_object import JsonObject

logger = logging.getLogger(__name__)

#: Time without a byte after which a comment is sent, seconds: proxies and clients give up silent connections after 30 s
#: and more.
KEEPALIVE_S = 10.0
KEEPALIVE = b": keepalive\n\n"


class Event(NamedTuple):
    """One event of a stream."""

    data: JsonObject | str
    kind: str | None = None  # its `event` field; None: a `message`
    id: str | None = None  # what a client sends as Last-Event-ID to go on after this event


def encoded(event: Event) -> bytes:
    """Return an event as it goes over the line. Pure. JSON is in ASCII: some clients split lines at U+2028, U+0085."""
    body = event.data if isinstance(event.data, str) else json.dumps(event.data, separators=(",", ":"))
    named = [(name, re.sub(r"[\r\n\0]", " ", text)) for name, text in (("event", event.kind), ("id", event.id)) if text]
    lines = [*named, *(("data", line) for line in re.split(r"\r\n|\r|\n", body))]
    return "".join(f"{name}: {text}\n" for name, text in lines).encode() + b"\n"


class EventStream(Response):
    """The answer to a request for events: it ends with its generator, with its client, or when the server stops; an
    answer to a POST then has the time of other answers.

    The generator is closed in each case, in the task that has run it. An error before anything was sent is raised, and
    answered as such; after that it is a last event `error` in the shape of the API's errors. So that a status can tell
    of an early error, the start of the answer waits for the first event, for `hold_s` seconds at most.
    """

    def __init__(
        self,
        door: Door,
        events: AsyncGenerator[Event | None, None],
        *,
        hold_s: float = 0.0,
        keepalive_s: float = KEEPALIVE_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`events`: None among them is a keepalive."""
        unbuffered = {"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(headers=unbuffered, media_type="text/event-stream")
        del self.headers["content-length"]
        self._door, self._events, self._hold_s, self._keepalive_s = door, events, hold_s, keepalive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        line = _Line(send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        told: asyncio.Queue[bytes] = asyncio.Queue(1)  # of one: a client that reads slowly holds the generator back
        reading = asyncio.create_task(self._read(told))
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(_left(receive))]
        if scope["method"] == "GET":  # else it is the answer to one request, which nobody resumes: it may go on
            ends.append(asyncio.create_task(self._door.stopping.wait()))
        getting: asyncio.Task[bytes] | None = None
        try:
            if not self._hold_s:
                await line.start()
            wait_s = self._hold_s or self._keepalive_s
            while not (reading.done() and told.empty() and getting is None):
                getting = getting or asyncio.create_task(told.get())
                watched = [getting, reading, *ends]
                done, _ = await asyncio.wait(watched, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                wait_s = self._keepalive_s
                if getting in done:
                    await line.send(getting.result())
                    getting = None
                elif not done:
                    await line.send(KEEPALIVE)
                elif told.empty():
                    break
            if reading.done() and (exc := reading.exception()):
                if not line.started or not isinstance(exc, Exception):
                    raise exc
                logger.warning("%s: the stream of events ended: %s", scope["path"], type(exc).__name__)
                await line.send(encoded(Event(errors.of(exc).body, "error")))
            await line.end()
        finally:
            await end([task for task in (reading, getting, *ends) if task])

    async def _read(self, told: asyncio.Queue[bytes]) -> None:
        """Read the generator to its end, and close it, in one task."""
        async with aclosing(self._events) as events:
            async for event in events:
                await told.put(encoded(event) if event else KEEPALIVE)


class _Line:
    """The answer as ASGI messages."""

    def __init__(self, send: Send, first: Message) -> None:
        self._send, self._first = send, first
        self.started = False

    async def start(self) -> None:
        if not self.started:
            self.started = True
            await self._send(self._first)

    async def send(self, chunk: bytes) -> None:
        await self.start()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self.start()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def last_event_id(request: Request) -> str | None:
    """Return after which event a stream goes on: the header Last-Event-ID, or `?after=` of a client that cannot set
    it."""
    return request.headers.get("last-event-id") or request.query_params.get("after") or None
