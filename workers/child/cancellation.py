"""Breaks a batch off when one of its jobs has ended meanwhile (it was cancelled, or another box was quicker).

    watching(jobs): a thread asks Redis twice a second ─► a signal to ourselves ─► breakable(): BrokenOff is raised

The engines know nothing of it: the main thread is interrupted between two operations of its model, as by Ctrl-C, and
the model stays where it is. What must not be left half done (a load, a write to Redis) stands outside `breakable`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import redis

EVERY_S = 0.5
#: Ignored by default, so that a stray one harms nobody; Python and Celery do not use it.
_SIGNAL = signal.SIGURG


class BrokenOff(BaseException):
    """A job of the batch has ended. Not an Exception: what an engine catches for one item's sake must not catch it."""


class Watch:
    """The watch of one process over what its main thread computes. `ended` gives those of some jobs that have ended."""

    def __init__(self, ended: Callable[[Sequence[str]], set[str]], every_s: float = EVERY_S) -> None:
        self._ended, self._every_s = ended, every_s
        self._jobs: tuple[str, ...] = ()
        self._wanted: tuple[str, ...] | None = None  # the very tuple of jobs that is to be broken off
        self._open = False  # touched by the main thread only, and its signal handler runs there too
        self._busy = threading.Event()
        self._started = False

    @contextmanager
    def watching(self, jobs: Sequence[str]) -> Iterator[None]:
        """Look after these jobs. Outside of a main thread nothing is watched: signals go there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._started:  # here and not earlier: threads do not survive the fork
            self._started = True
            signal.signal(_SIGNAL, self._on_signal)
            threading.Thread(target=self._look, daemon=True, name="watch").start()
        self._jobs = tuple(jobs)
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()
            self._jobs, self._wanted = (), None

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """What may be interrupted. Raises BrokenOff."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def _on_signal(self, signum: int, frame: object) -> None:
        del signum, frame
        if self._open and self._jobs and self._wanted is self._jobs:
            self._open = False  # once
            raise BrokenOff

    def _look(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while self._busy.wait():
            time.sleep(self._every_s)
            if not (jobs := self._jobs):
                continue
            try:
                gone = self._ended(jobs)
            except redis.RedisError:  # away: the next look tells
                continue
            if gone and self._jobs is jobs:  # again and again, until the main thread is at a place to be broken off
                self._wanted = jobs
                signal.pthread_kill(main, _SIGNAL)
