"""Converts between handovers and engines: builds an engine's request from a handover, and the next handover."""

import hashlib
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.vault import Vault
from golem_chain.shared.errors import BadRequest, GolemError
from golem_chain.shared.labels import default_labels, in_language
from golem_chain.shared.records import CHAIN, Handover, Intent, Job, LabelSet, StageRun, Vocabulary
from golem_chain.shared.settings import Settings
from golem_chain.shared.vocabulary import label_shares, with_labels

T = TypeVar("T")

#: Interval of progress reports on a long recording, seconds.
HEARD_S = 1.0
SILENCE = Intent(label="noise", score=1.0, method="silence")


def seed_of(job: Job) -> int:
    """Return the seed of a job's reply: the requested one, else derived from the job's id; 0 <= seed < 2**63."""
    if job.oracle.seed is not None:
        return job.oracle.seed
    return _from_id(job)


def _from_id(job: Job) -> int:
    """A number that depends on the job's id alone; 0 <= number < 2**63."""
    return int.from_bytes(hashlib.sha256(job.id.encode()).digest()[:8], "big") >> 1


def silent(handover: Handover) -> bool:
    """Return whether the Scribe or the Interpreter found silence; the later stages are then skipped."""
    transcript, intent = handover.transcript, handover.intent
    empty = transcript is not None and not transcript.text.strip()
    return empty or (intent is not None and intent.method == SILENCE.method)


def written_in(handover: Handover) -> str | None:
    """Return the language of the transcript's text: English for a translation."""
    if handover.job.task == "translate":
        return "en"
    return handover.transcript.language if handover.transcript else None


def taken(handover: Handover, stage: str, answer: object, run: StageRun) -> Handover:
    """Return the handover with a stage's full answer added. Raises GolemError if the answer has the wrong type."""
    gives = CHAIN[stage]
    if not isinstance(answer, gives.answer):
        raise GolemError(f"{stage} returned a {type(answer).__name__}: its engine has a bug.")
    return handover.model_copy(update={gives.field: answer, "stages": {**handover.stages, stage: run}})


class RequestBuilder:
    """Builds the engines' requests; reads audio, label sets and vocabularies from Redis or from files."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        jobs: Jobs,
        alive: Callable[[float | None], None] | None = None,
        step: Callable[[], None] | None = None,
    ) -> None:
        """`alive`: called while a recording is decoded, then with its length in seconds; `step`: called where a long
        one can be interrupted without loss, and raises to interrupt it."""
        self._settings, self._vault, self._jobs, self._alive, self._step = settings, vault, jobs, alive, step
        self._stored = lru_cache(maxsize=64)(jobs.get_labels)  # the key is the hash of the set: it never changes
        self._spoken = lru_cache(maxsize=16)(jobs.get_vocabulary)  # likewise
        self._default = lru_cache(maxsize=1)(default_labels)

    def of(self, stage: str, handover: Handover) -> object:
        """Return the request for a stage's engine. Raises a GolemError if the job cannot be processed."""
        builders: dict[str, Callable[[Handover], object]] = {
            "scribe": self._recording,
            "interpreter": self._utterance,
            "oracle": self._reply_request,
        }
        return builders[stage](handover)

    def _recording(self, handover: Handover) -> object:
        from golem_chain.workers.stages.scribe.engine import Recording

        job = handover.job
        vocabulary = self._vocabulary(job)  # before the audio is read: it may raise
        data = self._vault.read(_needed(job.audio, "scribe", "audio"))
        return Recording(
            *(job.name, data, job.language, job.task, vocabulary, job.word_times),
            progress=self._progress_of(job.id),
            alive=self._alive,
            store=HeardSoFar(self._jobs, job.id),
            prompt=job.initial_prompt,
            temperature=job.scribe_temperature or 0.0,
            seed=_from_id(job) if job.scribe_temperature else 0,
            step=self._step,
            hotwords=job.hotwords or (),
        )

    def _progress_of(self, job: str) -> Callable[[float, float], None]:
        """Return a callback that stores a long recording's progress, at most once per HEARD_S."""
        stored_at = time.monotonic()

        def store(heard_s: float, of_s: float) -> None:
            nonlocal stored_at
            if time.monotonic() - stored_at >= HEARD_S:
                stored_at = time.monotonic()
                self._jobs.tell_heard(job, heard_s, of_s)

        return store

    def _utterance(self, handover: Handover) -> object:
        from golem_chain.workers.stages.interpreter.engine import Utterance

        transcript = _needed(handover.transcript, "interpreter", "transcript")
        labels = self._labels(handover.job)
        return Utterance(transcript.text, written_in(handover), labels, self._shares(handover, labels))

    def _reply_request(self, handover: Handover) -> object:
        from golem_chain.workers.stages.oracle.engine import ReplyRequest

        transcript = _needed(handover.transcript, "oracle", "transcript")
        intent = _needed(handover.intent, "oracle", "intent")
        job = handover.job
        return ReplyRequest(transcript.text, intent, self._labels(job), job.oracle, seed_of(job), written_in(handover))

    def _vocabulary(self, job: Job) -> Vocabulary | None:
        found = self._phrases(job)
        return with_labels(found, _worded(job, self._labels(job))) if found else None

    def _shares(self, handover: Handover, labels: LabelSet) -> dict[str, float] | None:
        """Return the labels' shares in the Scribe's choice, None unless it chose one of their phrasings."""
        job, choice = handover.job, handover.transcript and handover.transcript.choice
        if not choice or choice.phrase == "unknown":
            return None
        vocabulary = self._phrases(job)
        return label_shares(choice, _worded(job, labels)) if vocabulary and vocabulary.from_labels else None

    def _phrases(self, job: Job) -> Vocabulary | None:
        """Return the vocabulary as submitted, without phrasings of labels."""
        return self._spoken(job.vocabulary_key) if job.vocabulary_key else job.vocabulary

    def _labels(self, job: Job) -> LabelSet:
        if job.labels is not None:
            return job.labels
        return self._stored(job.labels_key) if job.labels_key else self._default(self._settings.intents)


class HeardSoFar:
    """Keeps what was decoded of a long recording with its job."""

    def __init__(self, jobs: Jobs, job: str) -> None:
        self._jobs, self._job = jobs, job

    def load(self) -> bytes | None:
        """What was saved last; None if nothing was. Raises redis.RedisError."""
        return self._jobs.kept_heard(self._job)

    def save(self, text: str) -> None:
        """Save it in the place of what was saved before."""
        self._jobs.keep_heard(self._job, text)


def _worded(job: Job, labels: LabelSet) -> LabelSet:
    """Return the labels in the requested language; the spoken one is unknown before transcription."""
    return in_language(labels, "en" if job.task == "translate" else job.language)


def _needed(value: T | None, stage: str, what: str) -> T:
    if value is None:
        raise BadRequest(f"The {stage} received a job without its {what}: submit the job again.")
    return value
