"""Publishes jobs: one script for each, several scripts in one round trip, and the move to the head of the queue."""

import json
from collections.abc import Sequence
from typing import cast

import redis

from golem_chain.broker.jobs.records import digest, shared_keys, taken
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.transport.message import SENT_AT_MARK, text
from golem_chain.broker.transport.scripts import Script
from golem_chain.broker.wire import WIRE
from golem_chain.shared.errors import GolemError, GroupCancelled
from golem_chain.shared.records import Job

#: How many jobs of one submitter are listed, and for how long after the last one was submitted, seconds.
OWNED_MOST, OWNED_S = 10_000, 7 * 24 * 3600
_OTHER_REQUEST, _CANCELLED = -1, -2  # returned by the script that submits
_MARK = json.dumps(SENT_AT_MARK)


class Publisher:
    """The submits of one producer. `owner`: the name under which its jobs are listed, see `broker.owner`, unless a
    submit is for another one."""

    def __init__(self, client: redis.Redis, keys: Keys, owner: str) -> None:
        self._client, self._keys, self._owner = client, keys, owner
        self._submit, self._promote = Script(client, "submit"), Script(client, "promote")

    def submit(self, job: Job, owner: str | None = None) -> bool:
        """Publish the job's first message, and keep its data until its Outcome; return False if that was done before.

        Stores the record too, if there is none. Safe to repeat.
        Raises BadRequest if the id belongs to a job with a different request, GroupCancelled.
        """
        return self._done(job, self._submit(*self._call(job, owner or self._owner)))

    def submit_all(self, jobs: Sequence[Job]) -> list[bool | GolemError]:
        """As `submit` for each of the jobs, in one round trip. Returns the error of a job in its place."""
        found: list[bool | GolemError] = []
        for job, answer in zip(jobs, self._submit.all([self._call(job, self._owner) for job in jobs]), strict=True):
            try:
                if isinstance(answer, Exception):
                    raise answer
                found.append(self._done(job, answer))
            except GolemError as exc:
                found.append(exc)
        return found

    def promote(self, id: str) -> bool:
        """Move a waiting job to the head of the interactive lane; return False if it has ended or is not known. A stage
        that is running goes on: whichever message of the job ends first counts."""
        keys = self._keys
        for _ in range(10):  # it may go on to its next stage meanwhile
            stage = cast("bytes | None", self._client.hget(keys.job(id), "at"))
            if stage is None:
                return False
            name = stage.decode(errors="replace")
            args = [keys.queue(name), keys.wake(name), text(name, id), name, _MARK]
            if self._promote(keys=[keys.job(id), keys.outcome(id)], args=args):
                return True
        return False

    @staticmethod
    def _done(job: Job, answer: object) -> bool:
        done = int(cast("int", answer))
        if done == _OTHER_REQUEST:
            raise taken(job.id)
        if done == _CANCELLED:
            raise GroupCancelled(f"The group {job.group} was cancelled: submit the job in another group.")
        return bool(done)

    def _call(self, job: Job, owner: str) -> tuple[list[str], list[str | int | float]]:
        """Return the keys and arguments of the script."""
        keys, first = self._keys, job.start
        touched = [keys.job(job.id), keys.outcome(job.id), keys.vault_leaving, keys.vault_ended]
        touched += [key for pair in shared_keys(job, keys) for key in pair]
        args: list[str | int | float] = [digest(job), job.model_dump_json(exclude_defaults=True), job.id]
        args += [keys.audio(job.id), keys.queue(first), keys.wake(first), text(first, job.id), first, _MARK]
        args += [keys.wire, WIRE, job.lane, job.group or "", job.webhook or "", keys.expiring, job.expires_s or 0]
        return touched, [*args, keys.owner(owner), OWNED_MOST, OWNED_S, hashed(owner)]
