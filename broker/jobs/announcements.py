"""The announcements of ended jobs, over a connection whose replacement or silent death is noticed."""

import time
from types import TracebackType
from typing import Self

import redis

from golem_chain.broker.keys import Keys

PING_S = 5.0  # the server is asked for a sign of life this long after the last one
SILENT_S = 10.0  # without an answer for this long, the connection is taken to be dead


class Announcements:
    """A subscription to the ends of jobs, each told by the hash of its id (`keys.hashed`). Redis does not repeat what
    it announces while we are away."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._keys = keys
        self._listener = client.pubsub()
        self._gap = False
        self._heard_at = self._asked_at = time.monotonic()
        self._asked = False

    def __enter__(self) -> Self:
        self._listener.subscribe(self._keys.ended)
        self._ask()  # the confirmation is the answer
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.close()

    def had_gap(self) -> bool:
        """Return whether the subscription was confirmed since the last call: for the first time, or again after
        redis-py has replaced the connection. Jobs that ended before were perhaps not announced to us."""
        gap, self._gap = self._gap, False
        return gap

    def hear(self, timeout_s: float) -> str | None:
        """Return the hash of a job that has ended, None if none is announced within `timeout_s` seconds or earlier.

        Raises a Redis ConnectionError if the connection is broken or silent.
        """
        message = self._listener.get_message(timeout=timeout_s)
        now = time.monotonic()
        if message:
            self._heard_at, self._asked = now, False
            self._gap = self._gap or message["type"] == "subscribe"
            return message["data"].decode(errors="replace") if message["type"] == "message" else None
        if self._asked and now - self._asked_at > SILENT_S:
            raise redis.ConnectionError(f"Redis did not answer for {SILENT_S:g} s.")
        if not self._asked and now - self._heard_at > PING_S:
            self._listener.ping("alive?")
            self._ask()
        return None

    def _ask(self) -> None:
        self._asked, self._asked_at = True, time.monotonic()
