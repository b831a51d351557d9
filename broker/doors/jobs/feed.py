"""The feed of one submitter's jobs: one reading of their states serves all who listen; there is none while nobody does.

It follows the jobs that somebody listens to by their ids, and for those who listen to all of them the newest FOLLOWED
ones. A listener that is slow is given the newest state of each job, not each state: nothing queues up.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

from golem_chain.broker.asynchronous.ending import end
from golem_chain.broker.doors.jobs.views import ENDED
from golem_chain.broker.jobs.outcomes import AWAY_S
from golem_chain.broker.jobs.summaries import Place, Summary
from golem_chain.shared.errors import BrokerAway

#: Jobs that are followed for those who listen to all, and jobs that one reading looks at.
FOLLOWED, LOOKED_AT_ONCE = 1000, 200
#: Interval of the readings, and the shortest pause after one, seconds: the end of any job is a reason to read.
POLL_S, PACE_S = 0.5, 0.03
#: A pause lasts this many times as long as the reading, at least, so that long readings leave time for others.
PAUSES = 4
#: Pause before the next try while Redis is away, seconds.
AGAIN_S = 0.5


class Jobs(Protocol):
    """What a feed reads: the jobs of one submitter, as OwnedPipeline shows them."""

    async def older(self, before: Place | None, most: int) -> list[Place]:
        """See `OwnedPipeline.older`."""

    async def summaries(self, jobs: Sequence[str]) -> list[Summary | None]:
        """See `OwnedPipeline.summaries`."""

    def announced(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """See `OwnedPipeline.announced`."""


class Listener:
    """What one listener has not been given yet: the newest state of each job. `job`: the only one that it wants."""

    def __init__(self, job: str | None = None) -> None:
        self.job, self.bell = job, asyncio.Event()
        self.changed: dict[str, Summary | None] = {}  # None: the job is unknown, or no longer known
        self.failure: BaseException | None = None

    def tell(self, job: str, one: Summary | None) -> None:
        """Replace what it was not given yet of a job."""
        if self.job in (None, job):
            self.changed.pop(job, None)
            self.changed[job] = one
            self.bell.set()

    async def next(self) -> list[tuple[str, Summary | None]]:
        """Return what has changed, as soon as something has. Raises BrokerAway if Redis is away for long."""
        await self.bell.wait()
        self.bell.clear()
        if self.failure:
            raise self.failure
        changed, self.changed = self.changed, {}
        return list(changed.items())


class Feed:
    """The states of one submitter's jobs, in one event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._listeners = dict[Listener, None]()
        self._states = dict[str, Summary | None]()  # of the followed jobs, in the order in which they are due
        self._newest: Place | None = None  # of those that are followed for the listeners to all
        self._reading: asyncio.Task[None] | None = None
        self._bell = asyncio.Event()

    @asynccontextmanager
    async def joined(self, job: str | None = None) -> AsyncIterator[Listener]:
        """Let a listener be told of one job, or of all, during the block. It is told first how they are."""
        listener = Listener(job)
        self._listeners[listener] = None
        if job and _is_over(self._states.get(job)):  # it may have been retried since
            self._states.pop(job, None)
        for id, known in self._states.items():
            listener.tell(id, known)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._ended)
        self._bell.set()
        try:
            yield listener
        finally:
            del self._listeners[listener]
            if not self._listeners:
                await self._stop()

    @property
    def idle(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    async def _stop(self) -> None:
        reading, self._reading = self._reading, None
        self._states.clear()
        self._newest = None
        if reading:
            await end([reading])

    # -- reading

    async def _read(self) -> None:
        answered = time.monotonic()
        while True:
            try:
                async with self._jobs.announced() as self._bell:
                    while True:
                        self._bell.clear()
                        began = time.monotonic()
                        await self._look()
                        answered = time.monotonic()
                        pause_s = max(PACE_S, PAUSES * (answered - began))
                        await asyncio.sleep(pause_s)
                        with suppress(TimeoutError):
                            async with asyncio.timeout(max(0.0, POLL_S - pause_s)):
                                await self._bell.wait()
            except BrokerAway:
                if time.monotonic() - answered > AWAY_S:
                    raise
                await asyncio.sleep(AGAIN_S)

    def _ended(self, reading: asyncio.Task[None]) -> None:
        """No listener goes on without the reading."""
        if not reading.cancelled() and (exc := reading.exception()):
            for listener in self._listeners:
                listener.failure = exc
                listener.bell.set()

    async def _look(self) -> None:
        """Look at the jobs that are due: those that somebody names, new ones, and the others in turn."""
        named, new = {listener.job for listener in self._listeners if listener.job}, list[str]()
        if any(listener.job is None for listener in self._listeners):
            new = await self._new()
        else:  # nobody listens to all any more
            self._newest, self._states = None, {id: one for id, one in self._states.items() if id in named}
        for at in range(0, len(wanted := due(self._states, named, new)), LOOKED_AT_ONCE):
            part = wanted[at : at + LOOKED_AT_ONCE]
            for id, one in zip(part, await self._jobs.summaries(part), strict=True):
                self._found(id, one)
        self._forget(named)

    async def _new(self) -> list[str]:
        """Return the jobs that came since the last reading, oldest first; at the first one the newest FOLLOWED."""
        found = list[Place]()
        while len(found) < FOLLOWED:
            places = await self._jobs.older(found[-1] if found else None, LOOKED_AT_ONCE if self._newest else FOLLOWED)
            fresh = [place for place in places if self._newest is None or place > self._newest]
            found += fresh
            if len(fresh) < len(places) or not places:
                break
        self._newest = found[0] if found else self._newest
        return [place.job for place in reversed(found)]

    def _found(self, id: str, one: Summary | None) -> None:
        known = id in self._states
        before = self._states.pop(id, None)  # it is due again after all others
        self._states[id] = one
        if not known or one != before:
            for listener in self._listeners:
                listener.tell(id, one)

    def _forget(self, named: Iterable[str]) -> None:
        """Keep no more than FOLLOWED jobs: those that have ended first leave first."""
        spare = len(self._states) - FOLLOWED
        if spare <= 0:
            return
        kept = set(named)
        leaving = [id for id, one in self._states.items() if id not in kept and _is_over(one)]
        leaving += [id for id, one in self._states.items() if id not in kept and not _is_over(one)]
        for id in leaving[:spare]:
            del self._states[id]


def due(states: dict[str, Summary | None], named: Iterable[str], new: Iterable[str]) -> list[str]:
    """Return which jobs are looked at now. Pure. Those that are named and have not ended, the new ones, those that
    run; LOOKED_AT_ONCE of the others, in the order of `states`."""
    first = [id for id in named if id not in states or not _is_over(states[id])]
    running = [id for id, one in states.items() if one and one.state == "running"]
    waiting = [id for id, one in states.items() if not _is_over(one)][:LOOKED_AT_ONCE]
    return list(dict.fromkeys([*first, *new, *running, *waiting]))


def _is_over(one: Summary | None) -> bool:
    return one is None or one.state in ENDED
