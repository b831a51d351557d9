"""The wire format: what travels between producer, broker and workers, as frozen records that become JSON.

A job crosses the road as a `Handover`: the `Job` and what the finished stages gave. Its end is one `Outcome`. `CHAIN`
says which stages there are and what each of them gives.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["transcribe", "translate"]
State = Literal["done", "failed", "cancelled"]


class Record(BaseModel):
    """Frozen; fields of a newer version are ignored, so that boxes can be upgraded one by one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """Plain JSON types, without fields that say nothing (None and defaults)."""
        return self.model_dump(mode="json", exclude_defaults=True)


class AudioRef(Record):
    """Where the bytes of the audio are. They never travel in a message."""

    key: str  # `vault:<id>`, or `file:<absolute path>` under an allowed root that all boxes mount
    size_bytes: int = Field(ge=0)
    sha256: str | None = None  # of the bytes; None for a file that was not read by the producer
    about_s: float = 0.0  # an upper estimate of the length in seconds, for the time limit only


class Label(Record):
    """One thing a speaker may want."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    phrasings: tuple[str, ...] = ()  # "turning on the lights"; the name with blanks where there are none
    prompt: str | None = None  # what the Oracle is told when this is the intent; None: the set's own


class Turn(Record):
    """An example for chat models."""

    prompt: Annotated[str, Field(min_length=1)]  # as a label's prompt reads when its slots are filled
    reply: Annotated[str, Field(min_length=1)]  # the answer as it should be


class Wording(Record):
    """How a label set is put in another language. What it does not say is said as in the set itself."""

    language: str  # ISO 639-1, of the words that the Interpreter reads
    labels: tuple[Label, ...] = ()  # labels of the set by name, with the phrasings and prompts of this language
    template: str | None = None
    prompt: str | None = None
    turns: tuple[Turn, ...] = ()


class Calibration(Record):
    """What was fitted for a label set and one method of telling intents; None: the setting."""

    temperature: Annotated[float, Field(gt=0)] | None = None  # of the softmax over cosines or entailment logits
    unknown: float | None = None  # best cosine, or best entailment score, below which the answer is `unknown`


class LabelSet(Record):
    """The labels of a job, with what they share."""

    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    template: str | None = None  # hypothesis template with `{}`; None: the setting
    prompt: str | None = None  # reply prompt with `{text}` and `{intent}`; None: the default
    multi_label: bool = False  # score each label by itself: several may be true
    turns: tuple[Turn, ...] = ()  # for chat models, instead of the Oracle's own examples
    wordings: tuple[Wording, ...] = ()  # one for each language beside the one in which the set is written
    cosine: Calibration = Calibration()  # by method: a temperature of cosines says nothing of logits
    entailment: Calibration = Calibration()


class Vocabulary(Record):
    """The phrases that may be said, for the Scribe to choose from: what was heard is one of them, or `unknown`."""

    phrases: tuple[str, ...] = ()  # empty only where they come from the labels
    fillers: tuple[str, ...] = ()  # may be said too, and mean `unknown`
    from_labels: bool = False  # the phrases are the phrasings of the job's labels, and the phrase tells the intent


class OracleParams(Record):
    """How the reply is sampled. None: the default of the kind of model (plain or chat)."""

    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] | None = None  # 0: greedy
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # None: derived from the job's id


class JobOptions(Record):
    """What is wanted of a recording: the options that the command line, the Python API and the record share."""

    labels: LabelSet | None = None  # None: `Job.labels_key`, or the default set
    vocabulary: Vocabulary | None = None  # None: `Job.vocabulary_key`, or no vocabulary
    language: str | None = None  # ISO 639-1; None: detected, or English where the checkpoint knows no other
    task: Task = "transcribe"
    word_times: bool = False  # whether segments tell of their words
    oracle: OracleParams = OracleParams()


class Job(JobOptions):
    """What was asked for, as it was submitted."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    name: str  # the path as it was typed
    audio: AudioRef
    labels_key: str | None = None  # a set over 2 KB is stored once under this key
    vocabulary_key: str | None = None  # as `labels_key`
    submitted_at: float = 0.0  # Unix seconds, the producer's clock


