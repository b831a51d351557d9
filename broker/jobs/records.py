"""Job records (`golem:job:<id>`), and the label sets and vocabularies too large for messages.

Fields of the hash: `job` (the full record), `digest` (of the request), `queued` (its message is published), and for
each finished stage its answer (`transcript` with segments, `intent` with all scores, `reply`) and cost (`run:<stage>`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast

import redis

from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.scripts import load
from golem_chain.shared.errors import BadLabels, BadRequest, BadVocabulary
from golem_chain.shared.records import CHAIN, Handover, Job, LabelSet, Record, StageRun, Vocabulary

#: Labels and vocabulary above this size are stored instead, so that a message stays under 4 KB.
INLINE_BYTES = 2048
#: The fields of a job's hash that hold the costs of its stages: small, and there as soon as the answers are.
_COSTS = [f"run:{stage}" for stage in STAGES]


def shared_keys(job: Job | None, keys: Keys) -> list[tuple[str, str]]:
    """Return the keys of the label set and vocabulary that a job may share, each with the key of its users."""
    stored = (job.labels_key, job.vocabulary_key) if job else ()
    return [(one, keys.users(one)) for one in stored if one and keys.is_shared(one)]


def digest(job: Job) -> str:
    """Return a hash of the request without id, name and time: jobs with the same digest ask for the same thing."""
    asked = job.model_dump(mode="json", exclude={"id", "name", "submitted_at"})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Jobs:
    """The job records of one Redis server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._register = client.register_script(load("register", __package__))
        self._confirm = client.register_script(load("confirm", __package__))
        self._update = client.register_script(load("update", __package__))

    def register(self, job: Job) -> bool:
        """Store the job before anything is published; return False if it is already stored and published.

        Raises BadRequest if the id belongs to a job with a different request.
        """
        asked, body = digest(job), job.model_dump_json(exclude_defaults=True)
        wanted = [self._keys.job(job.id), self._keys.outcome(job.id)]
        found, sent = cast("tuple[bytes, int]", self._register(keys=wanted, args=[asked, body, UNCLAIMED_S]))
        if found.decode() != asked:
            raise BadRequest(
                f"The id {job.id} belongs to another job (other audio, labels or parameters): choose another id."
            )
        return not sent

    def forget(self, job: str) -> None:
        """Undo `register` for a job whose message was not published."""
        self._client.delete(self._keys.job(job))

    def confirm_sent(self, job: Job) -> None:
        """Record that the message is published, and keep the job's data until its Outcome. A job that has already ended
        keeps the expiry that was set then."""
        keys = self._keys
        touched = [keys.job(job.id), keys.outcome(job.id), keys.audio(job.id), keys.vault_leaving]
        touched += [key for pair in shared_keys(job, self._keys) for key in pair]
        self._confirm(keys=touched, args=[job.id])

    def finished(self, ids: Sequence[str]) -> list["Finished"]:
        """Return the stored record of each job, empty if there is none."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hgetall(self._keys.job(one))
                pipe.exists(self._keys.outcome(one))
            answers = pipe.execute()
        return [Finished(answers[n], bool(answers[n + 1])) for n in range(0, len(answers), 2)]

    def progress(self, ids: Sequence[str]) -> dict[str, int]:
        """Return for each stage how many of these jobs have finished it or have ended."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.exists(self._keys.outcome(one))
                pipe.hmget(self._keys.job(one), _COSTS)
            answers = pipe.execute()
        rows = [(answers[n], *answers[n + 1]) for n in range(0, len(answers), 2)]
        return {stage: sum(bool(row[0] or row[place]) for row in rows) for place, stage in enumerate(STAGES, start=1)}

    def tell_heard(self, job: str, heard_s: float, of_s: float) -> None:
        """Store the progress of a long transcription. It is optional, so Redis errors are ignored."""
        with suppress(redis.RedisError):
            self._update(keys=[self._keys.job(job)], args=["heard", f"{heard_s:.1f}/{of_s:.1f}"])

    def heard(self, ids: Sequence[str]) -> tuple[float, float]:
        """Return transcribed and total seconds of the long recordings among these jobs that are being transcribed."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hmget(self._keys.job(one), "heard", _COSTS[0])
            found = [body for body, ended in pipe.execute() if body and not ended]
        pairs = [tuple(map(float, body.split(b"/"))) for body in found]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def store(self, done: Iterable[tuple[str, Handover]]) -> None:
        """Store a stage's full answer and cost for each (stage, handover)."""
        with self._client.pipeline() as pipe:
            for stage, handover in done:
                field = CHAIN[stage].field
                answer = getattr(handover, field).model_dump_json()
                cost = handover.stages[stage].model_dump_json(exclude_defaults=True)
                fields = [field, answer, f"run:{stage}", cost]
                self._update(keys=[self._keys.job(handover.job.id)], args=fields, client=pipe)
            pipe.execute()

    def put_labels(self, labels: LabelSet) -> str:
        """Store a label set under the hash of its content, for as long as jobs use it, and return its key."""
        return self._put(labels.model_dump_json(exclude_defaults=True), self._keys.labels)

    def put_vocabulary(self, vocabulary: Vocabulary) -> str:
        """Store a vocabulary in the same way and return its key."""
        return self._put(vocabulary.model_dump_json(exclude_defaults=True), self._keys.vocabulary)

    def _put(self, body: str, key_of: Callable[[str], str]) -> str:
        name = key_of(hashlib.sha256(body.encode()).hexdigest())
        with self._client.pipeline() as pipe:
            pipe.set(name, body, nx=True)
            pipe.ttl(name)
            pipe.scard(self._keys.users(name))
            _, left_s, users = pipe.execute()
        if not users and left_s < UNCLAIMED_S:
            self._client.expire(name, UNCLAIMED_S)
        return name

    def get_labels(self, name: str) -> LabelSet:
        """Return a stored label set. Raises BadLabels if it has expired."""
        body = cast("bytes | None", self._client.get(name))
        if body is None:
            raise BadLabels("The label set of this job is no longer stored: submit the job again.")
        return LabelSet.model_validate_json(body)

    def get_vocabulary(self, name: str) -> Vocabulary:
        """Return a stored vocabulary. Raises BadVocabulary if it has expired."""
        body = cast("bytes | None", self._client.get(name))
        if body is None:
            raise BadVocabulary("The vocabulary of this job is no longer stored: submit the job again.")
        return Vocabulary.model_validate_json(body)


class Finished:
    """The stored record of a job; each field is parsed when it is read."""

    def __init__(self, fields: Mapping[bytes, bytes], ended: bool) -> None:
        self._fields, self.ended = fields, ended

    @property
    def known(self) -> bool:
        """Whether the job has a record."""
        return bool(self._fields)

    @property
    def job(self) -> Job | None:
        """The job as submitted, with its full name; None without a record."""
        body = self._fields.get(b"job")
        return Job.model_validate_json(body) if body else None

    @property
    def stages(self) -> dict[str, StageRun]:
        """The costs of the finished stages, in chain order."""
        runs = {stage: self._fields.get(f"run:{stage}".encode()) for stage in STAGES}
        return {stage: StageRun.model_validate_json(body) for stage, body in runs.items() if body}

    @property
    def answers(self) -> dict[str, Record]:
        """The full answers of the finished stages (segments, all scores), by their fields in Handover and Outcome."""
        bodies = {stage: self._fields.get(stage.field.encode()) for stage in CHAIN.values()}
        return {stage.field: stage.answer.model_validate_json(body) for stage, body in bodies.items() if body}

    def has(self, stage: str) -> bool:
        """Whether the stage's answer is stored."""
        return CHAIN[stage].field.encode() in self._fields
