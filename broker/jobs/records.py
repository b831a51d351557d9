"""Job records (`golem:job:<id>`), and reading the label sets and vocabularies too large for them.

Fields of the hash: `job` (the full record), `digest` (of the request), `queued` (its message is published), `at` (the
stage that it waits for or is in) and `tag` (of the message that runs it), `lane`, `group`, `webhook`, `expires_at` (by
the server's clock), `ended_at` (likewise), `owner` (a hash of the submitter's name, see `broker.owner`), `wanted` (when
a client asked for it again), and for each finished stage its answer (`transcript` with segments, `intent` with all
scores, `reply`) and cost (`run:<stage>`).
While a long recording is transcribed: `heard` (seconds, of seconds) and `heard-so-far` (what resumes it).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import cast

import redis
from pydantic import ValidationError

from golem_chain.broker.keys import UNCLAIMED_S, Keys
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.scripts import Script
from golem_chain.broker.wire import WIRE
from golem_chain.shared.errors import BadLabels, BadVocabulary, IdTaken
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.records import CHAIN, Handover, Job, LabelSet, Record, StageRun, Vocabulary

#: Labels and vocabulary above this size are stored once, beside the records of the jobs that use them.
INLINE_BYTES = 2048
#: The fields of a job's hash that hold the costs of its stages: small, and there as soon as the answers are.
_COSTS = [f"run:{stage}" for stage in STAGES]
#: Fields of a job that 0.2 and older did not have.
_NEWER = ("stop", "text", "intent", "initial_prompt", "scribe_temperature", "hotwords")
#: Fields that say how a job is to be treated, not what is asked.
_TREATMENT = {"id", "name", "submitted_at", "lane", "expires_s", "group", "webhook"}
#: What was decoded of a long recording that was interrupted. Empty once the Scribe is done.
_HEARD_SO_FAR = "heard-so-far"


def shared_keys(job: Job | None, keys: Keys) -> list[tuple[str, str]]:
    """Return the keys of the label set and vocabulary that a job may share, each with the key of its users."""
    stored = (job.labels_key, job.vocabulary_key) if job else ()
    return [(one, keys.users(one)) for one in stored if one and keys.is_shared(one)]


def ended_keys(keys: Keys, job: str, asked: Job | None) -> list[str]:
    """Return the keys that a job's end touches, in the order of `_end.lua`."""
    touched = [keys.outcome(job), keys.job(job), keys.vault_sizes, keys.vault_leaving, keys.vault_ended]
    return [*touched, *(key for pair in shared_keys(asked, keys) for key in pair)]


def digest(job: Job) -> str:
    """Return a hash of the request without id, name, time and treatment (lane, group…): jobs with the same digest ask
    for the same thing. Fields newer than a stored digest count only if they are set, so that it stays what it was."""
    asked = job.model_dump(mode="json", exclude=_TREATMENT)
    asked = {field: value for field, value in asked.items() if value is not None or field not in _NEWER}
    if job.audio and job.audio.sha256:  # known by its content: where a copy of it lies is not what is asked
        asked["audio"]["key"] = f"vault:{job.id}"
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def stored_answer(stage: str, handover: Handover) -> dict[str, str]:
    """Return the fields of a job's hash for a stage's full answer and its cost."""
    field = CHAIN[stage].field
    cost = handover.stages[stage].model_dump_json(exclude_defaults=True)
    fields = {field: getattr(handover, field).model_dump_json(), f"run:{stage}": cost}
    return fields | ({_HEARD_SO_FAR: ""} if stage == "scribe" and _is_long(handover) else {})


def _is_long(handover: Handover) -> bool:
    """Whether the Scribe may have been interrupted and resumed: only recordings of several windows of 30 s are."""
    return handover.transcript is not None and handover.transcript.duration_s > 30


def _body(job: Job) -> str:
    return job.model_dump_json(exclude_defaults=True)


def taken(id: str) -> IdTaken:
    """Return the error for an id that another request has."""
    return IdTaken(f"The id {id} belongs to another job (other audio, labels or parameters): choose another id.")


