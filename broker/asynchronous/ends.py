"""The ends of jobs, for all coroutines that wait: one subscription and two tasks serve them, and there are none while
nobody waits.

_hear  listens to the announcements, and subscribes again after a break
_look  reads the Outcomes of what was announced, and looks at the others in turn, as `Outcomes.watch` does
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import islice

import redis

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.jobs import announcements, outcomes
from golem_chain.broker.jobs.announcements import Announcements
from golem_chain.broker.jobs.outcomes import CHUNK, Outcomes, turns_of
from golem_chain.broker.keys import Keys, hashed
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Outcome

#: Errors of a server that is away for a while.
AWAY = (redis.ConnectionError, redis.TimeoutError)
#: Pause before the next try, seconds.
AGAIN_S = 0.2


class Waiter:
    """One wait: what it waits for, and what it was told. Without jobs it waits for any that end, as a group does."""

    def __init__(self, ids: Iterable[str], until: float = math.inf) -> None:
        self.pending = dict.fromkeys(ids)
        self.until = until  # by time.monotonic
        self.unseen = set(self.pending)  # not looked at yet
        self.told: asyncio.Queue[Outcome | Exception | None] = asyncio.Queue()  # None: all were looked at once
        self.bell = None if self.pending else asyncio.Event()  # set whenever a job has ended


class Ends:
    """The ends of the jobs of one system, in one event loop."""

    def __init__(self, client: Client, keys: Keys, outcomes: Outcomes) -> None:
        self._client, self._keys, self._outcomes = client, keys, outcomes
        self._listening: _Listening | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def wait(self, ids: Iterable[str], timeout_s: float | None) -> AsyncGenerator[Outcome, None]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never), but not before each job
        was looked at. Raises BadRequest for a job that Redis does not know, redis.RedisError if it is away for long."""
        waiter = Waiter(ids, math.inf if timeout_s is None else time.monotonic() + timeout_s)
        if not waiter.pending:
            return
        async with self.joined(waiter) as listening:
            looked = False
            while waiter.pending:
                try:
                    left_s = None if not looked or waiter.until == math.inf else waiter.until - time.monotonic()
                    async with asyncio.timeout(left_s):
                        told = await waiter.told.get()
                except TimeoutError:
                    if listening.failure:
                        raise listening.failure from None
                    return
                if isinstance(told, Exception):
                    raise told
                if told is None:
                    looked = True
                elif told.job in waiter.pending:
                    del waiter.pending[told.job]
                    yield told

    async def stay(self) -> None:
        """Stay subscribed until `close`, or until cancelled, so that a wait begins without a connection of its own."""
        while True:
            waiter = Waiter(())
            async with self.joined(waiter):
                if not isinstance(await waiter.told.get(), redis.RedisError):
                    return
            await asyncio.sleep(AGAIN_S)  # the server was away for long

    @asynccontextmanager
    async def joined(self, waiter: Waiter) -> AsyncIterator["_Listening"]:
        """Let a waiter be told of ends during the block. The last one to leave ends the subscription."""
        listening = self._listening
        if listening is None or listening.broken:
            listening = self._listening = _Listening(self._client, self._keys, self._outcomes)
        listening.add(waiter)
        try:
            yield listening
        finally:
            if listening.remove(waiter):
                if self._listening is listening:
                    self._listening = None
                leaving = asyncio.create_task(listening.close())  # goes on if we are cancelled
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
                await asyncio.shield(leaving)

    async def close(self) -> None:
        """End the waits that go on, with an error, and the subscription."""
        listening, self._listening = self._listening, None
        if listening:
            listening.fail(BadRequest("The pipeline was closed while jobs were waited for: close it after the waits."))
            await listening.close()
        if self._leaving:
            await asyncio.wait(self._leaving)


