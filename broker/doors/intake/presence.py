"""Who waits for which job: a job whose last client has left without its end is cancelled after a while.

    waiting --- last client leaves ---> left --- leave_s later ---> cancelled
       ^------ a client waits again ------'

Ends of the server leave jobs alone: their clients come back.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from golem_chain.shared.errors import GolemError

#: Cancels a job that nobody waits for, if it is still so: job -> None.
Cancel = Callable[[str], Awaitable[object]]


class Presence:
    """The clients that wait, of one server, in one event loop."""

    def __init__(self, leave_s: float) -> None:
        self._leave_s = leave_s
        self._waiting: Counter[str] = Counter()
        self._left: dict[str, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def left(self) -> set[str]:
        """The jobs whose clients have left, and which will be cancelled."""
        return set(self._left)

    @contextmanager
    def waiting(self, job: str, cancel: Cancel) -> Iterator["Wait"]:
        """A client waits for a job during the block. Call `keep` of what is yielded when it has the
        job's end."""
        self._waiting[job] += 1
        self._stay(job)
        wait = Wait()
        try:
            yield wait
        finally:
            self._waiting[job] -= 1
            if self._waiting[job] <= 0:
                del self._waiting[job]
                if not wait.is_kept and not self._closed:
                    loop = asyncio.get_running_loop()
                    self._left[job] = loop.call_later(self._leave_s, self._cancel, job, cancel)

    def close(self) -> None:
        """Cancel no job any more."""
        self._closed = True
        for job in list(self._left):
            self._stay(job)

    def _stay(self, job: str) -> None:
        if timer := self._left.pop(job, None):
            timer.cancel()

    def _cancel(self, job: str, cancel: Cancel) -> None:
        del self._left[job]
        task = asyncio.ensure_future(_quietly(cancel(job)))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)


class Wait:
    """One client's wait."""

    is_kept = False

    def keep(self) -> None:
        """Leave the job alone: it has ended, or may go on without a client."""
        self.is_kept = True


async def _quietly(work: Awaitable[object]) -> None:
    """If Redis is away, the job runs to its end."""
    with suppress(GolemError):
        await work
