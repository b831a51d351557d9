"""Tasks that are ended have ended."""

import asyncio

from golem_chain.broker.asynchronous.ending import end


def test_a_task_that_swallows_a_cancellation_is_cancelled_again():
    swallowed = []

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) == 3:
                    raise

    async def run():
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await end([task])
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(run(), 10))
    assert len(swallowed) == 3


def test_tasks_that_have_ended_or_fail_are_no_trouble():
    async def fails():
        raise ValueError

    async def run():
        done, failing = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())
        await asyncio.sleep(0.01)
        await end([done, failing])
        await end([])
        assert isinstance(failing.exception(), ValueError)

    asyncio.run(run())
