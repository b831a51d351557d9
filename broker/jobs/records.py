"""What Redis knows of a job under way: `golem:job:<id>`, and the label sets and
vocabularies that are too large for its messages.

Fields of the hash: `job` (the record in full), `digest` (of what was asked), `queued`, and for each finished stage its
answer (`transcript` with segments, `intent` with all scores, `reply`) and its cost (`run:<stage>`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast

import redis

from golem_chain.broker import keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.scripts import load
from golem_chain.shared.errors import BadLabels, BadRequest, BadVocabulary
from golem_chain.shared.records import CHAIN, Handover, Job, LabelSet, Record, StageRun, Vocabulary

#: Labels and vocabulary above this do not travel with the messages, which with all else stay under 4 KB.
INLINE_BYTES = 2048
UNCLAIMED_S = 3600  # a job whose producer died before its message was sent is forgotten after this, seconds


def shared_keys(job: Job | None) -> list[tuple[str, str]]:
    """What a job has stored together with other jobs, and the sets of their users."""
    stored = (job.labels_key, job.vocabulary_key) if job else ()
    return [(one, keys.users(one)) for one in stored if one and keys.is_shared(one)]


def digest(job: Job) -> str:
    """A hash of what was asked, without the id and the time: two jobs that have it in common are one request."""
    asked = job.model_dump(mode="json", exclude={"id", "name", "submitted_at"})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Jobs:
    """The hashes of jobs in one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._register = client.register_script(load("register", __package__))
        self._confirm = client.register_script(load("confirm", __package__))
        self._update = client.register_script(load("update", __package__))

    def register(self, job: Job) -> bool:
        """Write the job down before anything is sent; False if it is there already, with its message sent.

        Raises BadRequest where the id belongs to a job that asked for something else.
        """
        asked, body = digest(job), job.model_dump_json(exclude_defaults=True)
        wanted = [keys.job(job.id), keys.outcome(job.id)]
        found, sent = cast("tuple[bytes, int]", self._register(keys=wanted, args=[asked, body, UNCLAIMED_S]))
        if found.decode() != asked:
            raise BadRequest(
                f"The id {job.id} belongs to another job (other audio, labels or parameters): choose another id."
            )
        return not sent

    def forget(self, job: str) -> None:
        """Undo `register` for a job whose message was not sent."""
        self._client.delete(keys.job(job))

    def confirm_sent(self, job: Job) -> None:
        """Its message is sent: from now on everything of the job stays until its Outcome. A job that has ended already
        keeps the expiry that its end gave it."""
        touched = [keys.job(job.id), keys.outcome(job.id), keys.audio(job.id), keys.VAULT_LEAVING]
        touched += [key for pair in shared_keys(job) for key in pair]
        self._confirm(keys=touched, args=[job.id])

    def finished(self, ids: Sequence[str]) -> list["Finished"]:
        """What is stored of each job: an empty record where nothing is."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hgetall(keys.job(one))
                pipe.exists(keys.outcome(one))
            answers = pipe.execute()
        return [Finished(answers[n], bool(answers[n + 1])) for n in range(0, len(answers), 2)]

    def progress(self, ids: Sequence[str]) -> dict[str, int]:
        """How many of these jobs have passed each stage, or ended before it."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.exists(keys.outcome(one))
                for stage in STAGES:
                    pipe.hexists(keys.job(one), CHAIN[stage].field)
            flags = pipe.execute()
        rows = [flags[n : n + 1 + len(STAGES)] for n in range(0, len(flags), 1 + len(STAGES))]
        return {stage: sum(bool(row[0] or row[place]) for row in rows) for place, stage in enumerate(STAGES, start=1)}

    def tell_heard(self, job: str, heard_s: float, of_s: float) -> None:
        """How far the Scribe is with a long recording. Nobody waits for it: a Redis that is away is passed over."""
        with suppress(redis.RedisError):
            self._update(keys=[keys.job(job)], args=["heard", f"{heard_s:.1f}/{of_s:.1f}"])

    def heard(self, ids: Sequence[str]) -> tuple[float, float]:
        """Seconds heard, and of how many, of the long recordings among these jobs that the Scribe is at."""
        with self._client.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hmget(keys.job(one), "heard", CHAIN[STAGES[0]].field)
            found = [body for body, ended in pipe.execute() if body and not ended]
        pairs = [tuple(map(float, body.split(b"/"))) for body in found]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def store(self, done: Iterable[tuple[str, Handover]]) -> None:
        """Keep a stage's full answer and cost for each job that passed it (stage, handover)."""
        with self._client.pipeline() as pipe:
            for stage, handover in done:
                field = CHAIN[stage].field
                answer = getattr(handover, field).model_dump_json()
                cost = handover.stages[stage].model_dump_json(exclude_defaults=True)
                fields = [field, answer, f"run:{stage}", cost]
                self._update(keys=[keys.job(handover.job.id)], args=fields, client=pipe)
            pipe.execute()

    def put_labels(self, labels: LabelSet) -> str:
        """Store a label set under the hash of its content, for as long as jobs use it; -> its key."""
        return self._put(labels.model_dump_json(exclude_defaults=True), keys.labels)

    def put_vocabulary(self, vocabulary: Vocabulary) -> str:
        """Likewise for a vocabulary."""
        return self._put(vocabulary.model_dump_json(exclude_defaults=True), keys.vocabulary)

    def _put(self, body: str, key_of: Callable[[str], str]) -> str:
        name = key_of(hashlib.sha256(body.encode()).hexdigest())
        with self._client.pipeline() as pipe:
            pipe.set(name, body, nx=True)
            pipe.ttl(name)
            pipe.scard(keys.users(name))
            _, left_s, users = pipe.execute()
        if not users and left_s < UNCLAIMED_S:
            self._client.expire(name, UNCLAIMED_S)
        return name

    def get_labels(self, name: str) -> LabelSet:
        """A stored label set. Raises BadLabels."""
        body = cast("bytes | None", self._client.get(name))
        if body is None:
            raise BadLabels("The label set of this job is no longer stored: submit the job again.")
        return LabelSet.model_validate_json(body)

    def get_vocabulary(self, name: str) -> Vocabulary:
        """A stored vocabulary. Raises BadVocabulary."""
        body = cast("bytes | None", self._client.get(name))
        if body is None:
            raise BadVocabulary("The vocabulary of this job is no longer stored: submit the job again.")
        return Vocabulary.model_validate_json(body)


class Finished:
    """The stored record of a job, read piece by piece."""

    def __init__(self, fields: Mapping[bytes, bytes], ended: bool) -> None:
        self._fields, self.ended = fields, ended

    @property
    def known(self) -> bool:
        """Whether the job is written down at all."""
        return bool(self._fields)

    @property
    def job(self) -> Job | None:
        """The job as it was submitted, its name in full."""
        body = self._fields.get(b"job")
        return Job.model_validate_json(body) if body else None

    @property
    def stages(self) -> dict[str, StageRun]:
        """What the finished stages cost, in the order of the chain."""
        runs = {stage: self._fields.get(f"run:{stage}".encode()) for stage in STAGES}
        return {stage: StageRun.model_validate_json(body) for stage, body in runs.items() if body}

    @property
    def answers(self) -> dict[str, Record]:
        """What the finished stages gave, in full (segments, all scores), by the fields of Handover and Outcome."""
        bodies = {stage: self._fields.get(stage.field.encode()) for stage in CHAIN.values()}
        return {stage.field: stage.answer.model_validate_json(body) for stage, body in bodies.items() if body}

    def has(self, stage: str) -> bool:
        """Whether the stage's answer is stored."""
        return CHAIN[stage].field.encode() in self._fields
