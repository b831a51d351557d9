"""Counts the commands that a server runs, with those inside scripts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis


@contextmanager
def commands(client: redis.Redis) -> Iterator[Callable[[], int]]:
    """Yield a function that returns how many commands the server has run since, with some of our own."""

    def calls() -> int:
        return sum(one["calls"] for one in client.info("commandstats").values())

    before = calls()
    yield lambda: calls() - before
