"""One connection of HTTP/1.1: uvicorn's, with the deadlines that it lacks and errors in the shape of the API."""

import asyncio
import sys
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from golem_chain.broker.doors import errors
from golem_chain.broker.doors.access import limits
from golem_chain.shared.settings import Settings

#: What a client is waited for: the head of a request, or the rest of a body whose answer it has.
Debt: TypeAlias = Literal["head", "rest"]


def server_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of `uvicorn.Config` that bound what clients can do. Application, address, TLS and how the
    server stops are the caller's."""
    return {
        "http": Connection,
        "ws": "none",
        "h11_max_incomplete_event_size": limits.HEAD_BYTES,
        "timeout_keep_alive": limits.KEEP_ALIVE_S,
        "backlog": limits.BACKLOG,
        "server_header": False,
        "access_log": False,  # the guard writes a line for each request
        # Without this, uvicorn believes whatever connects from 127.0.0.1.
        "proxy_headers": bool(settings.serve_proxies),
        "forwarded_allow_ips": list(settings.serve_proxies),
    }


class Connection(H11Protocol):
    """A connection that ends if its client makes no progress: slow heads, unread answers, endless rests of bodies.

    How slowly a wanted body may come is the guard's affair, which knows when it is waited for.
    """

    _owes: Debt | None = None
    _debt: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _since = 0.0  # when the last request ended, by the clock of the loop
    _over = False  # answered without the application: nothing more is read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Take the connection. If there are too many, the one that has waited longest for a request is closed."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._make_room()
        # Tells of every byte that the client has not taken. Not 0: with TLS it pauses at an empty buffer, and stays so.
        transport.set_write_buffer_limits(high=1)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._owe(None)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._over:
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """An answer is complete; the next request may be here already."""
        self._since = self.loop.time()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client is behind with reading."""
        super().pause_writing()
        if self._unread is None:
            self._expect_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expect_reading(self) -> None:
        """Look again in WRITE_S, and cut a client that has taken next to nothing of what waits for it now. Until it has
        taken all, nothing is added."""
        left = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() > left - limits.BODY_RATE * limits.WRITE_S:
                self.transport.abort()
            else:
                self._expect_reading()

        self._unread = self.loop.call_later(limits.WRITE_S, look)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the name is uvicorn's
        """Answer what is not HTTP: 400, or 431 for a head that is too long."""
        wrong = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if getattr(wrong, "error_status_hint", 400) == 431:
            self._answer(431, f"The head of the request is longer than {limits.HEAD_BYTES} bytes.", "headers_too_large")
        else:
            self._answer(400, "The request is not valid HTTP/1.1.", "invalid_http")

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade, to HTTP/2 or a WebSocket, is ignored as RFC 9110 allows, and is no line of the log."""

    @property
    def waits_since(self) -> float | None:
        """Since when no request is in progress, by the clock of the loop; None if one is, or the connection closes."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return None if busy or self.transport.is_closing() else self._since

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a request, if there are too many: this one at worst."""
        most = limits.connections()
        if len(self.connections) <= most:
            return
        ours = [one for one in self.connections if isinstance(one, Connection)]
        if sum(not one.transport.is_closing() for one in ours) > most:  # one that closes is gone soon
            waiting = [(since, one) for one in ours if (since := one.waits_since) is not None]
            min(waiting, key=lambda pair: pair[0])[1].transport.abort()

    def _watch(self) -> None:
        """Set the deadline of what the client owes now. Bytes do not move it, or a byte a second would do forever."""
        owes: Debt | None = "rest" if self._over else None
        if not self._over and not self.transport.is_closing():
            if self.conn.their_state is h11.IDLE and (self.conn.trailing_data[0] or not self.timeout_keep_alive_task):
                owes = "head"
            elif self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
                owes = "rest"
        if owes != self._owes:
            self._owe(owes)

    def _owe(self, debt: Debt | None) -> None:
        if self._debt is not None:
            self._debt.cancel()
        self._owes, self._debt = debt, None
        if debt == "head":
            self._debt = self.loop.call_later(limits.HEAD_S, self._give_up)
        elif debt == "rest":
            self._debt = self.loop.call_later(limits.LINGER_S, self.transport.abort)

    def _give_up(self) -> None:
        """Close a connection on which no head came, or not all of one."""
        if self.conn.trailing_data[0]:
            self._answer(408, f"The head of the request did not come within {limits.HEAD_S:g} s.", "timeout")
            self._watch()
        else:
            self.transport.close()

    def _answer(self, status: int, message: str, code: str) -> None:
        """Answer without the application, and close: after LINGER_S, or when the client does."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            told = errors.shape(status, message, code)
            body = errors.encoded(told)
            head = h11.Response(
                status_code=status,
                headers=[
                    ("content-type", "application/json"),
                    ("content-length", str(len(body))),
                    ("connection", "close"),
                    ("cache-control", "no-store"),
                    ("x-content-type-options", "nosniff"),
                ],
            )
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
            if self.cycle is not None:
                self.cycle.disconnected = True  # whatever the application still answers has no place to go
                self.cycle.message_event.set()
            self._over = True
            if self.transport.can_write_eof():
                with suppress(OSError):  # the client may have gone
                    self.transport.write_eof()
        else:
            self.transport.close()