class _Listening:
    """The subscription and the two tasks, while somebody waits."""

    def __init__(self, client: Client, keys: Keys, outcomes: Outcomes) -> None:
        self._client, self._keys, self._outcomes = client, keys, outcomes
        self._waiters, self._bells = dict[Waiter, None](), dict[asyncio.Event, None]()
        self._waiting: dict[str, set[Waiter]] = {}  # by job
        self._named: dict[str, str] = {}  # jobs by the names under which they are announced
        self._announced, self._due = dict[str, None](), dict[str, None]()  # jobs to read, jobs to look at
        self._work, self._subscribed = asyncio.Event(), asyncio.Event()
        self._answered_at = time.monotonic()
        self.failure: redis.RedisError | None = None  # while the server is away
        self.broken = False
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._look())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def add(self, waiter: Waiter) -> None:
        """Tell this waiter from now on."""
        self._waiters[waiter] = None
        if waiter.bell:
            self._bells[waiter.bell] = None
        for job in waiter.pending:
            self._waiting.setdefault(job, set()).add(waiter)
            self._named[hashed(job)] = job
        self._due.update(waiter.pending)
        self._work.set()

    def remove(self, waiter: Waiter) -> bool:
        """Tell it no longer; return whether nobody is left."""
        del self._waiters[waiter]
        if waiter.bell:
            del self._bells[waiter.bell]
        for job in waiter.pending:
            self._leave(job, waiter)
        return not self._waiters

    def _leave(self, job: str, waiter: Waiter) -> None:
        waiters = self._waiting.get(job, set())
        waiters.discard(waiter)
        if not waiters and self._waiting.pop(job, None) is not None:
            del self._named[hashed(job)]

    def fail(self, exc: Exception) -> None:
        """End all waits with an error."""
        self.broken = True
        for waiter in self._waiters:
            waiter.told.put_nowait(exc)

    async def close(self) -> None:
        """End the tasks and the subscription."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """No wait goes on without its tasks."""
        if not task.cancelled() and isinstance(exc := task.exception(), Exception):
            self.fail(exc)

    # -- the tasks

    async def _hear(self) -> None:
        while True:
            try:
                await self._listen(Announcements(self._client, self._keys))
            except AWAY as exc:
                await self._away(exc)

    async def _listen(self, announced: Announcements) -> None:
        try:
            await run(announced.__enter__)
            while True:
                name = await run(announced.hear, announcements.PING_S)
                if announced.had_gap():
                    self._due.update(dict.fromkeys(self._waiting))
                    self._subscribed.set()
                    self._ring()
                    self._work.set()
                if name is not None:
                    self._ring()
                    if job := self._named.get(name):
                        self._announced[job] = None
                        self._work.set()
        finally:
            self._subscribed.clear()
            with suppress(*AWAY):
                await run(announced.__exit__, None, None, None)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    async def _look(self) -> None:
        turns, turn_at = turns_of(self._waiting), time.monotonic() + outcomes.POLL_S
        while True:
            await self._subscribed.wait()
            left_s = max(0.0, turn_at - time.monotonic()) if self._waiting else None  # those of groups look themselves
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._work.wait()
            self._work.clear()
            if self._waiting and time.monotonic() >= turn_at:
                self._due.update(dict.fromkeys(next(turns)))
                turn_at = time.monotonic() + outcomes.POLL_S
            try:
                async with asyncio.timeout(announcements.SILENT_S):
                    await self._look_once()
            except AWAY as exc:
                await self._away(exc)
            except TimeoutError:
                await self._away(redis.TimeoutError("Redis did not answer in time."))

    async def _look_once(self) -> None:
        """Look at the next jobs that are due, the announced ones first."""
        with self._next(self._announced) as ids:
            found = await run(self._outcomes.get_all, ids) if ids else []
            for outcome in found:
                if outcome:
                    self._tell(outcome.job, outcome)
        with self._next(self._due) as ids:
            looked = await run(self._outcomes.look, ids) if ids else {}
            for job in ids:
                self._tell(job, looked.get(job))
        self._answered_at, self.failure = time.monotonic(), None
        if self._announced or self._due:
            self._work.set()

    @contextmanager
    def _next(self, jobs: dict[str, None]) -> Iterator[list[str]]:
        """Take the next jobs that somebody waits for; put them back if they could not be asked for."""
        ids = list(islice(jobs, CHUNK))
        for job in ids:
            del jobs[job]
        try:
            yield [job for job in ids if job in self._waiting]
        except BaseException:
            jobs.update(dict.fromkeys(ids))
            raise

    def _tell(self, job: str, found: Outcome | Exception | None) -> None:
        """Tell those who wait for a job what was found of it. None: it has not ended."""
        for waiter in list(self._waiting.get(job, ())):
            if found is not None:
                waiter.told.put_nowait(found)
                self._leave(job, waiter)
            if waiter.unseen:
                waiter.unseen.discard(job)
                if not waiter.unseen:
                    waiter.told.put_nowait(None)

    async def _away(self, exc: redis.RedisError) -> None:
        """Bear the server's absence for a while: then waits fail, and those whose time is over do at once."""
        self.failure, now = exc, time.monotonic()
        if now - self._answered_at > outcomes.AWAY_S:
            raise exc
        for waiter in self._waiters:
            if now >= waiter.until:
                waiter.told.put_nowait(exc)
        await self._client.drop_idle()  # they probably broke with it
        await asyncio.sleep(AGAIN_S)
