"""What a caller may have at once: jobs that have not ended, and space of the vault for bytes that have not come yet."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from golem_chain.broker.doors.errors import HttpError

#: Least time between two counts of which the first found no room, seconds: who asks without end costs Redis little.
PAUSE_S = 0.5
#: When a client may try again, seconds.
RETRY_AFTER_S = 2


class Allowance:
    """The jobs of one caller. Another server can let some more in between two counts."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = 0  # that may be submitted before the next count
        self._submitting = 0  # which a count may miss
        self._full_at = -math.inf  # when a count found no room, by time.monotonic
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def place(self, count: Callable[[], Awaitable[int]]) -> AsyncIterator[None]:
        """Submit a job inside of the block. `count` returns how many have not ended. Raises HttpError 429."""
        async with self._counting:
            if self._left <= 0 and time.monotonic() - self._full_at >= PAUSE_S:
                self._left = self.most - self._submitting - await count()
                self._full_at = time.monotonic() if self._left <= 0 else -math.inf
        if self._left <= 0:
            raise HttpError(
                429,
                f"You have {self.most} jobs that have not ended, as many as your key may have: wait for some to end.",
                "too_many_queued",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )
        self._left -= 1
        self._submitting += 1
        try:
            yield
        finally:
            self._submitting -= 1


class Ahead:
    """Space that is booked for what uploads have announced. One caller gets a part of the vault in this way: otherwise
    a few who announce much and send nothing would keep all others out. An upload beyond it finds space as it comes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken: Counter[str] = Counter()  # bytes by owner

    def take(self, owner: str, size_bytes: int) -> bool:
        """Take space; return False if the caller would have too much."""
        if self._taken[owner] + size_bytes > self._most_bytes:
            return False
        self._taken[owner] += size_bytes
        return True

    def give_back(self, owner: str, size_bytes: int) -> None:
        """The upload has ended."""
        self._taken[owner] -= size_bytes
        if not self._taken[owner]:
            del self._taken[owner]