class Candidate(Record):
    """One phrase of a vocabulary and its share of what was heard."""

    phrase: str
    posterior: float


class Choice(Record):
    """Which phrase of a vocabulary was said. Log-probabilities are natural, of a phrase in all its spellings."""

    phrase: str  # as it stands in the vocabulary; `unknown`: none of them
    posterior: float  # the answer's share among phrases, fillers and all that is neither
    margin: float  # log-probability of the likeliest phrase less that of the second, at most 10
    free_margin: float  # log-probability of the likeliest phrase less that of the free text, -10 to 10
    candidates: tuple[Candidate, ...] = ()  # the likeliest phrases, whatever the answer is, the best first


class Word(Record):
    """One word with its time in the audio."""

    word: str
    start_s: float
    end_s: float
    prob: float


class Segment(Record):
    """A stretch of the transcript with what the model thought of it."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float  # mean natural log-probability of the chosen tokens
    no_speech_prob: float  # p(<|nospeech|>) at the first decoding step of the window, before suppression
    compression_ratio: float  # bytes of the text / bytes zlib makes of them: above 2.4 it loops
    words: tuple[Word, ...] = ()
    language: str | None = None  # ISO 639-1, of its window: each is heard in its own; None: an English-only model
    choice: Choice | None = None  # with a vocabulary


class Transcript(Record):
    """What the Scribe heard. Empty text: no speech."""

    text: str = ""
    language: str | None = None
    segments: tuple[Segment, ...] = ()
    duration_s: float = 0.0
    speech_s: float = 0.0  # seconds that the voice activity detector calls voiced
    guards: tuple[str, ...] = ()  # names of the rules that rejected text, in the order in which they fired
    choice: Choice | None = None  # with a vocabulary, of the only utterance; segments have their own
    free_text: str | None = None  # with a vocabulary: what was heard without it


class Intent(Record):
    """What the speaker wants: a label, `unknown` (none is near enough) or `noise` (nothing was said)."""

    label: str
    score: float
    scores: dict[str, float] = {}
    method: str  # `entailment`, `cosine`, `vocabulary` or `silence`


class Reply(Record):
    """What the Oracle says."""

    text: str
    prompt: str
    seed: int
    new_tokens: int


class StageRun(Record):
    """What one stage cost one job. Seconds are wall clock; the whole batch shares `load_s` and `compute_s`."""

    queued_s: float = 0.0  # from the send of the message to its start in the child
    load_s: float = 0.0  # waiting for the model, 0 where it was resident
    compute_s: float = 0.0
    batch_size: int = 1
    device: str = "cpu"
    peak_bytes: int = 0  # device memory at its highest during the batch
    worker: str = ""


class Handover(Record):
    """A job under way: what a stage hands to the next. Segments stay behind in the Scribe's stored record."""

    job: Job
    transcript: Transcript | None = None
    intent: Intent | None = None
    reply: Reply | None = None
    stages: dict[str, StageRun] = {}


class Failure(Record):
    """Why a job did not end well."""

    code: str  # `GolemError.code`
    message: str  # one sentence


class Outcome(Record):
    """The one end of a job, with all that the finished stages gave."""

    job: str  # its id
    name: str  # the path as it was typed
    state: State
    error: Failure | None = None  # why it is not done
    transcript: Transcript | None = None
    intent: Intent | None = None
    reply: Reply | None = None
    stages: dict[str, StageRun] = {}  # what each stage cost, by its name


class Stage(NamedTuple):
    """What one stage of the chain gives."""

    field: str  # of Handover and Outcome, and of the job's hash in Redis
    answer: type[Record]


#: The stages in the order of the chain. Queues, tasks, routes, user rights and progress follow from it.
CHAIN: Mapping[str, Stage] = {
    "scribe": Stage("transcript", Transcript),
    "interpreter": Stage("intent", Intent),
    "oracle": Stage("reply", Reply),
}
