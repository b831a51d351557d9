"""The ends of groups without Redis: a page is read once for all who ask, and nobody is left waiting or behind."""

import asyncio
from typing import Any

import pytest

from golem_chain.broker.doors.jobs import ends as module
from golem_chain.broker.doors.jobs.ends import PAGES_MOST, AllEnds
from golem_chain.broker.jobs.groups import End
from golem_chain.shared.errors import UnknownGroup


class Group:
    """A group as OwnedGroup shows it, of `jobs` jobs; counts how often its ends are read."""

    name = "night"

    def __init__(self, jobs):
        self.jobs, self.ended, self.reads, self.expired = jobs, 0, 0, False
        self.bell = asyncio.Event()

    def end(self, count=1):
        self.ended += count
        self.bell.set()

    async def ends(self, since):
        self.reads += 1
        first = int(since.partition("-")[0])
        return [End(f"{n + 1}-0", f"job-{n}", "done", None) for n in range(first, min(self.ended, first + 200))]

    async def wait(self, since, timeout_s=None):
        while True:
            if self.expired:
                raise UnknownGroup("There is no group 'night'.")
            for end in await self.ends(since):
                since = end.cursor
                yield end
            if int(since.partition("-")[0]) >= self.jobs:
                return
            self.bell.clear()
            await self.bell.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PACE_S", 0.001)


def run(main):
    """Run a test within 10 s; fail if it leaves a task behind."""

    async def running():
        async with asyncio.timeout(10):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(running())


async def followed(everything: AllEnds, group: Any, since="0-0", pause_s=0.0):
    """Follow a group to its end; return the cursors."""
    found = []
    async with everything.joined("me", group) as ends:
        while page := await ends.after(since):
            found += [event.id for event in page]
            since = found[-1]
            await asyncio.sleep(pause_s)
    return found


def test_a_hundred_listeners_are_told_every_end_by_the_readings_of_one():
    async def main():
        everything, group = AllEnds(), Group(1000)
        listening = [asyncio.create_task(followed(everything, group)) for _ in range(100)]
        for _ in range(10):
            group.end(100)
            await asyncio.sleep(0.01)
        wanted = [f"{n}-0" for n in range(1, 1001)]
        assert all(found == wanted for found in await asyncio.gather(*listening))
        assert group.reads < 100

    run(main)


def test_a_slow_listener_and_one_that_resumes_miss_nothing():
    async def main():
        everything, group = AllEnds(), Group((PAGES_MOST + 4) * 100)
        quick = asyncio.create_task(followed(everything, group))
        slow = asyncio.create_task(followed(everything, group, pause_s=0.05))
        late = asyncio.create_task(followed(everything, group, since="150-0"))
        while group.ended < group.jobs:
            group.end(100)
            await asyncio.sleep(0.01)
        assert await quick == await slow == [f"{n}-0" for n in range(1, group.jobs + 1)]
        assert (await late)[0] == "151-0"

    run(main)


def test_a_group_that_expires_ends_its_listeners_with_an_error():
    async def main():
        everything, group = AllEnds(), Group(10)
        listening = asyncio.create_task(followed(everything, group))
        group.end(5)
        await asyncio.sleep(0.02)
        group.expired = True
        group.bell.set()
        with pytest.raises(UnknownGroup):
            await listening

    run(main)


def test_a_listener_that_leaves_leaves_the_others_their_reading():
    async def main():
        everything, group = AllEnds(), Group(1)
        leaves, stays = (asyncio.create_task(followed(everything, group)) for _ in range(2))
        await asyncio.sleep(0.02)
        leaves.cancel()
        await asyncio.sleep(0.01)
        group.end()
        assert await stays == ["1-0"]

    run(main)
