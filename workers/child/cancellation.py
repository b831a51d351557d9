"""Interrupts a batch when one of its jobs has ended (it was cancelled, or another box finished it first).

    watching(jobs): a thread polls Redis twice a second ─► signals its own process ─► breakable() raises BrokenOff

The engines need no code for this: the main thread is interrupted between two operations of the model, as by Ctrl-C,
and the model stays loaded. Operations that must complete (a load, a write to Redis) run outside `breakable`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import redis

EVERY_S = 0.5
#: Ignored by default, so a stray signal is harmless; Python and Celery do not use it.
_SIGNAL = signal.SIGURG


class BrokenOff(BaseException):
    """A job of the batch has ended. A BaseException, so that an engine's per-item `except Exception` lets it pass."""


class Watch:
    """Watches the jobs that the main thread is computing. `ended` returns those of the given jobs that have ended."""

    def __init__(self, ended: Callable[[Sequence[str]], set[str]], every_s: float = EVERY_S) -> None:
        self._ended, self._every_s = ended, every_s
        self._jobs: tuple[str, ...] = ()
        self._wanted: tuple[str, ...] | None = None  # the tuple of jobs to interrupt, compared by identity
        self._open = False  # accessed only by the main thread, where signal handlers run too
        self._busy = threading.Event()
        self._started = False

    @contextmanager
    def watching(self, jobs: Sequence[str]) -> Iterator[None]:
        """Watch these jobs. Does nothing outside the main thread, because signals are delivered there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._started:  # not earlier: threads do not survive a fork
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

    def leave(self, job: str) -> None:
        """Stop watching one of the jobs: its answer is ready."""
        self._jobs = tuple(one for one in self._jobs if one != job)

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Allow interruption inside the block. Raises BrokenOff if a watched job has ended."""
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
            except redis.RedisError:  # poll again later
                continue
            if gone and self._jobs is jobs:  # repeated until the main thread is inside `breakable`
                self._wanted = jobs
                signal.pthread_kill(main, _SIGNAL)
