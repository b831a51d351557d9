"""The way of a job between two stages: from what was handed over to what the engine is asked, and back."""

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

#: How often it is told how far a long recording is, seconds.
HEARD_S = 1.0
SILENCE = Intent(label="noise", score=1.0, method="silence")


def seed_of(job: Job) -> int:
    """The seed of a job's reply: as asked for, else the same for the same id; 0 <= seed < 2**63."""
    if job.oracle.seed is not None:
        return job.oracle.seed
    return int.from_bytes(hashlib.sha256(job.id.encode()).digest()[:8], "big") >> 1


def silent(handover: Handover) -> bool:
    """Whether nothing was said, as the Scribe or the Interpreter finds: the stages that follow have nothing to do."""
    transcript, intent = handover.transcript, handover.intent
    wordless = transcript is not None and not transcript.text.strip()
    return wordless or (intent is not None and intent.method == SILENCE.method)


def written_in(handover: Handover) -> str | None:
    """The language of the transcript's words: a translation is in English, whatever was spoken."""
    if handover.job.task == "translate":
        return "en"
    return handover.transcript.language if handover.transcript else None


def taken(handover: Handover, stage: str, answer: object, run: StageRun) -> Handover:
    """The handover with a stage's full answer. Raises GolemError for an answer of another type."""
    gives = CHAIN[stage]
    if not isinstance(answer, gives.answer):
        raise GolemError(f"{stage} gave a {type(answer).__name__}: a fault of its engine.")
    return handover.model_copy(update={gives.field: answer, "stages": {**handover.stages, stage: run}})


def light(handover: Handover) -> Handover:
    """What travels on: without segments, free text and scores, which are stored, and without what the stages cost."""
    transcript, intent = handover.transcript, handover.intent
    return handover.model_copy(
        update={
            "transcript": transcript and transcript.model_copy(update={"segments": (), "free_text": None}),
            "intent": intent and intent.model_copy(update={"scores": {}}),
            "stages": {},
        }
    )


class RequestBuilder:
    """Makes the asks; reads audio and label sets from where they are."""

    def __init__(self, settings: Settings, vault: Vault, jobs: Jobs) -> None:
        self._settings, self._vault, self._jobs = settings, vault, jobs
        self._stored = lru_cache(maxsize=64)(jobs.get_labels)  # the key is the hash of the set: it never changes
        self._spoken = lru_cache(maxsize=16)(jobs.get_vocabulary)  # likewise
        self._default = lru_cache(maxsize=1)(default_labels)

    def of(self, stage: str, handover: Handover) -> object:
        """What the engine of a stage is asked. Raises a GolemError for a job that cannot be served."""
        builders: dict[str, Callable[[Handover], object]] = {
            "scribe": self._recording,
            "interpreter": self._utterance,
            "oracle": self._reply_request,
        }
        return builders[stage](handover)

    def _recording(self, handover: Handover) -> object:
        from golem_chain.workers.stages.scribe.engine import Recording

        job = handover.job
        vocabulary = self._vocabulary(job)  # before the audio is read: it may be refused
        data = self._vault.read(job.audio)
        tell = self._telling(job.id)
        return Recording(job.name, data, job.language, job.task, vocabulary, job.word_times, progress=tell)

    def _telling(self, job: str) -> Callable[[float, float], None]:
        """Tells how far a long recording is, at most once in HEARD_S."""
        told_at = time.monotonic()

        def tell(heard_s: float, of_s: float) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= HEARD_S:
                told_at = time.monotonic()
                self._jobs.tell_heard(job, heard_s, of_s)

        return tell

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
        found = self._spoken(job.vocabulary_key) if job.vocabulary_key else job.vocabulary
        return with_labels(found, _worded(job, self._labels(job))) if found else None

    def _shares(self, handover: Handover, labels: LabelSet) -> dict[str, float] | None:
        """What the Scribe's choice says of the labels, where it chose one of their phrasings."""
        job, choice = handover.job, handover.transcript and handover.transcript.choice
        if not choice or choice.phrase == "unknown":
            return None
        vocabulary = self._spoken(job.vocabulary_key) if job.vocabulary_key else job.vocabulary
        return label_shares(choice, _worded(job, labels)) if vocabulary and vocabulary.from_labels else None

    def _labels(self, job: Job) -> LabelSet:
        if job.labels is not None:
            return job.labels
        return self._stored(job.labels_key) if job.labels_key else self._default(self._settings.intents)


def _worded(job: Job, labels: LabelSet) -> LabelSet:
    """The labels in the language that was asked for: which one will be spoken is not known before it is heard."""
    return in_language(labels, "en" if job.task == "translate" else job.language)


def _needed(value: T | None, stage: str, what: str) -> T:
    if value is None:
        raise BadRequest(f"The {stage} was handed a job without its {what}: submit the job from the start.")
    return value
