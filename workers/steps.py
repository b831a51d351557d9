"""The way of a job between two stages: from what was handed over to what the engine is asked, and back."""

import hashlib
from functools import lru_cache
from typing import TypeVar

from broker.jobs import ANSWERS, Jobs
from broker.vault import Vault
from shared.errors import BadRequest, GolemError
from shared.labels import default_labels
from shared.records import Handover, Intent, Job, LabelSet, Reply, StageRun, Transcript
from shared.settings import Settings

T = TypeVar("T")

#: The type of each stage's answer.
_TYPES: dict[str, type[Transcript | Intent | Reply]] = {"scribe": Transcript, "interpreter": Intent, "oracle": Reply}
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


def taken(handover: Handover, stage: str, answer: object, run: StageRun) -> Handover:
    """The handover with a stage's full answer. Raises GolemError for an answer of another type."""
    if not isinstance(answer, _TYPES[stage]):
        raise GolemError(f"{stage} gave a {type(answer).__name__}: a fault of its engine.")
    return handover.model_copy(update={ANSWERS[stage]: answer, "stages": {**handover.stages, stage: run}})


def light(handover: Handover) -> Handover:
    """What travels on: without segments and scores, which are stored, and without what the stages cost."""
    transcript, intent = handover.transcript, handover.intent
    return handover.model_copy(
        update={
            "transcript": transcript and transcript.model_copy(update={"segments": ()}),
            "intent": intent and intent.model_copy(update={"scores": {}}),
            "stages": {},
        }
    )


class Asks:
    """Makes the asks; reads audio and label sets from where they are."""

    def __init__(self, settings: Settings, vault: Vault, jobs: Jobs) -> None:
        self._settings, self._vault = settings, vault
        self._stored = lru_cache(maxsize=64)(jobs.get_labels)  # the key is the hash of the set: it never changes
        self._default = lru_cache(maxsize=1)(default_labels)

    def of(self, stage: str, handover: Handover) -> object:
        """What the engine of a stage is asked. Raises a GolemError for a job that cannot be served."""
        return {"scribe": self._recording, "interpreter": self._utterance, "oracle": self._cue}[stage](handover)

    def _recording(self, handover: Handover) -> object:
        from workers.stages.scribe import Recording  # the stages import their model libraries: in the child only

        job = handover.job
        return Recording(job.name, self._vault.read(job.audio), job.language, job.task)

    def _utterance(self, handover: Handover) -> object:
        from workers.stages.interpreter import Utterance

        transcript = _needed(handover.transcript, "interpreter", "transcript")
        return Utterance(transcript.text, transcript.language, self._labels(handover.job))

    def _cue(self, handover: Handover) -> object:
        from workers.stages.oracle import Cue

        transcript = _needed(handover.transcript, "oracle", "transcript")
        intent = _needed(handover.intent, "oracle", "intent")
        job = handover.job
        return Cue(transcript.text, intent, self._labels(job), job.oracle, seed_of(job))

    def _labels(self, job: Job) -> LabelSet:
        if job.labels is not None:
            return job.labels
        return self._stored(job.labels_key) if job.labels_key else self._default(self._settings.intents)


def _needed(value: T | None, stage: str, what: str) -> T:
    if value is None:
        raise BadRequest(f"The {stage} was handed a job without its {what}: submit the job from the start.")
    return value
