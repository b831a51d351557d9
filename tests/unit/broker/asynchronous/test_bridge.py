"""Blocking code on the event loop: what it waits for, what it is told, and that a cancellation is never lost."""

import asyncio
import contextvars
from contextlib import suppress

import pytest

from golem_chain.broker.asynchronous.bridge import in_thread, pause, run, wait_for


async def later(value):
    await asyncio.sleep(0)
    return value


async def bad():
    await asyncio.sleep(0)
    raise ValueError("bad")


def test_the_code_gets_the_answers_in_order_and_its_result_is_returned():
    def code(first, *, second):
        return [wait_for(later(first)), wait_for(later(second)), in_thread(lambda: 3)]

    assert asyncio.run(run(code, 1, second=2)) == [1, 2, 3]


def test_an_error_reaches_the_code_that_waits_and_one_of_its_own_the_caller():
    def code():
        with pytest.raises(ValueError, match="bad"):
            wait_for(bad())
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        asyncio.run(run(code))


def test_the_event_loop_goes_on_while_the_code_waits():
    async def main():
        went_on = asyncio.Event()
        code = asyncio.create_task(run(lambda: wait_for(went_on.wait())))
        await asyncio.sleep(0)
        went_on.set()
        return await code

    assert asyncio.run(main())


def test_the_code_sees_the_context_variables_of_the_coroutine():
    variable = contextvars.ContextVar("variable", default="none")

    async def main():
        variable.set("set")
        return await run(lambda: (variable.get(), wait_for(later(variable)).get()))

    assert asyncio.run(main()) == ("set", "set")


def test_waiting_outside_of_run_is_an_error():
    nobody = later(1)
    with pytest.raises(AssertionError, match="outside of run"):
        wait_for(nobody)
    nobody.close()


async def cancelled(code):
    """Run it, cancel it while it waits, and return how it ended."""
    task = asyncio.create_task(run(code))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    return task


def test_a_cancellation_is_told_to_the_code_which_can_still_wait_to_undo_its_work():
    undone = []

    def code():
        try:
            pause(60)
        except asyncio.CancelledError:
            undone.append(wait_for(later("undone")))
            undone.append(wait_for(later("all")))
            raise

    assert asyncio.run(cancelled(code)).cancelled()
    assert undone == ["undone", "all"]


@pytest.mark.parametrize("ending", ["answers", "fails"])
def test_a_cancellation_that_an_awaitable_swallows_is_told_all_the_same(ending):
    async def swallows():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if ending == "fails":
                raise ValueError("of its own") from None

    def code():
        with suppress(ValueError):
            wait_for(swallows())
        pause(60)

    assert asyncio.run(cancelled(code)).cancelled()


def test_code_whose_event_loop_ended_is_left_without_waiting_any_more():
    tried = []

    def code():
        try:
            pause(60)
        finally:
            tried.append("undo")
            wait_for(later("undone"))
            tried.append("undone")

    async def main():
        left = run(code)
        left.send(None)
        left.close()

    asyncio.run(main())
    assert tried == ["undo"]


def test_a_cancellation_that_was_told_is_told_once():
    def code():
        with suppress(asyncio.CancelledError):
            pause(60)
        return wait_for(later("went on"))

    assert asyncio.run(cancelled(code)).result() == "went on"
