"""The wire format: frozen records that producers, broker and workers exchange as JSON.

Stages pass on a `Handover`: the `Job` and the results so far. Each job ends with exactly one `Outcome`. `CHAIN` lists
the stages with the field and the record that each fills.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from golem_chain.shared.json_object import JsonObject

Task = Literal["transcribe", "translate"]
State = Literal["done", "failed", "cancelled", "expired"]
#: An interactive job waits for at most the batch that is running; bulk is what fills the rest of the time.
Lane = Literal["interactive", "bulk"]
#: The stages of `CHAIN`, as a type.
StageName = Literal["scribe", "interpreter", "oracle"]
#: A text is part of the job's record, which stays small.
TEXT_MOST = 20_000
#: Characters of a prompt of the Scribe, which takes at most its last 221 tokens.
PROMPT_MOST = 1000
#: Hotwords of a job, and characters of one: they are a part of the job's record, and each costs the Scribe time.
HOTWORDS_MOST, HOTWORD_MOST = 100, 100


class Record(BaseModel):
    """Base class. Unknown fields are ignored, so that boxes can be upgraded one at a time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def wire(self) -> JsonObject:
        """Plain JSON types, without fields at their default."""
        return self.model_dump(mode="json", exclude_defaults=True)


class AudioRef(Record):
    """Where the audio is stored. Messages never carry the audio itself."""

    key: str  # `vault:<id>`, or `file:<absolute path>` under an allowed root that all boxes mount
    size_bytes: int = Field(ge=0)
    sha256: str | None = None  # of the bytes; None for a file that the producer did not read


class Label(Record):
    """One thing a speaker may want."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    phrasings: tuple[str, ...] = ()  # "turning on the lights"; empty: the name as words
    prompt: str | None = None  # the Oracle's prompt for this intent; None: that of the set


class Turn(Record):
    """An example prompt and reply for chat models."""

    prompt: Annotated[str, Field(min_length=1)]  # a label's prompt with its slots filled
    reply: Annotated[str, Field(min_length=1)]  # the expected answer


class Wording(Record):
    """A label set in another language. What it omits is taken from the set itself."""

    language: str  # ISO 639-1, of the text that the Interpreter reads
    labels: tuple[Label, ...] = ()  # phrasings and prompts in this language, under the set's label names
    template: str | None = None
    prompt: str | None = None
    turns: tuple[Turn, ...] = ()


class Calibration(Record):
    """Parameters fitted to a label set for one method; None: the setting's value."""

    temperature: Annotated[float, Field(gt=0)] | None = None  # of the softmax over cosines or entailment logits
    unknown: float | None = None  # if the best cosine or entailment score is below this, the intent is `unknown`


class LabelSet(Record):
    """The labels of a job and what they share."""

    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    template: str | None = None  # hypothesis template with `{}`; None: the setting
    prompt: str | None = None  # reply prompt with `{text}` and `{intent}`; None: the default
    multi_label: bool = False  # score each label independently: several may apply
    turns: tuple[Turn, ...] = ()  # for chat models, instead of the Oracle's built-in examples
    wordings: tuple[Wording, ...] = ()  # one for each language besides the one the set is written in
    cosine: Calibration = Calibration()  # one per method: a temperature for cosines does not apply to logits
    entailment: Calibration = Calibration()


class Vocabulary(Record):
    """The phrases that the Scribe chooses from; the result is one of them or `unknown`."""

    phrases: tuple[str, ...] = ()  # empty only with `from_labels`
    fillers: tuple[str, ...] = ()  # other expected phrases, which mean `unknown`
    from_labels: bool = False  # the phrases are the phrasings of the job's labels; the choice determines the intent


class OracleParams(Record):
    """Sampling parameters of the reply. None: the default for the kind of model (plain or chat)."""

    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] | None = None  # 0: greedy
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # None: derived from the job's id


