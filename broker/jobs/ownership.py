"""Whose a job is: the jobs of one submitter, as the doors of a system that many share look at them.

The hash of each job tells its submitter, by a hash of the name under which its jobs are listed (`broker.owner`).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import redis

from golem_chain.broker.jobs.outcomes import CHUNK, unknown
from golem_chain.broker.jobs.records import Finished
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.records import Job, Outcome


class Seen(NamedTuple):
    """A job as it is now."""

    id: str
    job: Job  # as it was submitted
    at: str | None  # the stage that it waits for or is in; None once it has ended
    lane: str
    group: str | None
    heard: str | None  # of a long recording that is being transcribed: seconds/of seconds
    outcome: Outcome | None  # None: it has not ended
    ended_at: float | None  # Unix seconds, the server's clock

    @property
    def state(self) -> str:
        """The state of the Outcome, or `waiting` while there is none."""
        return self.outcome.state if self.outcome else "waiting"


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

    def look(self, ids: Sequence[str]) -> dict[str, Seen]:
        """Return those of the jobs that are known and this submitter's, in the order of `ids`, in one round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            for id in ids:
                pipe.hmget(self._keys.job(id), "owner", "job", "at", "lane", "group", "heard")
                pipe.get(self._keys.outcome(id))
                pipe.pttl(self._keys.outcome(id))
            (seconds, micros), *rows = pipe.execute()
        found = {}
        for n, id in enumerate(ids):
            (owner, *fields), body, left_ms = rows[3 * n : 3 * n + 3]
            named = Finished({b"job": fields[0]}, ended=False).handover if fields[0] else None
            if owner != self._owner or named is None:
                continue
            at, lane, group, heard = (one.decode(errors="replace") if one else None for one in fields[1:])
            outcome = Outcome.model_validate_json(body) if body else None
            ended_at = seconds + micros / 1e6 + left_ms / 1000 - self._keep_s if body and left_ms > 0 else None
            heard = heard if outcome is None and at == "scribe" else None
            found[id] = Seen(id, named.job, at, lane or "bulk", group, heard, outcome, ended_at)
        return found

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
