"""Interrupts a batch when one of its jobs has ended (it was cancelled, or another box finished it first), or when it is
to give way to an interactive job.

    watching(jobs): a thread polls Redis twice a second ─► signals its own process ─► breakable() raises BrokenOff
                                                        └► an interactive job waits:  breakable() raises GaveWay

The engines need no code for this: the main thread is interrupted between two operations of the model, as by Ctrl-C,
and the model stays loaded. Operations that must complete (a load, a write to Redis) run outside `breakable`. So does
the preparation of requests: an exception between any two instructions of it could leave a file half decoded, and
decoders may drop it. Inside `polled`, it is interrupted only where it calls `poll`, between two blocks of audio. A step
that is broken off in the middle is lost, so that a batch of bulk gives way there only while it can afford it
(`lanes.affords`); between two steps, which is where `gives_way` is asked and `step` is called, nothing is lost.
An answer that is given out in the middle of a run is `whole`: written to Redis, or not begun.
"""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import redis

from golem_chain.shared.records import Lane
from golem_chain.workers.child import lanes

EVERY_S = 0.5
#: Ignored by default, so a stray signal is harmless; Python and Celery do not use it.
_SIGNAL = signal.SIGURG


class BrokenOff(BaseException):
    """A job of the batch has ended. A BaseException, so that an engine's per-item `except Exception` lets it pass."""


class GaveWay(BaseException):
    """The batch gives way to an interactive job: what has no answer yet goes back into its queue."""


class Watch:
    """Watches the jobs that the main thread is computing. `ended` returns those of the given jobs that have ended,
    `waiting` whether an interactive message waits that this process could serve; both may raise redis.RedisError."""

    def __init__(
        self,
        ended: Callable[[Sequence[str]], set[str]],
        waiting: Callable[[], bool] = lambda: False,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ended, self._waiting, self._every_s, self._clock = ended, waiting, every_s, clock
        self._jobs: tuple[str, ...] = ()
        self._wanted: tuple[str, ...] | None = None  # the tuple of jobs to interrupt, compared by identity
        self._why: type[BaseException] = BrokenOff
        self._interactive: frozenset[str] = frozenset()
        self._may_yield = False
        self._waits = False  # at the latest poll
        self._open = False  # accessed only by the main thread, where signal handlers run too
        self._polled = False  # likewise
        self._busy = threading.Event()
        self._started = False
        self._step_at = self._unkept_s = 0.0  # when the step began, and what it held then that would be lost
        self._computed_s = self._lost_s = 0.0  # bulk: in all, and in steps that were broken off

    @contextmanager
    def watching(
        self, jobs: Sequence[str], interactive: Collection[str] = (), *, may_yield: bool = False
    ) -> Iterator[None]:
        """Watch these jobs. `interactive`: those of that lane; `may_yield`: whether the others may give way. Does
        nothing outside the main thread, because signals are delivered there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._started:  # not earlier: threads do not survive a fork
            self._started = True
            signal.signal(_SIGNAL, self._on_signal)
            threading.Thread(target=self._look, daemon=True, name="watch").start()
        self._interactive, self._may_yield, self._waits = frozenset(interactive), may_yield, False
        self._jobs = tuple(jobs)
        self._step_at = self._clock()
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()
            self._jobs, self._wanted, self._waits = (), None, False

    def leave(self, job: str) -> None:
        """Stop watching one of the jobs: its answer is ready."""
        self._jobs = tuple(one for one in self._jobs if one != job)

    def gives_way(self) -> bool:
        """Whether the jobs that are still watched are to give way to an interactive one."""
        found: list[Lane] = ["interactive" if job in self._interactive else "bulk" for job in self._jobs]
        return self._may_yield and bool(found) and lanes.yields(found, waiting=self._waits)

    def step(self) -> None:
        """A step of a long computation is done, and what it gave can be kept. Raises GaveWay if the jobs give way."""
        self._stepped()
        if (self._open or self._polled) and self.gives_way():
            self._open = self._polled = False
            raise GaveWay

    @contextmanager
    def whole(self, unkept_s: float) -> Iterator[None]:
        """What is not interrupted inside `breakable`, such as a write to Redis. A step ends with it; `unkept_s` of what
        was computed by then would still be lost, seconds."""
        opened, self._open = self._open, False
        try:
            yield
        finally:
            self._stepped()
            self._unkept_s = unkept_s
            self._open = opened

    @contextmanager
    def polled(self) -> Iterator[None]:
        """Allow interruption inside the block, which is one step, but only where it calls `poll`."""
        self._step_at, self._unkept_s = self._clock(), 0.0
        self._polled = True
        try:
            yield
        finally:
            self._polled = False
            self._stepped()

    def poll(self) -> None:
        """A safe point inside `polled`; elsewhere nothing happens. Raises as `breakable` does."""
        if self._polled:
            self._interrupt()

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Allow interruption inside the block, which is one step, or several divided by `step`. Raises BrokenOff if a
        watched job has ended, GaveWay if the jobs give way to an interactive one."""
        self._step_at, self._unkept_s = self._clock(), 0.0
        self._open = True
        try:
            yield
        finally:
            self._open = False
            self._stepped()

    def _stepped(self) -> None:
        now = self._clock()
        self._computed_s += now - self._step_at
        self._step_at, self._unkept_s = now, 0.0

    def _on_signal(self, signum: int, frame: object) -> None:
        del signum, frame
        if self._open:
            self._interrupt()

    def _interrupt(self) -> None:
        """Raise what was asked for, if it still applies."""
        if not self._jobs or self._wanted is not self._jobs:
            return
        if self._why is GaveWay:
            step_s = self._unkept_s + self._clock() - self._step_at  # a step may have begun since the poll
            if not self.gives_way() or not lanes.affords(step_s, self._lost_s, self._computed_s):
                return
            self._lost_s += step_s
        self._open = self._polled = False  # once
        raise self._why

    def _look(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while self._busy.wait():
            time.sleep(self._every_s)
            if not (jobs := self._jobs):
                continue
            try:
                gone = self._ended(jobs)
                waits = self._may_yield and self._waiting()
            except redis.RedisError:  # poll again later
                continue
            if self._jobs is not jobs:
                continue
            self._waits = waits
            if gone or self.gives_way():  # repeated until the main thread is inside `breakable`
                self._wanted, self._why = jobs, BrokenOff if gone else GaveWay
                signal.pthread_kill(main, _SIGNAL)