class Jobs:
    """The job records of one Redis server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._register = Script(client, "register")
        self._forget, self._update = Script(client, "forget"), Script(client, "update")
        self._overdue = Script(client, "overdue")

    def register(self, job: Job) -> bool:
        """Store the job before anything is published; return False if it is already stored and published.

        Raises BadRequest if the id belongs to a job with a different request.
        """
        asked, wanted = digest(job), [self._keys.job(job.id), self._keys.outcome(job.id)]
        given: list[str | int] = [asked, _body(job), UNCLAIMED_S, self._keys.wire, WIRE]
        found, sent = cast("tuple[bytes, int]", self._register(keys=wanted, args=given))
        if found.decode() != asked:
            raise taken(job.id)
        return not sent

    def forget(self, job: str) -> None:
        """Undo `register`, and delete the audio, unless the job was submitted meanwhile, by another producer."""
        touched = [self._keys.job(job), self._keys.vault_leaving]
        self._forget(keys=touched, args=[self._keys.audio(job), job])

    def digest_anew(self, id: str) -> None:
        """Digest a stored record again, which an older release digested in its own way."""
        [found] = self.finished([id])
        if handover := found.handover:
            self._update(keys=[self._keys.job(id)], args=["digest", digest(handover.job)])

    def finished(self, ids: Sequence[str]) -> list["Finished"]:
        """Return the stored record of each job, empty if there is none."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            for one in ids:
                pipe.hgetall(self._keys.job(one))
                pipe.exists(self._keys.outcome(one))
            (seconds, microseconds), *answers = pipe.execute()
        now = seconds + microseconds / 1e6
        return [Finished(answers[n], bool(answers[n + 1]), now) for n in range(0, len(answers), 2)]

    def cancelled(self, groups: Iterable[str]) -> set[str]:
        """Return those of the groups that were cancelled."""
        names = list(dict.fromkeys(groups))
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hexists(self._keys.group(name), "cancelled_at")
            return {name for name, there in zip(names, pipe.execute(), strict=True) if there} if names else set()

    def overdue(self) -> list[str]:
        """Return unfinished jobs whose deadline has passed, at most 100."""
        args = [self._keys.job(""), self._keys.outcome("")]
        found = cast("list[bytes]", self._overdue(keys=[self._keys.expiring], args=args))
        return [id.decode(errors="replace") for id in found]

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

    def keep_heard(self, job: str, text: str) -> None:
        """Keep what was decoded of a long recording. Redis errors are ignored: it is then decoded again."""
        with suppress(redis.RedisError):
            self._update(keys=[self._keys.job(job)], args=[_HEARD_SO_FAR, text])

    def kept_heard(self, job: str) -> bytes | None:
        """Return what was decoded of a long recording that was interrupted, which anyone may have written; None if
        there is nothing. Raises redis.RedisError."""
        return cast("bytes | None", self._client.hget(self._keys.job(job), _HEARD_SO_FAR)) or None

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

    def __init__(self, fields: Mapping[bytes, bytes], ended: bool, now: float = 0.0) -> None:
        self._fields, self.ended, self._now = fields, ended, now

    @property
    def known(self) -> bool:
        """Whether the job has a record."""
        return bool(self._fields)

    @property
    def group(self) -> str | None:
        """The job's group."""
        name = self._fields.get(b"group")
        return name.decode(errors="replace") if name else None

    @property
    def overdue(self) -> bool:
        """Whether the job's deadline has passed, by the server's clock."""
        try:
            return float(self._fields.get(b"expires_at", b"inf")) <= self._now
        except ValueError:  # a producer may write anything there
            return False

    def is_current(self, tag: str) -> bool:
        """Whether the message with this tag is the one that the job waits for. A job that was moved to the head of the
        queue has left an older one behind; one of an older release names none."""
        return self._fields.get(b"tag", tag.encode()) == tag.encode()

    @cached_property
    def job(self) -> Job | None:
        """The job as submitted, with its full name; None without a record. Raises ValidationError if it is damaged."""
        body = self._fields.get(b"job")
        return Job.model_validate_json(body) if body else None

    @property
    def stages(self) -> dict[str, StageRun]:
        """The costs of the finished stages, in chain order."""
        runs = {stage: self._fields.get(f"run:{stage}".encode()) for stage in STAGES}
        return {stage: StageRun.model_validate_json(body) for stage, body in runs.items() if body}

    @property
    def answers(self) -> dict[str, Record]:
        """The full answers of the finished stages (segments, all scores), and what the job was given in the place of
        earlier ones, by their fields in Handover and Outcome."""
        bodies = {stage: self._fields.get(stage.field.encode()) for stage in CHAIN.values()}
        stored = {stage.field: stage.answer.model_validate_json(body) for stage, body in bodies.items() if body}
        return stored | (self.job.given if self.job else {})

    @property
    def handover(self) -> Handover | None:
        """The job and the full answers of its finished stages; None without a record, or if it cannot be read."""
        try:
            job = self.job
            given: JsonObject = {**self.answers}
            return Handover(job=job, stages=self.stages, **given) if job else None
        except ValidationError:
            return None

    def has(self, stage: str) -> bool:
        """Whether the stage's answer is stored or was given. Raises ValidationError if the record cannot be read."""
        field = CHAIN[stage].field
        return field.encode() in self._fields or bool(self.job and field in self.job.given)
