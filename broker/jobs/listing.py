"""The list of one submitter's jobs, newest first, in pages."""

from typing import NamedTuple, cast

import redis

from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.keys import Keys
from golem_chain.shared.records import Outcome


class Listed(NamedTuple):
    """A job of the list."""

    job: str
    name: str
    state: str  # of the Outcome, or `waiting` while there is none
    at: str | None  # the stage that it waits for or is in; None once it has ended
    submitted_at: float  # Unix seconds, the server's clock


class Listing:
    """The jobs of one submitter on one Redis server."""

    def __init__(self, client: redis.Redis, keys: Keys, owner: str) -> None:
        self._client, self._keys, self._owner = client, keys, keys.owner(owner)

    def page(self, first: int, most: int) -> list[Listed]:
        """Return up to `most` jobs from place `first` on, newest first, without those that have expired."""
        found = self._client.zrevrange(self._owner, first, first + most - 1, withscores=True) if most > 0 else []
        rows = [(id.decode(errors="replace"), at) for id, at in cast("list[tuple[bytes, float]]", found)]
        with self._client.pipeline(transaction=False) as pipe:
            for id, _ in rows:
                pipe.hmget(self._keys.job(id), "job", "at")
                pipe.get(self._keys.outcome(id))
            answers = pipe.execute() if rows else []
        listed = []
        for n, (id, submitted_at) in enumerate(rows):
            (record, at), body = answers[2 * n], answers[2 * n + 1]
            if body:
                outcome = Outcome.model_validate_json(body)
                listed.append(Listed(id, outcome.name, outcome.state, None, submitted_at))
            elif record:
                named = Finished({b"job": record}, ended=False).handover
                name = named.job.name if named else id
                listed.append(Listed(id, name, "waiting", at.decode(errors="replace") if at else None, submitted_at))
        return listed
