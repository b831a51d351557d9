"""Whose a job is: the jobs of one submitter, as the doors of a system that many share look at them.

The hash of each job tells its submitter, by a hash of the name under which its jobs are listed (`broker.owner`).
"""

from collections.abc import Sequence
from typing import cast

import redis

from golem_chain.broker.jobs.outcomes import CHUNK, unknown
from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.records import Outcome


class Owned:
    """The jobs of one submitter on one Redis server. `owner`: the name under which they are listed."""

    def __init__(self, client: redis.Redis, keys: Keys, keep_s: float, owner: str) -> None:
        self._client, self._keys, self._keep_s = client, keys, keep_s
        self._listed, self._owner = keys.owner(owner), hashed(owner).encode()

    def check(self, ids: Sequence[str]) -> None:
        """Raise UnknownJob for the first job that is unknown or somebody else's; the sentence is the same."""
        with self._client.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(self._keys.job(id), "owner")
            owners = pipe.execute() if ids else []
        for id, owner in zip(ids, owners, strict=True):
            if owner != self._owner:
                raise unknown(id, self._keep_s)

    def record(self, id: str) -> Finished:
        """Return what is stored of a job, with the answers of the stages that it has finished. Raises UnknownJob."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._keys.job(id))
            pipe.exists(self._keys.outcome(id))
            fields, ended = pipe.execute()
        if fields.get(b"owner") != self._owner:
            raise unknown(id, self._keep_s)
        return Finished(fields, bool(ended))

    def known(self, ids: Sequence[str]) -> bool:
        """Return whether there is a record under any of these ids: one command, where most often there is none."""
        return bool(self._client.exists(*map(self._keys.job, ids)))

    def states(self, ids: Sequence[str]) -> list[str | None]:
        """Return for each of the jobs the state of its Outcome, `waiting` if there is none; None if it is unknown,
        somebody else's, or not submitted yet. One round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(self._keys.job(id), "owner")
                pipe.get(self._keys.outcome(id))
            answers = pipe.execute() if ids else []
        return [
            None if owner != self._owner else Outcome.model_validate_json(body).state if body else "waiting"
            for owner, body in zip(answers[::2], answers[1::2], strict=True)
        ]

    def want(self, id: str, now: float) -> None:
        """Note that a client asks for a job again, at this Unix time of its own."""
        Script(self._client, "update")(keys=[self._keys.job(id)], args=["wanted", f"{now:.3f}"])

    def wanted(self, id: str, since: float) -> bool:
        """Return whether a client has asked for a job again since this Unix time."""
        found = cast("bytes | None", self._client.hget(self._keys.job(id), "wanted"))
        try:
            return found is not None and float(found) >= since
        except ValueError:  # producers may write it
            return False

    def unfinished(self, most: int) -> int:
        """Return how many of the newest `most` jobs have not ended. Costs two commands for each 200 of them."""
        found = cast("list[bytes]", self._client.zrevrange(self._listed, 0, most - 1)) if most > 0 else []
        ids = [id.decode(errors="replace") for id in found]
        with self._client.pipeline(transaction=False) as pipe:
            for at in range(0, len(ids), CHUNK):
                pipe.exists(*map(self._keys.job, ids[at : at + CHUNK]))
                pipe.exists(*map(self._keys.outcome, ids[at : at + CHUNK]))
            answers = cast("list[int]", pipe.execute() if ids else [])
        return sum(answers[::2]) - sum(answers[1::2])  # record and Outcome expire together
