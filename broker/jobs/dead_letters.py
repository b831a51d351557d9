"""What an operator does with dead letters: list them, retry the job of one, drop it."""

import json
from collections.abc import Sequence
from typing import cast

import redis

from golem_chain.broker import keys
from golem_chain.broker.jobs import records
from golem_chain.broker.queues import STAGES, task_id
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.broker.transport.scripts import SENT_AT_MARK, load
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Outcome


class Letters:
    """The dead letters of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._retry = client.register_script(load("retry", __package__))

    def all(self, most: int = -1) -> list[Letter]:
        """The letters, newest first, at most so many (-1: all)."""
        bodies = self._client.lrange(keys.DEAD, 0, most if most < 0 else most - 1) if most else []
        return [Letter(body) for body in cast("list[bytes]", bodies)]

    def find(self, names: Sequence[str]) -> list[Letter]:
        """The letters of these ids (of the letter, or of its job), each once. Raises BadRequest."""
        there = self.all()
        found: dict[bytes, Letter] = {}
        for name in names:
            mine = [one for one in there if name in (one.id, one.job)]
            if not mine:
                raise BadRequest(f"There is no dead letter {name[:80]!a}: golem dead list shows those that there are.")
            found |= {one.body: one for one in mine}
        return list(found.values())

    def retry(self, letter: Letter) -> str:
        """Put the job of a letter back where it failed, as if it had never been delivered; -> its id.

        Its Outcome is taken back, so that it ends once more. Raises BadRequest for a letter that is no job, and for a
        job that did not fail or is forgotten.
        """
        job, message = letter.job, letter.message
        if not job or message is None:
            raise BadRequest(f"The letter {letter.id} is no job of ours: it can only be shown and dropped.")
        body = cast("bytes | None", self._client.get(keys.outcome(job)))
        state = Outcome.model_validate_json(body).state if body else None
        [known] = records.Jobs(self._client).finished([job])
        if state is None and known.known:
            raise BadRequest(f"The job {job} is just being ended: try again in a few seconds.")
        if not known.known or state != "failed":
            why = "is forgotten (GOLEM_KEEP_S)" if not known.known else f"ended as {state}"
            raise BadRequest(f"The job {job} {why}: there is nothing to retry, drop the letter.")
        stage, asked = str(letter.told["queue"]), known.job
        message["headers"] |= {"sent_at": SENT_AT_MARK, "redelivered": True}
        message["properties"]["delivery_info"]["redelivered"] = True  # it runs alone
        results = [keys.result(task_id(job, one)) for one in STAGES[STAGES.index(stage) :]]
        touched = [keys.DEAD, keys.outcome(job), keys.job(job), keys.audio(job), keys.VAULT_LEAVING, keys.VAULT_ENDED]
        touched += [stage, keys.wake(stage), *results]
        touched += [key for pair in records.shared_keys(asked) for key in pair]
        given: list[bytes | str | int] = [
            letter.body,
            json.dumps(message),
            job,
            state,
            len(results),
            json.dumps(SENT_AT_MARK),
        ]
        if not self._retry(keys=touched, args=given):
            raise BadRequest(f"The letter {letter.id} was dealt with by somebody else meanwhile.")
        return job

    def drop(self, letter: Letter) -> bool:
        """Forget a letter; its job has its Outcome, and keeps it. False where it was gone already."""
        return bool(self._client.lrem(keys.DEAD, 1, cast("str", letter.body)))  # bytes are as good
