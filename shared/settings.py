"""Every knob, one class, read once from GOLEM_* variables and `.env`; an error names the key and the remedy."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.sizes import parse_bytes

Size = Annotated[int, BeforeValidator(parse_bytes)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

#: The Scribe's guards, in the order in which they are asked; `workers/stages/scribe/guards.py` says what each rejects.
GUARDS = ("level", "vad", "no_speech", "annotation", "loop", "invention")


def _budget(value: str | int | float | None) -> int | float | None:
    """Bytes as an int, a share of the device's memory as a float in (0, 1]."""
    if value in (None, ""):
        return None
    if isinstance(value, float):
        share = value
    elif isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"{value!r} is not a share: write it as in 80%") from None
    else:
        size = parse_bytes(value)
        if size == 0:
            raise ValueError("a budget of 0 bytes holds no model")
        return size
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is not a share of the memory: give more than 0% and at most 100%")
    return share


def _batch(value: Any) -> Any:
    """`8` for every stage, or `scribe=8,interpreter=32`."""
    if not isinstance(value, str):
        return value
    if "=" not in value:
        return {"*": value}
    return dict(part.split("=", 1) for part in value.replace(" ", "").split(",") if "=" in part)


def _guards(value: Any) -> Any:
    """`all`, `none`, or names joined by commas; in the order in which the guards are asked, each once."""
    if not isinstance(value, str):
        return value
    named = {name.strip() for name in value.split(",")} - {""}
    if named in ({"all"}, {"none"}):
        return GUARDS if named == {"all"} else ()
    if not named or named - set(GUARDS):
        raise ValueError(f"it is `all`, `none`, or some of {','.join(GUARDS)}")
    return tuple(name for name in GUARDS if name in named)


