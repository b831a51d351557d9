"""Whose the jobs of events are, remembered: a job's owner never changes, and many listeners ask for the same jobs."""

from collections.abc import Iterable

from golem_chain.broker.asynchronous.bridge import run
from golem_chain.broker.asynchronous.connection import Client
from golem_chain.broker.keys import Keys

#: Jobs that are remembered, and asked for in one round trip.
KEPT, AT_ONCE = 20_000, 1000


class Owners:
    """The owners of jobs, by the hashes that stand in their records."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._known: dict[str, str] = {}  # empty: the record tells none, or has expired

    async def own(self, owner: str, jobs: Iterable[str]) -> set[str]:
        """Return those of the jobs that are this owner's (a hash). Raises redis.RedisError."""
        asked = set(jobs)
        new = [job for job in asked if job not in self._known]
        for first in range(0, len(new), AT_ONCE):
            part = new[first : first + AT_ONCE]
            self._keep(part, await run(self._read, part))
        return {job for job in asked if self._known.get(job) == owner}

    def _read(self, jobs: list[str]) -> list[str | None]:
        with self._client.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hget(self._keys.job(job), "owner")
            return pipe.execute()

    def _keep(self, jobs: list[str], owners: list[str | None]) -> None:
        for job, owner in zip(jobs, owners, strict=True):
            self._known[job] = owner or ""
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
