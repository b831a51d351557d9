"""Reads the running system for all who ask: one reading at a time, shared by everybody who asks meanwhile."""

import asyncio
import time

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.connection import place, reaching
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import status
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings

#: How long Redis may take to answer, seconds. The page and a scrape wait for it.
ANSWER_S = 2.0
#: A reading younger than this is given out again, seconds: half of what listeners are told at.
FRESH_S = 0.5
#: Most boxes that are read: those that renewed their names last.
BOXES_MOST = 200


class Reader:
    """The readings of one system. Its client decodes replies."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.keys = settings, Keys(settings.prefix)
        self.client = Client(settings, **status.TEXT)
        self._reading: asyncio.Task[JsonObject] | None = None
        self._read_at = 0.0  # when the last one began, by time.monotonic

    async def overview(self) -> JsonObject:
        """Return what waits and what the boxes hold: see `broker.monitoring.status.overview`. Nobody changes it: it is
        shared. Raises BrokerAway if Redis fails or does not answer in time."""
        task = self._reading
        if task is None or (task.done() and time.monotonic() - self._read_at > FRESH_S):
            self._read_at = time.monotonic()
            task = self._reading = asyncio.create_task(self._read())
            task.add_done_callback(_heard)
        return await asyncio.shield(task)

    async def _read(self) -> JsonObject:
        with reaching(self._settings):
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await run(status.overview, self.client, self.keys, BOXES_MOST)
            except TimeoutError:
                raise BrokerAway(f"{place(self._settings)} did not answer within {ANSWER_S:.0f} s.") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._reading:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self.client.aclose()


def _heard(task: asyncio.Task[JsonObject]) -> None:
    if not task.cancelled():
        task.exception()  # those who asked may all have left
