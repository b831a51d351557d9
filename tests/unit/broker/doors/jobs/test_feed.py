"""The feed of jobs without Redis: what is looked at, what listeners are told, and that nothing grows."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from golem_chain.broker.doors.jobs import feed as feeds
from golem_chain.broker.doors.jobs.feed import FOLLOWED, LOOKED_AT_ONCE, Feed, due
from golem_chain.broker.jobs.summaries import Place, Summary
from golem_chain.shared.errors import BrokerAway


def job(id, state="waiting", at=0.0):
    stage = "scribe" if state in ("waiting", "running") else None
    return Summary(id, f"{id}.wav", state, stage, "bulk", None, at, None, None, None, None)


class Jobs:
    """The jobs of a submitter, as OwnedPipeline shows them."""

    def __init__(self, *jobs):
        self.all = {one.job: one for one in jobs}
        self.bell, self.looked, self.away = asyncio.Event(), 0, False

    def set(self, one):
        self.all[one.job] = one
        self.bell.set()

    async def older(self, before, most):
        places = sorted((Place(one.submitted_at, one.job) for one in self.all.values()), reverse=True)
        return [place for place in places if before is None or place < before][:most]

    async def summaries(self, ids):
        if self.away:
            raise BrokerAway("Redis is away.")
        assert len(ids) <= LOOKED_AT_ONCE
        self.looked += len(ids)
        return [self.all.get(id) for id in ids]

    @asynccontextmanager
    async def announced(self):
        yield self.bell


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("POLL_S", 0.02), ("PACE_S", 0.002), ("AGAIN_S", 0.005)):
        monkeypatch.setattr(feeds, name, seconds)


def run(main):
    """Run a test within 10 s; fail if it leaves a task behind."""

    async def running():
        async with asyncio.timeout(10):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(running())


async def until(listener, job, state):
    """Read a listener until it was told that a job is in a state; return what it was told of that job."""
    told = []
    while True:
        for id, one in await listener.next():
            if id == job:
                told.append(one and one.state)
        if told and told[-1] == state:
            return told


def test_a_listener_is_told_how_its_job_is_and_of_each_change():
    async def main():
        jobs = Jobs(job("a"), job("b"))
        async with Feed(jobs).joined("a") as listener:
            assert await until(listener, "a", "waiting") == ["waiting"]
            jobs.set(job("b", "done"))
            jobs.set(job("a", "running"))
            await until(listener, "a", "running")
            jobs.set(job("a", "done"))
            await until(listener, "a", "done")

    run(main)


def test_a_job_that_is_unknown_is_told_as_such():
    async def main():
        async with Feed(Jobs()).joined("a") as listener:
            assert await listener.next() == [("a", None)]

    run(main)


def test_a_job_that_ended_and_was_retried_is_looked_at_again():
    async def main():
        jobs = Jobs(job("a", "failed"))
        feed = Feed(jobs)
        async with feed.joined("a") as first:
            await until(first, "a", "failed")
            jobs.set(job("a", "waiting"))
            async with feed.joined("a") as second:
                await until(second, "a", "waiting")

    run(main)


def test_a_listener_to_all_is_told_of_jobs_that_come_later():
    async def main():
        jobs = Jobs(job("a", at=1))
        async with Feed(jobs).joined() as listener:
            await until(listener, "a", "waiting")
            jobs.set(job("b", at=2))
            await until(listener, "b", "waiting")
            jobs.set(job("b", "done", at=2))
            await until(listener, "b", "done")

    run(main)


def test_a_listener_that_does_not_read_is_kept_the_newest_states_only():
    async def main():
        jobs = Jobs(*(job(f"job-{n}", at=n) for n in range(50)))
        async with Feed(jobs).joined() as slow:
            for round in range(20):
                for n in range(50):
                    jobs.set(job(f"job-{n}", "running" if round % 2 else "waiting", at=n))
                await asyncio.sleep(0.003)
            for n in range(50):
                jobs.set(job(f"job-{n}", "done", at=n))
            while not all(one and one.state == "done" for one in slow.changed.values()):
                await asyncio.sleep(0.005)
            assert len(slow.changed) == 50
            assert sorted(id for id, _ in await slow.next()) == sorted(jobs.all)

    run(main)


def test_a_long_list_is_followed_in_bounded_readings_and_memory():
    async def main():
        jobs = Jobs(*(job(f"job-{n:05}", at=n) for n in range(3 * FOLLOWED)))
        feed = Feed(jobs)
        async with feed.joined() as listener:
            seen: set[str] = set()
            while len(seen) < FOLLOWED:
                seen |= {id for id, _ in await listener.next()}
            assert min(seen) == f"job-{2 * FOLLOWED:05}"
            jobs.looked, readings = 0, 10
            for n in range(readings):
                jobs.set(job(f"new-{n}", at=10 * FOLLOWED + n))
                await until(listener, f"new-{n}", "waiting")
            assert jobs.looked <= 3 * readings * (LOOKED_AT_ONCE + readings)
            assert len(feed._states) <= FOLLOWED

    run(main)


def test_a_short_absence_of_redis_is_borne_and_a_long_one_ends_the_listeners(monkeypatch):
    async def main():
        jobs = Jobs(job("a"))
        feed = Feed(jobs)
        async with feed.joined("a") as listener:
            await until(listener, "a", "waiting")
            jobs.away = True
            await asyncio.sleep(0.05)
            jobs.away = False
            jobs.set(job("a", "running"))
            await until(listener, "a", "running")
            monkeypatch.setattr(feeds, "AWAY_S", 0.01)
            jobs.away = True
            with pytest.raises(BrokerAway):
                await listener.next()
        jobs.away = False
        async with feed.joined("a") as listener:
            await until(listener, "a", "running")

    run(main)


def test_the_last_listener_to_leave_ends_the_readings():
    async def main():
        jobs = Jobs(job("a"))
        feed = Feed(jobs)
        async with feed.joined("a") as one, feed.joined() as two:
            await until(one, "a", "waiting")
            await until(two, "a", "waiting")
        assert feed.idle
        looked = jobs.looked
        await asyncio.sleep(0.05)
        assert jobs.looked == looked

    run(main)


def test_named_new_and_running_jobs_are_looked_at_before_the_others_in_their_turn():
    states = {f"job-{n:04}": job(f"job-{n:04}") for n in range(500)}
    states |= {"runs": job("runs", "running"), "over": job("over", "done"), "gone": None}
    looked = due(states, ["named", "over"], ["new"])
    assert looked[:3] == ["named", "new", "runs"]
    assert len(looked) <= 3 + LOOKED_AT_ONCE
    assert not {"over", "gone"} & set(looked)