def stages_between(start: str, stop: str | None) -> tuple[str, ...]:
    """Return the stages from `start` to `stop`, in chain order; None: to the last one."""
    stages = list(CHAIN)
    return tuple(stages[stages.index(start) : stages.index(stop or stages[-1]) + 1])


class JobOptions(Record):
    """The options of a job, shared by the command line, the Python API and the record."""

    labels: LabelSet | None = None  # None: `Job.labels_key`, or the default set
    vocabulary: Vocabulary | None = None  # None: `Job.vocabulary_key`, or no vocabulary
    language: str | None = None  # ISO 639-1; None: detected, or English for an English-only checkpoint
    task: Task = "transcribe"
    word_times: bool = False  # whether segments list their words with times
    oracle: OracleParams = OracleParams()
    stop: StageName | None = None  # the last stage that runs; None: the last of the chain
    initial_prompt: Annotated[str, Field(max_length=PROMPT_MOST)] | None = None  # text that precedes the audio
    scribe_temperature: Annotated[float, Field(ge=0.0, le=1.0)] | None = None  # of the Scribe; None: 0, with fallbacks
    hotwords: (
        Annotated[tuple[Annotated[str, Field(max_length=HOTWORD_MOST)], ...], Field(max_length=HOTWORDS_MOST)] | None
    ) = None  # names that may be said, as the transcript is to spell them
    lane: Lane = "bulk"
    expires_s: Annotated[float, Field(gt=0)] | None = None  # from the submit, by the server's clock; None: never
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None  # jobs that are counted together
    webhook: Annotated[str, Field(max_length=2000)] | None = None  # the URL that is told of the end


class Job(JobOptions):
    """A job as submitted. It begins at the Scribe with audio, at the Interpreter with a text, at the Oracle with a text
    and its intent."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    name: str  # the path as the user gave it
    audio: AudioRef | None = None  # a job has either audio or a text
    text: str | None = None  # what was said, at most 20,000 characters
    intent: Annotated[str, Field(min_length=1, max_length=200)] | None = (
        None  # of the text: a label's name, or `unknown`
    )
    labels_key: str | None = None  # a set over 2 KB is stored once under this key
    vocabulary_key: str | None = None  # a vocabulary over 2 KB is stored once under this key
    submitted_at: float = 0.0  # Unix seconds, the producer's clock

    @property
    def start(self) -> str:
        """The first stage that runs."""
        return list(CHAIN)[0 if self.text is None else 1 if self.intent is None else 2]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The stages that run, in chain order, unless an earlier one finds silence."""
        return stages_between(self.start, self.stop)

    @property
    def given(self) -> "dict[str, Record]":
        """The answers of the stages before the first one, by their fields in Handover and Outcome."""
        answers: dict[str, Record] = {}
        if self.text is not None:
            answers["transcript"] = Transcript(text=self.text, language=self.language)
        if self.intent is not None:
            answers["intent"] = Intent(label=self.intent, score=1.0, method="given")
        return answers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.audio is None) == (self.text is None):
            raise ValueError("A job has either audio or a text: give one of them.")
        if self.intent is not None and self.text is None:
            raise ValueError("An intent is given with a text, not with audio: give the text too.")
        if self.intent == "noise":
            raise ValueError("The intent `noise` means that nothing was said, and has no reply: give another one.")
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in f"{self.text}{self.intent}"):
            raise ValueError("The text or the intent is not valid Unicode: give it in UTF-8.")
        if self.text is not None and not self.text.strip():
            raise ValueError("The text is empty: give the words that were said.")
        if self.text is not None and len(self.text) > TEXT_MOST:
            most = f"the limit is {TEXT_MOST:,}: submit it in parts"
            raise ValueError(f"The text has {len(self.text):,} characters, {most}.")
        if not self.wanted:
            raise ValueError(f"The job begins at the {self.start} and cannot stop at the {self.stop}: stop later.")
        return self


class Candidate(Record):
    """A phrase of the vocabulary with its posterior."""

    phrase: str
    posterior: float


