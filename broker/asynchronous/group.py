"""A group of jobs, for asyncio."""

import asyncio
import time
from collections.abc import AsyncGenerator

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.ends import AGAIN_S, AWAY, Ends, Waiter
from golem_chain.broker.connection import reaching
from golem_chain.broker.jobs import outcomes
from golem_chain.broker.jobs.groups import FIRST, End, Groups, GroupStatus
from golem_chain.broker.pipeline import Group
from golem_chain.shared.settings import Settings

#: Least time between two reads of one wait, seconds: each end of any job is a reason to read.
PACE_S = 0.05


class AsyncGroup:
    """Jobs that were submitted under one group name, as `Group`. Each method costs the same for any number of jobs, and
    raises BadRequest if there is no such group, BrokerAway if Redis fails."""

    def __init__(self, name: str, groups: Groups, ends: Ends, settings: Settings) -> None:
        self.name, self._groups, self._ends, self._settings = name, groups, ends, settings
        self._group = Group(name, groups, settings)

    async def status(self) -> GroupStatus:
        """See `Group.status`."""
        return await run(self._group.status)

    async def cancel(self) -> GroupStatus:
        """See `Group.cancel`."""
        return await run(self._group.cancel)

    async def ends(self, since: str = FIRST) -> list[End]:
        """See `Group.ends`."""
        return await run(self._group.ends, since)

    async def now(self) -> str:
        """See `Group.now`."""
        return await run(self._group.now)

    async def wait(self, since: str = FIRST, timeout_s: float | None = None) -> AsyncGenerator[End, None]:
        """Yield the jobs as they end, until all that were submitted have ended or `timeout_s` have passed (None: no
        limit). `since` goes on after the cursor of an earlier end. Survives a restart of Redis."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        await self.status()
        answered, waiter = time.monotonic(), Waiter(())
        bell = waiter.bell or asyncio.Event()
        with reaching(self._settings):
            async with self._ends.joined(waiter):
                while True:
                    bell.clear()
                    read_at = time.monotonic()
                    try:
                        page = await run(self._groups.ends, self.name, since)
                        over = not page and await run(self._groups.over, self.name, since)
                        answered = time.monotonic()
                    except AWAY:
                        if time.monotonic() - answered > outcomes.AWAY_S or (until and time.monotonic() >= until):
                            raise
                        await asyncio.sleep(AGAIN_S)
                        continue
                    for end in page:
                        since = end.cursor
                        yield end
                    if over or (not page and until is not None and time.monotonic() >= until):
                        return
                    if not page:
                        await _rung(bell, until)
                        await asyncio.sleep(max(0.0, read_at + PACE_S - time.monotonic()))


async def _rung(bell: asyncio.Event, until: float | None) -> None:
    """Wait until a job has ended, for POLL_S at most: an announcement may be lost."""
    left_s = outcomes.POLL_S if until is None else min(outcomes.POLL_S, until - time.monotonic())
    try:
        async with asyncio.timeout(max(0.0, left_s)):
            await bell.wait()
    except TimeoutError:
        return
