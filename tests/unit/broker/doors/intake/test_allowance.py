"""Jobs that a caller may have at once: counted rarely, and never exceeded by one server."""

import asyncio

import pytest

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.intake import allowance
from golem_chain.broker.doors.intake.allowance import Ahead, Allowance


class Redis:
    """Counts jobs that have not ended."""

    def __init__(self):
        self.unfinished, self.counts = 0, 0

    async def count(self):
        self.counts += 1
        found = self.unfinished
        await asyncio.sleep(0)
        return found


async def submitted(one, server):
    """Submit a job, and return whether there was a place for it."""
    try:
        async with one.place(server.count):
            await asyncio.sleep(0.001)
            server.unfinished += 1
    except HttpError as exc:
        return (exc.status, exc.headers["retry-after"]) != (429, "2")
    return True


def test_as_many_as_allowed_and_no_more_are_let_in_at_once():
    async def work():
        one, server = Allowance(5), Redis()
        assert sum(await asyncio.gather(*(submitted(one, server) for _ in range(100)))) == 5
        assert server.unfinished == 5

    asyncio.run(work())


def test_a_count_serves_as_many_submits_as_it_found_places():
    async def work():
        one, server = Allowance(100), Redis()
        for _ in range(100):
            assert await submitted(one, server)
        assert server.counts == 1

    asyncio.run(work())


def test_quick_jobs_one_after_the_other_are_never_refused():
    async def work():
        one, server = Allowance(2), Redis()
        for _ in range(20):
            assert await submitted(one, server)
            server.unfinished = 0

    asyncio.run(work())


def test_who_is_refused_and_asks_without_end_costs_no_counts():
    async def work():
        one, server = Allowance(1), Redis()
        server.unfinished = 1
        assert not any([await submitted(one, server) for _ in range(50)])
        assert server.counts == 1

    asyncio.run(work())


def test_a_job_that_ends_makes_room_a_moment_later(monkeypatch):
    monkeypatch.setattr(allowance, "PAUSE_S", 0.02)

    async def work():
        one, server = Allowance(1), Redis()
        assert await submitted(one, server)
        assert not await submitted(one, server)
        server.unfinished = 0
        await asyncio.sleep(0.03)
        assert await submitted(one, server)

    asyncio.run(work())


def test_a_submit_that_fails_takes_no_place_for_good():
    async def work():
        one, server = Allowance(1), Redis()
        with pytest.raises(ValueError, match="no"):
            async with one.place(server.count):
                raise ValueError("no")
        assert await submitted(one, server)

    asyncio.run(work())


def test_space_for_what_is_announced_is_bounded_for_each_caller_and_comes_back():
    ahead = Ahead(100)
    assert [ahead.take("anna", 60), ahead.take("anna", 60), ahead.take("anna", 40)] == [True, False, True]
    assert ahead.take("bert", 100)
    ahead.give_back("anna", 60)
    assert [ahead.take("anna", 61), ahead.take("anna", 60)] == [False, True]
