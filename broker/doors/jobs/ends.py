"""The ends of groups for all who follow them: each page of ends is read once, however many ask for it."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from golem_chain.broker.asynchronous.ending import end
from golem_chain.broker.asynchronous.owned import OwnedGroup
from golem_chain.broker.doors.intake.sse import Event
from golem_chain.broker.doors.jobs.views import of_end
from golem_chain.broker.jobs.groups import End

#: Least time between two readings, seconds: the end of any job is a reason to read.
PACE_S = 0.1
#: Pages that are kept for listeners that are a little behind; those that are further read again.
PAGES_MOST = 4


class Ends:
    """The ends of one group, in one event loop."""

    def __init__(self, group: OwnedGroup) -> None:
        self._group, self._read_at = group, 0.0
        self._pages = OrderedDict[str, asyncio.Task[list[Event]]]()  # by the cursor after which they begin
        self._reading = set[asyncio.Task[list[Event]]]()
        self.listeners = 0

    async def after(self, cursor: str) -> list[Event]:
        """Return the next ends after a cursor as soon as there is one, at most 201; none if none can follow. Raises
        UnknownGroup once the group has expired, BrokerAway."""
        page = self._pages.get(cursor)
        if page is None or (page.done() and (page.cancelled() or page.exception() or not page.result())):
            page = self._pages[cursor] = asyncio.create_task(self._read(cursor))
            self._reading.add(page)
            page.add_done_callback(self._over)
            while len(self._pages) > PAGES_MOST:
                self._pages.popitem(last=False)
        return await asyncio.shield(page)

    async def close(self) -> None:
        """End the readings."""
        await end(list(self._reading))

    async def _read(self, cursor: str) -> list[Event]:
        await asyncio.sleep(max(0.0, self._read_at + PACE_S - time.monotonic()))
        self._read_at = time.monotonic()
        found: list[End] = []
        async with aclosing(self._group.wait(cursor)) as ends:
            async for first in ends:
                found.append(first)
                break
        if found:
            found += await self._group.ends(found[0].cursor)
        return [Event(json.dumps(of_end(one).model_dump(mode="json")), "end", one.cursor) for one in found]

    def _over(self, page: "asyncio.Task[list[Event]]") -> None:
        self._reading.discard(page)
        if not page.cancelled():
            page.exception()  # if its listeners have left, nobody else asks


class AllEnds:
    """The ends of all groups that somebody follows."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Ends] = {}

    @asynccontextmanager
    async def joined(self, owner: str, group: OwnedGroup) -> AsyncIterator[Ends]:
        """Follow a group of an owner's during the block. The last one to leave ends the readings."""
        key = (owner, group.name)
        ends = self._groups.setdefault(key, Ends(group))
        ends.listeners += 1
        try:
            yield ends
        finally:
            ends.listeners -= 1
            if not ends.listeners:
                del self._groups[key]
                await ends.close()
