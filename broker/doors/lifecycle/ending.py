"""The end of requests: those that are open when the server stops, and those that end in an error nobody expected.

`Ending` is the outermost ASGI application. It leaves no traceback: an error is one line of the log.
"""

import asyncio
import json
import logging
import os
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from golem_chain.broker.doors import errors
from golem_chain.shared.text import visible

logger = logging.getLogger(__name__)

_PATH_MOST = 200  # characters of a path in the log
_STOPPING = errors.shape(
    503,
    "The server is stopping: try again in a moment.",
    "server_stopping",
    **{"retry-after": str(errors.RETRY_AFTER_S)},
)


class Ending:
    """Runs the application; knows which requests are open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[_Answer] = set()
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        if self._stopping:
            await answer.finish(_STOPPING)
            return
        self._open.add(answer)
        try:
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not answer.cut:
                raise
            await answer.finish(_STOPPING)
        except Exception as exc:
            if os.environ.get("GOLEM_DEBUG") == "1":
                raise
            if not answer.begun:  # else the application has told it
                logger.error("%s %s: %s", scope["method"], visible(scope["path"], _PATH_MOST), type(exc).__name__)
            await answer.finish(errors.of(exc))
        finally:
            self._open.discard(answer)

    def refuse(self) -> None:
        """Refuse new requests from now on."""
        self._stopping = True

    def cut(self) -> None:
        """End the requests that are still open."""
        for answer in list(self._open):
            answer.interrupt()


class _Answer:
    """The answer to one request, as far as it has been sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self.begun = self.cut = False
        self._sized = self._done = False

    def interrupt(self) -> None:
        """Interrupt the application, once: it may need time to tidy up."""
        if self._task is not None and not self.cut:
            self.cut = True
            self._task.cancel()

    async def send(self, message: Message) -> None:
        """Send, and note what was sent."""
        if message["type"] == "http.response.start":
            self.begun = True
            self._sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
        elif not message.get("more_body", False):
            self._done = True
        await self._send(message)

    async def finish(self, told: errors.Shape) -> None:
        """Answer with an error, or end a body that has begun."""
        if not self.begun:
            headers = {"content-type": "application/json", "connection": "close", **told.headers}
            coded = [(name.encode(), value.encode()) for name, value in headers.items()]
            await self.send({"type": "http.response.start", "status": told.status, "headers": coded})
            await self.send({"type": "http.response.body", "body": json.dumps(told.body).encode()})
        elif not (self._sized or self._done):
            await self.send({"type": "http.response.body", "body": b""})
        # Else the server closes the connection, which tells the client that the body is not whole.
