"""The feed: one tail and one poll for all listeners, that outlive Redis's absence and end with the last listener."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from golem_chain.broker.connection import connect
from golem_chain.broker.doors.system import feed as feeds
from golem_chain.broker.doors.system.feed import Entry, Feed, Start, Status, parse_id
from golem_chain.broker.doors.system.reader import Reader
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import timeline
from golem_chain.shared.errors import BrokerAway
from golem_chain.shared.settings import Settings
from tests.support.command_count import commands

keys = Keys()


def tell(client, *numbers):
    for n in numbers:
        timeline.tell(client, "box", {"kind": "load", "stage": "scribe", "n": n}, keys)


@asynccontextmanager
async def feeding(settings):
    """A feed on a reader of its own; no task is left of it."""
    reader = Reader(settings)
    feed = Feed(settings, reader)
    yield feed
    assert feed._tasks == []
    await reader.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def numbers(listening, count):
    """Return the numbers of the next events."""
    found: list[int] = []
    while len(found) < count:
        async with asyncio.timeout(20):
            told = await anext(listening)
        if isinstance(told, Entry):
            found.append(told.told["n"])
    return found


def test_the_last_listener_to_leave_ends_the_tasks_and_the_next_one_starts_them(settings, client):
    async def work():
        async with feeding(settings) as feed:
            for round_ in range(2):
                listening = [feed.listen(Start()) for _ in range(5)]
                await asyncio.gather(*(anext(one) for one in listening))
                assert len(feed._tasks) == 2
                tell(client, round_)
                assert await asyncio.gather(*(numbers(one, 1) for one in listening)) == [[round_]] * 5
                for one in listening:
                    assert feed._tasks
                    await one.aclose()
                assert feed._tasks == []

    asyncio.run(work())


def test_a_listener_that_falls_behind_is_dropped_and_goes_on_by_the_last_id(settings, client, monkeypatch):
    monkeypatch.setattr(feeds, "BEHIND_MOST", 10)

    async def work():
        async with feeding(settings) as feed:
            slow, quick = feed.listen(Start()), feed.listen(Start())
            await anext(slow)
            await anext(quick)
            for n in range(30):
                tell(client, n)
                assert await numbers(quick, 1) == [n]
            got = [told async for told in slow if isinstance(told, Entry)]
            assert [one.told["n"] for one in got] == list(range(10)), "what it had, then the end"
            again = feed.listen(Start(after=parse_id(got[-1].id)))
            assert await numbers(again, 20) == list(range(10, 30))
            await quick.aclose()
            await again.aclose()

    asyncio.run(work())


def test_a_replay_is_bounded_to_the_newest(settings, client, monkeypatch):
    monkeypatch.setattr(feeds, "REPLAYED_MOST", 5)

    async def work():
        tell(client, *range(12))
        async with feeding(settings) as feed:
            for start in (Start(last_s=60), Start(after=(0, 0))):
                listening = feed.listen(start)
                assert await numbers(listening, 5) == list(range(7, 12))
                await listening.aclose()

    asyncio.run(work())


def test_a_tail_that_fails_ends_the_streams_so_that_their_clients_come_again(settings, client, monkeypatch):
    async def work():
        async with feeding(settings) as feed:
            listening = feed.listen(Start())
            await anext(listening)
            with monkeypatch.context() as patched:
                patched.setattr(feeds, "parse", lambda *_: 1 / 0)
                tell(client, 0)
                async with asyncio.timeout(20):
                    assert not [told async for told in listening if isinstance(told, Entry)]
            again = feed.listen(Start())
            await anext(again)
            tell(client, 1)
            assert await numbers(again, 1) == [1]
            await again.aclose()

    asyncio.run(work())


def test_listeners_outlive_a_restart_of_redis_and_hear_of_it(start_server, tmp_path):
    async def work(server, settings):
        async with feeding(settings) as feed:
            listening = feed.listen(Start())
            assert (await anext(listening)).seen is not None
            await asyncio.to_thread(server.kill)
            async with asyncio.timeout(30):
                while (await anext(listening)) != Status(None):
                    pass
                late = feed.listen(Start())
                with pytest.raises(BrokerAway):
                    await anext(late)
                await asyncio.to_thread(server.restart)
                while (await anext(listening)).seen is None:
                    pass
            end = time.monotonic() + 20
            with connect(settings) as client:
                while time.monotonic() < end:  # its tail looks again once a second
                    tell(client, 1)
                    told = await anext(listening)
                    if isinstance(told, Entry):
                        break
                assert isinstance(told, Entry)
            await listening.aclose()

    with start_server(tmp_path) as server:
        asyncio.run(work(server, Settings.read(_env_file=None, redis_url=server.url)))


def test_readings_that_are_asked_for_together_are_one(settings, client):
    async def work():
        reader = Reader(settings)
        await reader.overview()
        await asyncio.sleep(0.6)
        with commands(client) as count:
            await asyncio.gather(*(reader.overview() for _ in range(200)))
            assert count() < 40
        leaving = asyncio.create_task(reader.overview())
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await reader.overview())["queues"], "who leaves takes nothing from the others"
        await reader.close()

    asyncio.run(work())
