"""Outcomes: one for each job, written once, announced to waiting producers, kept for GOLEM_KEEP_S."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import redis

from golem_chain.broker.jobs import records
from golem_chain.broker.jobs.announcements import Announcements
from golem_chain.broker.keys import Keys, hashed
from golem_chain.broker.transport.scripts import Script
from golem_chain.shared.errors import BadRequest, Expired, GolemError, UnknownJob
from golem_chain.shared.records import CHAIN, Failure, Job, Outcome, State
from golem_chain.shared.settings import Settings

logger = logging.getLogger(__name__)

POLL_S = 1.0  # interval of looking at some jobs, in case that an announcement was lost unnoticed
AWAY_S = 30.0  # how long Redis may be down before a wait fails
CHUNK = 200  # jobs asked for in one request: a long one would delay the other clients
_TURN = 1000  # jobs looked at in one interval: ten commands, and the last of 50,000 jobs is reached in 50 s


class Outcomes:
    """The Outcomes of one Redis server."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._settings, self._client, self._keys = settings, client, Keys(settings.prefix)
        self._jobs = records.Jobs(client, self._keys)
        self._write = Script(client, "end")

    def get(self, job: str) -> Outcome | None:
        """Return the Outcome, None for a job that is unfinished, unknown, or ended more than GOLEM_KEEP_S ago."""
        body = cast("bytes | None", self._client.get(self._keys.outcome(job)))
        return Outcome.model_validate_json(body) if body else None

    def get_all(self, jobs: Sequence[str]) -> list[Outcome | None]:
        """As `get` for each of the jobs, in one round trip."""
        bodies = cast(
            "list[bytes | None]", self._client.mget([self._keys.outcome(job) for job in jobs]) if jobs else []
        )
        return [Outcome.model_validate_json(body) if body else None for body in bodies]

    def ended(self, ids: Sequence[str]) -> set[str]:
        """Return the ids of those jobs that have ended, or whose group was cancelled."""
        with self._client.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.exists(self._keys.outcome(job))
                pipe.hget(self._keys.job(job), "group")
            answers = pipe.execute()
        groups = [name.decode(errors="replace") if name else "" for name in answers[1::2]]
        cancelled = self._jobs.cancelled(name for name in groups if name)
        rows = zip(ids, answers[::2], groups, strict=True)
        return {job for job, there, group in rows if there or group in cancelled}

    def end(self, job: str, state: State, error: Failure | None = None) -> bool:
        """Write a job's Outcome from the results of its finished stages; return False if it had already ended. If its
        record is damaged, the Outcome has none."""
        [found] = self._jobs.finished([job])
        if found.ended:
            return False
        handover = found.handover
        if handover is None:
            return self.write(Outcome(job=job, name=job, state=state, error=error))
        asked, answers = handover.job, {stage.field: getattr(handover, stage.field) for stage in CHAIN.values()}
        outcome = Outcome(job=job, name=asked.name, state=state, error=error, stages=handover.stages, **answers)
        return self.write(outcome, asked)

    def overdue(self) -> list[str]:
        """Return unfinished jobs whose deadline has passed, at most 100."""
        return self._jobs.overdue()

    def expire(self, job: str) -> bool:
        """Write the Outcome `expired`; return False if the job had already ended."""
        [found] = self._jobs.finished([job])
        handover = found.handover
        return self.end(job, "expired", deadline_passed(handover.job if handover else None))

    def fail(self, job: str, error: GolemError) -> bool:
        """Write the Outcome `failed`; return False if the job had already ended."""
        return self.end(job, "failed", Failure(code=error.code, message=error.message))

    def write(self, outcome: Outcome, asked: Job | None = None) -> bool:
        """Store and announce an Outcome; change nothing and return False if the job had already ended.

        The same script sets the expiry of the job's record and audio, and of label sets and vocabularies that no other
        job uses.
        """
        keep_ms, job = max(1, int(self._settings.keep_s * 1000)), outcome.job
        touched = records.ended_keys(self._keys, job, asked)
        args = [self._keys.audio(job), outcome.model_dump_json(), outcome.state, keep_ms, job, self._keys.ended]
        first = bool(self._write(keys=touched, args=args))
        if first:
            self.log(outcome)
        return first

    @staticmethod
    def log(outcome: Outcome) -> None:
        """Log the end of a job: its id, its state, and why it failed."""
        why = f": {outcome.error.code}: {outcome.error.message}" if outcome.error else ""
        logger.info("job %s %s%s", outcome.job, outcome.state, why)

    def wait(self, ids: Iterable[str], timeout_s: float | None = None) -> Iterator[Outcome]:
        """Yield each job's Outcome as it ends; stop after `timeout_s` seconds (None: never).

        Survives a restart of Redis. Raises BadRequest if Redis does not know a job, or no longer does.
        """
        return (outcome for outcome in self.watch(ids, timeout_s) if outcome)

    def watch(
        self, ids: Iterable[str], timeout_s: float | None = None, tick_s: float = POLL_S
    ) -> Iterator[Outcome | None]:
        """As `wait`, but also yield None about every `tick_s` seconds, even if jobs end all the time or Redis is away,
        so that the caller can do something else."""
        pending = dict.fromkeys(ids)
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        last_answer = time.monotonic()
        while pending:
            try:
                with Announcements(self._client, self._keys) as announced:
                    for outcome in self._listen(announced, pending, end, tick_s):
                        if outcome:
                            del pending[outcome.job]
                        yield outcome
                        last_answer = time.monotonic()
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                now = time.monotonic()
                if now - last_answer > AWAY_S or now >= end:
                    raise
                self._client.connection_pool.disconnect(inuse_connections=False)  # they probably broke with it
                time.sleep(0.2)
                yield None

    def _listen(
        self, announced: Announcements, pending: Mapping[str, None], end: float, tick_s: float
    ) -> Iterator[Outcome | None]:
        """Yield the Outcomes of pending jobs, and None at each tick, until none is pending or the time is over.

        All pending jobs are looked at when the subscription begins and after each gap in it, in between only a few per
        second, in turn.
        """
        turns, named = turns_of(pending), {hashed(job): job for job in pending}
        looked = False
        look, tick = time.monotonic() + POLL_S, time.monotonic() + tick_s
        while pending:
            now = time.monotonic()
            if looked and now >= end:
                return
            if now >= look:
                yield from self._look(next(turns))
                look = time.monotonic() + POLL_S
            if now >= tick:
                yield None
                tick = time.monotonic() + tick_s
            until = min(look, tick, end) if looked else min(look, tick)
            job = named.get(announced.hear(max(0.0, until - time.monotonic())) or "")
            if announced.had_gap():
                yield from self._look(list(pending))
                looked = True
            elif job and job in pending and (outcome := self.get(job)):
                yield outcome

    def _look(self, ids: Sequence[str]) -> Iterator[Outcome]:
        """Yield the stored Outcomes. Raises BadRequest if a job has neither record nor Outcome."""
        for at in range(0, len(ids), CHUNK):
            for found in self.look(ids[at : at + CHUNK]).values():
                if isinstance(found, BadRequest):
                    raise found
                yield found

    def look(self, ids: Sequence[str]) -> dict[str, Outcome | BadRequest]:
        """Return the Outcomes of those jobs that have ended, and the error for those that have neither record nor
        Outcome, in the order of `ids`. Two commands while all are under way."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.exists(*map(self._keys.job, ids))  # first: a job that ends between the two is still found
            pipe.exists(*map(self._keys.outcome, ids))
            under_way, ended = pipe.execute()
        return self._look_at_each(ids) if under_way < len(ids) or ended else {}

    def _look_at_each(self, ids: Sequence[str]) -> dict[str, Outcome | BadRequest]:
        with self._client.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.exists(self._keys.job(job))
                pipe.get(self._keys.outcome(job))
            found = pipe.execute()
        looked: dict[str, Outcome | BadRequest] = {}
        for n, job in enumerate(ids):
            under_way, body = found[2 * n], found[2 * n + 1]
            if body:
                looked[job] = Outcome.model_validate_json(body)
            elif not under_way:
                looked[job] = unknown(job, self._settings.keep_s)
        return looked


def turns_of(pending: Mapping[str, object]) -> Iterator[list[str]]:
    """Yield those pending jobs that the next look asks for, all in turn."""
    while True:
        ids = list(pending)
        for at in range(0, len(ids), _TURN):
            yield [job for job in ids[at : at + _TURN] if job in pending]


def deadline_passed(job: Job | None) -> Failure:
    """Return why a job has expired."""
    after = f"{job.expires_s:g} s" if job and job.expires_s else "its deadline"
    return Failure(code=Expired.code, message=f"The job had not ended after {after}.")


def unknown(job: str, keep_s: float) -> UnknownJob:
    """Return the error for an id that Redis does not know."""
    return UnknownJob(
        f"There is no job {job[:80]!a}: it was never submitted, or it ended more than {keep_s:g} s ago (GOLEM_KEEP_S)."
    )
