"""A job whose last client has left is cancelled after a while, unless a client waits again."""

import asyncio

import pytest

from golem_chain.broker.doors.intake.presence import Presence
from golem_chain.shared.errors import BrokerAway

LEAVE_S = 0.05


class Case:
    """A presence whose cancellations are noted."""

    def __init__(self, leave_s=LEAVE_S):
        self.presence, self.cancelled = Presence(leave_s), list[str]()

    async def cancel(self, job):
        self.cancelled.append(job)

    def waiting(self, job="a"):
        return self.presence.waiting(job, self.cancel)

    async def later(self):
        await asyncio.sleep(3 * LEAVE_S)
        return self.cancelled


def run(work):
    return asyncio.run(work(Case()))


def test_a_job_is_cancelled_once_its_client_has_left():
    async def work(case):
        with case.waiting():
            assert not case.presence.left
        assert case.presence.left == {"a"}
        assert case.cancelled == [], "not at once"
        assert await case.later() == ["a"]
        assert not case.presence.left

    run(work)


def test_a_client_that_has_the_end_cancels_nothing():
    async def work(case):
        with case.waiting() as wait:
            wait.keep()
        assert await case.later() == []

    run(work)


def test_of_several_clients_the_last_one_counts():
    async def work(case):
        with case.waiting():
            with case.waiting():
                pass
            assert await case.later() == []
        assert await case.later() == ["a"]

    run(work)


def test_a_client_that_returns_keeps_the_job_and_its_leaving_counts_anew():
    async def work(case):
        with case.waiting():
            pass
        with case.waiting() as wait:
            assert await case.later() == []
            wait.keep()
        assert await case.later() == []
        with case.waiting():
            pass
        assert await case.later() == ["a"]

    run(work)


@pytest.mark.parametrize("exc", [ValueError(), asyncio.CancelledError()])
def test_a_client_leaves_however_its_wait_ends(exc):
    async def work(case):
        with pytest.raises(type(exc)), case.waiting():
            raise exc
        assert await case.later() == ["a"]

    run(work)


def test_a_server_that_stops_cancels_nothing():
    async def work(case):
        with case.waiting("a"):
            pass
        with case.waiting("b"):
            case.presence.close()
        assert await case.later() == []
        assert not case.presence.left

    run(work)


def test_a_cancellation_that_fails_harms_nobody():
    async def work(case):
        async def away(job):
            raise BrokerAway(f"{job} is away.")

        with case.presence.waiting("a", away):
            pass
        with case.waiting("b"):
            pass
        assert await case.later() == ["b"]

    run(work)


def test_other_jobs_are_left_alone():
    async def work(case):
        with case.waiting("a"), case.waiting("b") as wait:
            wait.keep()
        assert await case.later() == ["a"]

    run(work)