def _paths(value: Any) -> Any:
    """Folders joined by the system's path separator (`:`)."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "golem-chain"


class Settings(BaseSettings):
    """All settings. `Settings.read()` is the way to get them."""

    model_config = SettingsConfigDict(env_prefix="GOLEM_", env_file=".env", extra="ignore", frozen=True)

    # -- the road
    redis_url: str = Field(  # never in a repr: it may hold a password
        "redis://127.0.0.1:6379/0", description="Where Redis is; `rediss://` for TLS", repr=False
    )
    audio_root: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)] = Field(
        (), description="Folders that all boxes mount: files under them travel as `file:` references"
    )
    vault_limit: Size = Field(1 << 30, description="Bytes of audio held in Redis above which a submit waits for room")
    keep_s: Seconds = Field(3600, description="How long results and audio live after the Outcome, seconds")
    lease_s: Annotated[float, Field(ge=5)] = Field(
        25, description="Visibility timeout: a message whose box died is taken again after this, seconds"
    )
    max_deliveries: Annotated[int, Field(ge=1)] = Field(
        3, description="How often a job is given to a worker before it becomes a dead letter"
    )
    time_limit_s: Annotated[float, Field(gt=0)] = Field(
        120, description="Time limit of a stage, seconds; the Scribe's grows with the audio"
    )
    time_limit_per_audio_s: Seconds = Field(
        4, description="Seconds added to the Scribe's limit for each second of audio"
    )
    stop_s: Seconds = Field(10, description="After SIGTERM: seconds to finish before messages are handed back")
    batch: Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(_batch)] = Field(
        {"scribe": 8, "interpreter": 16, "oracle": 16},
        description="Messages taken together: one number, or `scribe=8,interpreter=16,oracle=16`",
    )
    prefer: Literal["throughput", "latency", "balanced"] = Field(
        "balanced", description="How long a worker stays with its resident model while others wait"
    )

    # -- Flower
    flower_auth: str | None = Field(
        None, description="`user:password` of Flower's basic auth; made up and printed where there is none"
    )
    flower_address: str = Field("127.0.0.1", description="Where Flower listens; its /metrics asks for no password")
    flower_port: Annotated[int, Field(ge=1, le=65535)] = Field(5555, description="Flower's port")

    # -- models
    store: Path = Field(
        default_factory=lambda: _data_home() / "models", description="The folder that holds the weights"
    )
    models: Literal["auto", "quest", "bundled", "multilingual"] = Field(
        "auto",
        description="The profile: quest, bundled or multilingual; auto: quest when the hub answers at the first pull, "
        "else bundled",
    )
    scribe_model: str | None = Field(None, description="A hub id or a local folder instead of the profile's")
    interpreter_model: str | None = Field(None, description="Likewise")
    oracle_model: str | None = Field(None, description="Likewise")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:1`")
    dtype: Literal["auto", "fast", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Type of the weights in memory; auto: by device (float32 on a CPU); fast: the same, but on a CPU "
        "with instructions for it bfloat16 for an NLI interpreter and for the oracle",
    )
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads for the models; 0: the cores there are")

    # -- residency
    resident: Literal["1", "0", "auto"] = Field(
        "1", description="1: one model at a time; 0: given back after every batch; auto: as many as fit"
    )
    memory_budget: Annotated[int | float | None, BeforeValidator(_budget)] = Field(
        None, description="Bytes for resident models and their working memory (`4GiB`), or a share (`80%`)"
    )
    idle_unload_s: Seconds = Field(300, description="An idle worker gives its memory back after this, seconds")
    host_cache: Size = Field(2 << 30, description="Pinned host memory for weights waiting to be copied to a GPU")

    # -- audio
    audio_max_bytes: Size = Field(256 << 20, description="Largest audio file")
    audio_max_s: Annotated[float, Field(gt=0)] = Field(4 * 3600, description="Longest audio, seconds")
    audio_max_channels: Annotated[int, Field(ge=1)] = Field(32, description="Most channels")
    audio_max_rate: Annotated[int, Field(ge=8000)] = Field(384_000, description="Highest sample rate, Hz")

    # -- scribe
    guards: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_guards)] = Field(
        GUARDS, description="The rules that reject invented text: `all`, `none`, or some of the names, by commas"
    )
    scribe_context: Literal["full", "fast"] = Field(
        "full", description="fast: recordings under 22 s without most of their padding, and other words now and then"
    )
    vad_threshold: Share = Field(0.35, description="A frame above this probability is voiced; 0 turns the guard off")
    no_speech_threshold: Share = Field(
        0.5, description="A window whose p(no speech) is above this is silent; 1 turns the guard off"
    )
    vocabulary_floor: Annotated[float, Field(ge=0)] = Field(
        6.5,
        description="A vocabulary's phrase of one token is `unknown` where its log-probability (natural) is below "
        "minus this; each token more is allowed 1 more",
    )
    vocabulary_margin: Annotated[float, Field(ge=0)] = Field(
        8.0, description="Likewise where the free transcription is likelier by more than this (natural logarithm)"
    )

    # -- interpreter
    intents: Path | None = Field(None, description="A label file instead of the built-in intents.toml")
    template: str = Field("This text is about {}.", description="Hypothesis template for NLI checkpoints")
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.05, description="Softmax temperature over cosines (sentence encoders)"
    )
    unknown_cosine: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.27, description="Best raw cosine below which the intent is `unknown` (sentence encoders)"
    )
    unknown_score: Share = Field(
        0.5, description="Entailment against contradiction of the best label below which the intent is `unknown` (NLI)"
    )
    interpreter_phrasings: Annotated[int, Field(ge=0)] = Field(
        0, description="Phrasings of each label that an NLI model is asked about, each a pass of it; 0: all"
    )
    interpreter_tokens: Annotated[int, Field(ge=1)] = Field(
        4096, description="Tokens, padding included, that the interpreter's model is given at once"
    )
    interpreter_cache: Annotated[int, Field(ge=0)] = Field(
        200_000, description="Scores kept for texts seen before (numbers, about 100 bytes each); 0: none"
    )

    def batch_of(self, stage: str) -> int:
        """Most messages of one stage that are run together."""
        return self.batch.get(stage, self.batch.get("*", 8))

    def model_of(self, stage: str) -> str | None:
        """The hub id or folder that replaces the profile's model of a stage."""
        chosen: str | None = getattr(self, f"{stage}_model", None)
        return chosen

    @classmethod
    def read(cls, **given: Any) -> "Settings":
        """The settings of this process. Raises BadSetting naming the first key that cannot be used."""
        try:
            return cls(**given)
        except ValidationError as exc:
            first = exc.errors()[0]
            key = "GOLEM_" + str(first["loc"][0]).upper() if first["loc"] else "GOLEM_*"
            why = first["msg"].removeprefix("Value error, ")
            raise BadSetting(f"{key}={first['input']!r}: {why}.") from None
