"""Outcomes: one for each job, written once, announced to waiting producers, kept for GOLEM_KEEP_S."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import redis

from golem_chain.broker import keys
from golem_chain.broker.jobs import records
from golem_chain.broker.transport.scripts import load
from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import Failure, Intent, Job, Outcome, State
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

POLL_S = 1.0  # an announcement can be lost with its connection: poll at this interval too
AWAY_S = 30.0  # how long Redis may be down before a wait fails
_CHUNK = 200


class Outcomes:
    """The Outcomes of one Redis server."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings, self._client = settings, client
        self._jobs = records.Jobs(client)
        self._write = client.register_script(load("end", __package__))

    def get(self, job: str) -> Outcome | None:
        """Return the Outcome, None for a job that is unfinished, unknown, or ended more than GOLEM_KEEP_S ago."""
        body = cast("bytes | None", self._client.get(keys.outcome(job)))
        return Outcome.model_validate_json(body) if body else None

    def ended(self, ids: Sequence[str]) -> set[str]:
        """Return the ids of those jobs that have ended."""
        with self._client.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.exists(keys.outcome(job))
            return {job for job, there in zip(ids, pipe.execute(), strict=True) if there}

    def end(self, job: str, state: State, error: Failure | None = None, *, intent: Intent | None = None) -> bool:
        """Write a job's Outcome from the results of its finished stages; return False if it had already ended.

        `intent` is used if the Interpreter did not run.
        """
        [found] = self._jobs.finished([job])
        if found.ended:
            return False
        asked = found.job
        given: JsonObject = {"intent": intent, **found.answers}
        outcome = Outcome(
            job=job, name=asked.name if asked else job, state=state, error=error, stages=found.stages, **given
        )
        return self.write(outcome, asked)

    def fail(self, job: str, error: GolemError) -> bool:
        """Write the Outcome `failed`; return False if the job had already ended."""
        return self.end(job, "failed", Failure(code=error.code, message=error.message))

    def write(self, outcome: Outcome, asked: Job | None = None) -> bool:
        """Store and announce an Outcome; change nothing and return False if the job had already ended.

        The same script sets the expiry of the job's record and audio, and of label sets and vocabularies that no other
        job uses.
        """
        keep_ms = max(1, int(self._settings.keep_s * 1000))
        job = outcome.job
        touched = [keys.outcome(job), keys.job(job), keys.audio(job)]
        touched += [keys.VAULT_SIZES, keys.VAULT_LEAVING, keys.VAULT_ENDED]
        touched += [key for pair in records.shared_keys(asked) for key in pair]
        first = bool(self._write(keys=touched, args=[outcome.model_dump_json(), keep_ms, job, keys.ENDED]))
        if first:
            why = f": {outcome.error.code}: {outcome.error.message}" if outcome.error else ""
            logger.info("job %s %s%s", job, outcome.state, why)
        return first

    def wait(self, ids: Iterable[str], timeout_s: float | None = None) -> Iterator[Outcome]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never).

        Survives a restart of Redis. Raises BadRequest if Redis does not know a job, or no longer does.
        """
        pending = dict.fromkeys(ids)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        last_answer = time.monotonic()
        while pending:
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as listener:
                    listener.subscribe(keys.ENDED)  # before the first poll, so that no end is missed
                    while pending:
                        for outcome in self._look(list(pending)):
                            del pending[outcome.job]
                            yield outcome
                        last_answer = time.monotonic()
                        for outcome in self._listen(listener, pending, end):
                            del pending[outcome.job]
                            yield outcome
                        if end is not None and time.monotonic() >= end:
                            return
            except (redis.ConnectionError, redis.TimeoutError):
                now = time.monotonic()
                if now - last_answer > AWAY_S or (end is not None and now >= end):
                    raise
                time.sleep(0.2)

    def _listen(self, listener: redis.client.PubSub, pending: dict[str, None], end: float | None) -> Iterator[Outcome]:
        """Yield announced Outcomes until the next poll is due."""
        look = time.monotonic() + POLL_S
        until = look if end is None else min(look, end)
        while pending and (left_s := until - time.monotonic()) > 0:
            message = listener.get_message(timeout=left_s)
            if message and (job := message["data"].decode()) in pending and (outcome := self.get(job)):
                yield outcome

    def _look(self, ids: Sequence[str]) -> Iterator[Outcome]:
        """Yield the stored Outcomes. Raises BadRequest if a job has neither record nor Outcome."""
        for at in range(0, len(ids), _CHUNK):
            part = ids[at : at + _CHUNK]
            with self._client.pipeline(transaction=False) as pipe:
                for job in part:
                    pipe.exists(keys.job(job))  # first: a job that ends between the two is still found
                    pipe.get(keys.outcome(job))
                found = pipe.execute()
            for n, job in enumerate(part):
                under_way, body = found[2 * n], found[2 * n + 1]
                if body:
                    yield Outcome.model_validate_json(body)
                elif not under_way:
                    raise unknown(job, self._settings.keep_s)


def unknown(job: str, keep_s: float) -> BadRequest:
    """Return the error for an id that Redis does not know."""
    return BadRequest(
        f"There is no job {job[:80]!a}: it was never submitted, or it ended more than {keep_s:g} s ago (GOLEM_KEEP_S)."
    )
