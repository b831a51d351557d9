"""Ends tasks of asyncio."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when all have ended: their errors are not raised.

    Each is cancelled until it has: before Python 3.12, `asyncio.wait_for`, which redis-py sends by, swallows a
    cancellation that comes together with the answer (https://github.com/python/cpython/issues/86296), and a task that
    goes on would be waited for without end.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
