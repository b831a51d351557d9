"""The operator's actions on dead letters: list, retry, drop."""

import json
from collections.abc import Sequence
from typing import cast

import redis

from golem_chain.broker.jobs import records
from golem_chain.broker.keys import Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.dead_letter import Letter
from golem_chain.broker.transport.message import SENT_AT_MARK, text
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.errors import BadRequest
from golem_chain.shared.records import Outcome


class Letters:
    """The dead letters of one Redis server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._retry = Script(client, "retry")

    def all(self, most: int = -1) -> list[Letter]:
        """Return up to `most` letters, newest first (-1: all)."""
        bodies = self._client.lrange(self._keys.dead, 0, most if most < 0 else most - 1) if most else []
        return [Letter(body) for body in cast("list[bytes]", bodies)]

    def find(self, names: Sequence[str]) -> list[Letter]:
        """Return the letters with these ids (of letters or of jobs), each once. Raises BadRequest for an unknown id."""
        letters = self.all()
        found: dict[bytes, Letter] = {}
        for name in names:
            matching = [one for one in letters if name in (one.id, one.job)]
            if not matching:
                raise BadRequest(f"There is no dead letter {name[:80]!a}: golem dead list shows the existing ones.")
            found |= {one.body: one for one in matching}
        return list(found.values())

    def retry(self, letter: Letter) -> str:
        """Requeue the letter's job at the stage that failed, with its delivery count reset, and return the job's id.

        The Outcome is deleted, so that the job can end again. Raises BadRequest if the letter belongs to no job, or if
        the job did not fail or has expired.
        """
        job, keys = letter.job, self._keys
        if not job:
            raise BadRequest(f"The letter {letter.id} belongs to no job: it can only be shown or dropped.")
        audio = keys.audio(job)
        body = cast("bytes | None", self._client.get(self._keys.outcome(job)))
        state = Outcome.model_validate_json(body).state if body else None
        [known] = records.Jobs(self._client, keys).finished([job])
        if state is None and known.known:
            raise BadRequest(f"The job {job} has no Outcome yet: try again in a few seconds.")
        if not known.known or state != "failed":
            why = "has expired (GOLEM_KEEP_S)" if not known.known else f"ended as {state}"
            raise BadRequest(f"The job {job} {why} and cannot be retried: drop the letter.")
        stage, asked = str(letter.told["queue"]), known.job
        stored = stage == STAGES[0] and asked and asked.audio and asked.audio.key.startswith("vault:")
        if stored and not self._client.exists(audio):
            raise BadRequest(f"The audio of job {job} was dropped, to make room for others: submit it again.")
        touched = [keys.dead, keys.outcome(job), keys.job(job), keys.audio(job), keys.vault_leaving, keys.vault_ended]
        touched += [keys.queue(stage), keys.wake(stage)]
        touched += [key for pair in records.shared_keys(asked, keys) for key in pair]
        again = text(stage, job, alone=True)  # it may have killed its worker
        given: list[bytes | str] = [letter.body, again, stage, job, state, json.dumps(SENT_AT_MARK)]
        if not self._retry(keys=touched, args=given):
            raise BadRequest(f"The letter {letter.id} was retried or dropped by another process in the meantime.")
        return job

    def drop(self, letter: Letter) -> bool:
        """Delete a letter and return whether it still existed. Its job keeps its Outcome."""
        return bool(self._client.lrem(self._keys.dead, 1, cast("str", letter.body)))  # redis-py takes bytes too
