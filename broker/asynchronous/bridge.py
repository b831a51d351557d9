"""Runs blocking code on the event loop: `run` calls it, and `wait_for` inside it waits for an awaitable.

So that each operation is written once: what the synchronous client sends, checks and undoes is the same code here, over
redis-py's asyncio client. The code runs in a greenlet of its own, which hands its awaitables to the coroutine that
called it. The method is that of SQLAlchemy's asyncio extension (`greenlet_spawn` and `await_only`).
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")
P = ParamSpec("P")


class _Apart(greenlet):
    """A greenlet that runs blocking code for a coroutine. `closed`: nothing can be awaited any more."""

    closed = False

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function, getcurrent())
        self.gr_context = getcurrent().gr_context


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that waits by `wait_for` only, and return what it returns."""
    task, apart = asyncio.current_task(), _Apart(function)
    assert task is not None
    told = task.cancelling()  # cancellations that need not be told to the function any more
    found = apart.switch(*args, **kwargs)
    while not apart.dead:
        answer, raised = None, None
        try:
            answer = await cast("Awaitable[Any]", found)
        except BaseException as exc:  # noqa: BLE001 -- a cancellation too is told to the code that waits
            raised, apart.closed = exc, isinstance(exc, GeneratorExit)
        if task.cancelling() > told and not isinstance(raised, asyncio.CancelledError | GeneratorExit):
            raised = asyncio.CancelledError()  # asyncio.wait_for, which redis-py sends by, can swallow it before 3.12
        told = task.cancelling()
        try:
            found = apart.throw(type(raised), raised, raised.__traceback__) if raised else apart.switch(answer)
        finally:
            raised = None  # it would keep itself alive
    return cast("T", found)


def wait_for(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable, inside of `run`; the event loop goes on meanwhile."""
    current = getcurrent()
    assert isinstance(current, _Apart), "called outside of run()"
    if current.closed:  # its coroutine is gone with the event loop: what the code would undo stays as it is
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise GeneratorExit
    return cast("T", cast("greenlet", current.parent).switch(awaitable))


def pause(seconds: float) -> None:
    """Let some time pass, inside of `run`."""
    wait_for(asyncio.sleep(seconds))


def in_thread(function: Callable[[], T]) -> T:
    """Call a function that reads files in a thread, inside of `run`."""
    return wait_for(asyncio.to_thread(function))
