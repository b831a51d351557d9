"""The door's own metrics: requests, how soon they are answered, and what comes in.

An ASGI middleware around all others, so that it also counts what the guard turns away.
"""

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Upper bounds of the buckets, seconds.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
#: Methods that are named; others may be anything.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: The route of a request that the guard turned away, or whose path is none of ours.
NO_ROUTE = "none"


class Requests:
    """The counters of one door."""

    def __init__(self, registry: CollectorRegistry) -> None:
        told = (
            "Requests that were answered, by route, method and status; route `none`: refused before, or unknown path."
        )
        self.answered = Counter("golem_http_requests", told, ["route", "method", "status"], registry=registry)
        told = "Time from a request to the first byte of its answer's body."
        labels = ["route"]
        self.first_byte = Histogram("golem_http_first_byte_seconds", told, labels, registry=registry, buckets=SECONDS)
        self.under_way = Gauge("golem_http_requests_under_way", "Requests that are not over.", registry=registry)
        self.streams = Gauge("golem_http_streams", "Streams of events that are open.", registry=registry)
        told = "Bytes of the bodies of requests: uploads, for the most part."
        self.received = Counter("golem_http_received_bytes", told, registry=registry)


class Measured:
    """Measures every request of an application."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the start and the end of the server."""
        if scope["type"] == "http":
            await _Request(self._requests, scope).run(self._app, receive, send)
        else:
            await self._app(scope, receive, send)


class _Request:
    def __init__(self, requests: Requests, scope: Scope) -> None:
        self._requests, self._scope = requests, scope
        self._began = time.perf_counter()
        self._status, self._streams, self._first = 0, False, False

    async def run(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        requests = self._requests
        self._receive, self._send = receive, send
        requests.under_way.inc()
        try:
            await app(self._scope, self._on_receive, self._on_send)
        except Exception:
            self._status = self._status or 500  # it is answered outside of us
            raise
        finally:
            requests.under_way.dec()
            if self._streams:
                requests.streams.dec()
            if self._status:
                method = self._scope["method"]
                named = method if method in METHODS else "other"
                requests.answered.labels(route_of(self._scope), named, str(self._status)).inc()

    async def _on_receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._requests.received.inc(len(message.get("body", b"")))
        return message

    async def _on_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            kind = Headers(raw=message.get("headers", [])).get("content-type", "")
            if kind.startswith("text/event-stream") and not self._streams:
                self._streams = True
                self._requests.streams.inc()
        elif not self._first and (message.get("body") or not message.get("more_body")):
            self._first = True
            took_s = time.perf_counter() - self._began
            self._requests.first_byte.labels(route_of(self._scope)).observe(took_s)
        await self._send(message)


def route_of(scope: Scope) -> str:
    """Return the template of a request's route, such as `/v1/jobs/{id}`: the number of these is bounded."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else NO_ROUTE
