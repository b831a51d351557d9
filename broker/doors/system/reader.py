"""Reads the running system for all who ask: one reading at a time, shared by everybody who asks meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.asynchronous.ending import end
from golem_chain.broker.connection import place, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import counts, status
from golem_chain.broker.monitoring.counts import Counts
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

T = TypeVar("T")

#: How long Redis may take to answer, seconds. The page and a scrape wait for it.
ANSWER_S = 2.0
#: A reading younger than this is given out again, seconds: half of the pause between two readings for listeners.
FRESH_S = 0.5
#: Most boxes that are read: those that renewed their names last.
BOXES_MOST = 200


class Shared(Generic[T]):
    """A reading that is shared by those who ask while it is made, and for a while after."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._task: asyncio.Task[T] | None = None
        self._began = 0.0  # by time.monotonic

    async def get(self) -> T:
        """Return the reading. Raises what it raises."""
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._began > FRESH_S):
            self._began = time.monotonic()
            task = self._task = asyncio.ensure_future(self._read())
            task.add_done_callback(_heard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End a reading that goes on."""
        if self._task:
            await end([self._task])


class Reader:
    """The readings of one system. Its client decodes replies."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.keys = settings, Keys(settings.prefix)
        self.client = Client(settings, **status.TEXT)
        self._overview: Shared[JsonObject] = Shared(partial(self.answer, status.overview, BOXES_MOST))
        self._counts: Shared[Counts] = Shared(partial(self.answer, counts.read))

    async def overview(self) -> JsonObject:
        """Return what waits and what the boxes hold: see `broker.monitoring.status.overview`. Nobody changes it: it is
        shared. Raises BrokerAway if Redis fails or does not answer in time."""
        return await self._overview.get()

    async def counts(self) -> Counts:
        """Return what was counted. Raises BrokerAway likewise."""
        return await self._counts.get()

    async def answer(self, read: Callable[..., T], *args: Any) -> T:
        """Call a function of client, keys and these arguments that reads Redis. Raises BrokerAway likewise."""
        with reaching(self._settings):
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await run(read, self.client, self.keys, *args)
            except TimeoutError:
                raise BrokerAway(f"{place(self._settings)} did not answer within {ANSWER_S:.0f} s.") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._overview.close()
        await self._counts.close()
        await self.client.aclose()


def _heard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # those who asked may all have left
