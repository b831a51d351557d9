"""One request and its answer, between the server and the application: what comes is bounded, what goes has headers."""

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.access import limits
from golem_chain.broker.doors.access.pace import Pace
from golem_chain.broker.doors.errors import HttpError

#: On every answer that does not say otherwise; the page has a policy of its own.
_ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class Exchange:
    """Give `receive` and `send` to the application, then call `finish`.

    Where the body breaks a bound the application is told that the client has left, which it must expect at any time;
    the client gets the error from here.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._pace = Pace()
        self._left_bytes: int | None = None
        self._said_bytes = _length(scope)
        self._body_open = self._said_bytes > 0
        self._body_asked = not any(name == b"expect" for name, _ in scope["headers"])
        self._extra: dict[str, str] = {}
        self.status: int | None = None  # of the answer, once it has begun
        self.ended = False
        self.refused: HttpError | None = None  # why the body was not read to its end

    def limit_body(self, size_bytes: int | None) -> None:
        """Bound the body. None: whoever reads it counts. Raises HttpError if it says that it is larger."""
        self._left_bytes = size_bytes
        if size_bytes is not None and size_bytes < self._said_bytes < math.inf:
            raise _too_large()

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Add headers to the answer."""
        self._extra |= headers

    async def receive(self) -> Message:
        """Return the next part of the body, or that the client has left."""
        if self.refused is not None:
            return {"type": "http.disconnect"}
        self._body_asked = True
        if not self._body_open:
            return await self._receive()  # nothing more comes; returns when the client leaves
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._pace.wait_s):
                message = await self._receive()
        except TimeoutError:
            self.refused = HttpError(408, "The body of the request came too slowly.", "timeout")
            return {"type": "http.disconnect"}
        body = message.get("body", b"")
        self._pace.came(len(body), time.monotonic() - began)
        self._body_open = message["type"] == "http.request" and message.get("more_body", False)
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
            if self._left_bytes < 0:
                self.refused = _too_large()
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the application's answer, unless the client gets another one from here."""
        if self.refused is None or self.status is not None:
            await self._pass(message)

    async def answer(self, told: errors.Shape) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status is not None:
            return
        body = errors.encoded(told)
        headers = {"content-type": "application/json", "content-length": str(len(body)), **told.headers}
        coded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._pass({"type": "http.response.start", "status": told.status, "headers": coded})
        await self._pass({"type": "http.response.body", "body": body})

    async def answer_empty(self, headers: Mapping[str, str]) -> None:
        """Answer that all is well, and nothing else: 204."""
        coded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._pass({"type": "http.response.start", "status": 204, "headers": coded})
        await self._pass({"type": "http.response.body"})

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode("latin-1")) for name, value in (_ALWAYS | self._extra).items()]
            headers = [*message["headers"], *(one for one in more if one[0] not in given)]
            message = {**message, "headers": [one for one in headers if one[0].lower() != b"server"]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            if self._body_open and self._body_asked:
                await self._send({**message, "more_body": True})
                await self._drop_rest()
                message = {"type": "http.response.body", "body": b""}
            self.ended = True
        await self._send(message)

    async def _drop_rest(self) -> None:
        """Read and drop what is left of the body for a while, before the connection may be closed: closing it while
        bytes wait can destroy the answer on its way. A client that asked first (Expect) has sent none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.LINGER_S):
                while self._body_open:
                    message = await self._receive()
                    self._body_open = message["type"] == "http.request" and message.get("more_body", False)


def _length(scope: Scope) -> float:
    """Return how long the body will be, as far as it says: infinite for one in chunks."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length":
            return int(value)  # the server has checked it
    return 0


def _too_large() -> HttpError:
    return HttpError(413, f"The body is larger than {limits.BODY_BYTES} bytes.", "request_too_large")
