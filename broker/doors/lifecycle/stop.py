"""Signals: the first asks the server to stop, a second one ends this process at once."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: A second signal within this time is the first one, told by the terminal and by a parent process.
ECHO_S = 0.3


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: asyncio.Future[None] | None = None

    @classmethod
    @contextmanager
    def heard(cls) -> Iterator[Self]:
        """Hear signals during the block, in the main thread. Until `within` the first one raises SystemExit.

        One that is ignored stays so, as SIGHUP under nohup.
        """
        stop = cls()
        heard = [number for number in HEARD if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop._hear) for number in heard}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def within(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Return what is done when the server shall stop."""
        self._loop, self._asked = loop, loop.create_future()
        return self._asked

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature of a signal handler
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if self._loop is None:
                raise SystemExit(128 + number)
            with suppress(RuntimeError):  # the loop has ended: we are stopping already
                self._loop.call_soon_threadsafe(self._tell)
        elif now - self._first > ECHO_S:
            os._exit(128 + number)  # the kernel ends the worker and the server: see broker/local/process.py

    def _tell(self) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