class Choice(Record):
    """Which phrase of a vocabulary was said. A phrase's log-probability (natural) sums over all its spellings."""

    phrase: str  # as written in the vocabulary, or `unknown`
    posterior: float  # the answer's share of the probability among phrases, fillers and everything else
    margin: float  # log-probability of the likeliest phrase minus that of the second, at most 10
    free_margin: float  # log-probability of the likeliest phrase minus that of the free text, -10 to 10
    candidates: tuple[Candidate, ...] = ()  # the likeliest phrases, best first, even if the answer is `unknown`


class Word(Record):
    """A word with its time in the audio."""

    word: str
    start_s: float
    end_s: float
    prob: float


class Segment(Record):
    """A timed stretch of the transcript with the model's statistics."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float  # mean natural log-probability of the chosen tokens
    no_speech_prob: float  # p(<|nospeech|>) at the first decoding step of the window, before suppression
    compression_ratio: float  # bytes of the text / bytes after zlib; above 2.4 an English text repeats itself
    words: tuple[Word, ...] = ()
    language: str | None = None  # ISO 639-1, of the segment's window; None for an English-only model
    choice: Choice | None = None  # with a vocabulary


class Transcript(Record):
    """The Scribe's result. Empty text means no speech."""

    text: str = ""
    language: str | None = None
    segments: tuple[Segment, ...] = ()
    duration_s: float = 0.0
    speech_s: float = 0.0  # seconds of voice according to the voice activity detector
    guards: tuple[str, ...] = ()  # guards that rejected text, in the order they fired
    choice: Choice | None = None  # with a vocabulary, if there is a single utterance; segments have their own
    free_text: str | None = None  # with a vocabulary: the transcript without it


class Intent(Record):
    """The Interpreter's result: a label, `unknown` (no label is close enough) or `noise` (nothing was said)."""

    label: str
    score: float
    scores: dict[str, float] = {}
    method: str  # `entailment`, `cosine`, `vocabulary`, `silence`, or `given` with the job


class Reply(Record):
    """The Oracle's result."""

    text: str
    prompt: str
    seed: int
    new_tokens: int


class StageRun(Record):
    """What one stage cost one job. Seconds are wall clock; `compute_s` is that of the whole group that ran together."""

    queued_s: float = (
        0.0  # until a worker took the message, by the server's clock, and then for cheaper ones of its batch
    )
    load_s: float = 0.0  # waiting for the model to load; 0 if it was resident
    compute_s: float = 0.0
    batch_size: int = 1
    device: str = "cpu"
    peak_bytes: int = 0  # peak device memory during the batch
    worker: str = ""


class Handover(Record):
    """What one stage passes to the next: the job and the results so far. Segments stay in the Scribe's result."""

    job: Job
    transcript: Transcript | None = None
    intent: Intent | None = None
    reply: Reply | None = None
    stages: dict[str, StageRun] = {}


class Failure(Record):
    """Why a job failed or was cancelled."""

    code: str  # `GolemError.code`
    message: str  # one sentence


class Outcome(Record):
    """How a job ended, with the results of the stages that finished. Written once."""

    job: str  # its id
    name: str  # the path as the user gave it
    state: State
    error: Failure | None = None  # the reason if the job failed or was cancelled
    transcript: Transcript | None = None
    intent: Intent | None = None
    reply: Reply | None = None
    stages: dict[str, StageRun] = {}  # cost of each stage, by stage name


class Stage(NamedTuple):
    """A stage of the chain and its result."""

    field: str  # of Handover and Outcome, and of the job's hash in Redis
    answer: type[Record]


#: The stages in the order of the chain. Queues, tasks, routes, user rights and progress are derived from it.
CHAIN: Mapping[str, Stage] = {
    "scribe": Stage("transcript", Transcript),
    "interpreter": Stage("intent", Intent),
    "oracle": Stage("reply", Reply),
}
