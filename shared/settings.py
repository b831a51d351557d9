"""All settings, read once from GOLEM_* variables and `.env`. Errors name the key and the reason."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.sizes import parse_bytes

Size = Annotated[int, BeforeValidator(parse_bytes)]
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

_WIDEST_BEAM = 10
#: The Scribe's guards in the order they run; `workers/stages/scribe/guards.py` documents them.
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
            raise ValueError(f"{value!r} is not a percentage: write it like 80%") from None
    else:
        size = parse_bytes(value)
        if size == 0:
            raise ValueError("a budget of 0 bytes cannot hold any model")
        return size
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is not a share of memory: use more than 0% and at most 100%")
    return share


def _beam(value: Any) -> Any:
    """`auto`, or a number from 1 to 10."""
    if value == "auto":
        return value
    if not str(value).strip().isdecimal() or not 1 <= int(value) <= _WIDEST_BEAM:
        raise ValueError(f"{value!r} is not a beam size: use auto, or a number from 1 to {_WIDEST_BEAM}")
    return int(value)


def _batch(value: Any) -> Any:
    """`8` for every stage, or `scribe=8,interpreter=32`."""
    if not isinstance(value, str):
        return value
    if "=" not in value:
        return {"*": value}
    return dict(part.split("=", 1) for part in value.replace(" ", "").split(",") if "=" in part)


def _guards(value: Any) -> Any:
    """Parse `all`, `none` or a comma-separated list; the result is in the order of GUARDS, without duplicates."""
    if not isinstance(value, str):
        return value
    named = {name.strip() for name in value.split(",")} - {""}
    if named in ({"all"}, {"none"}):
        return GUARDS if named == {"all"} else ()
    if not named or named - set(GUARDS):
        raise ValueError(f"use `all`, `none`, or a comma-separated subset of {','.join(GUARDS)}")
    return tuple(name for name in GUARDS if name in named)


def _paths(value: Any) -> Any:
    """Parse folders separated by the system's path separator (`:`)."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def _hosts(value: Any) -> Any:
    """Parse `example.org,*.example.org`."""
    if not isinstance(value, str):
        return value
    hosts = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    for host in hosts:
        if not re.fullmatch(r"(\*\.)?[a-z0-9_.-]+|[0-9a-f:.]+", host):
            raise ValueError("use host names separated by commas, such as hooks.example.org,*.example.org")
    return hosts


def _networks(value: Any) -> Any:
    """Parse `10.0.0.7,172.16.0.0/12`; names would have to be looked up at each request."""
    if not isinstance(value, str):
        return value
    networks = tuple(part.strip() for part in value.split(",") if part.strip())
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError("use addresses or networks separated by commas, such as 10.0.0.7,172.16.0.0/12") from None
    return networks


def _origins(value: Any) -> Any:
    """Parse `https://app.example.org,http://localhost:3000`; some programs have one such as app://obsidian.md."""
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip().lower().rstrip("/") for part in value.split(",") if part.strip())
    for origin in origins:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", origin):
            raise ValueError("use origins separated by commas, such as https://app.example.org")
    return origins


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", value):
        raise ValueError("use 1 to 32 letters, digits, `_`, `.` and `-`")
    return value


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "golem-chain"


class Settings(BaseSettings):
    """All settings. Create with `Settings.read()`."""

    model_config = SettingsConfigDict(env_prefix="GOLEM_", env_file=".env", extra="ignore", frozen=True)

    # -- broker
    redis_url: str = Field(  # never in a repr: it may hold a password
        "redis://127.0.0.1:6379/0",
        description="URL of the Redis server; `rediss://` for TLS; "
        "`sentinel://:password@host1:26379,host2:26379/0?master=NAME` (`sentinels://` for TLS) for a failover",
        repr=False,
    )
    redis_wait: Annotated[int, Field(ge=0)] = Field(
        0, description="Number of replicas that must confirm each submit within 1 s, so that no failover loses it"
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "golem", description="Beginning of every Redis key and channel; systems that share a server have different ones"
    )
    owner: str | None = Field(
        None,
        description="Secret name under which `golem jobs` lists what was submitted; random for each user if unset",
        repr=False,
    )
    audio_root: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)] = Field(
        (), description="Folders mounted on all boxes; files under them are sent as `file:` references, not copied"
    )
    vault_limit: Size = Field(
        1 << 30, description="Maximum size of audio, large label sets and vocabularies in Redis; above it, submits wait"
    )
    keep_s: Seconds = Field(3600, description="How long results and audio are kept after a job ends, seconds")
    lease_s: Annotated[float, Field(ge=5)] = Field(
        25, description="Visibility timeout, seconds: when a box dies, its messages are redelivered after this"
    )
    max_deliveries: Annotated[int, Field(ge=1)] = Field(
        3, description="Maximum deliveries of a message; after that it becomes a dead letter"
    )
    time_limit_s: Annotated[float, Field(gt=0)] = Field(
        120, description="Time limit per stage, seconds; the Scribe's grows with the audio"
    )
    time_limit_per_audio_s: Seconds = Field(
        4, description="Seconds added to the Scribe's time limit for each second of audio"
    )
    stop_s: Seconds = Field(10, description="Grace period after SIGTERM, seconds; then messages are handed back")
    batch: Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(_batch)] = Field(
        {"scribe": 8, "interpreter": 16, "oracle": 16},
        description="Maximum batch size: one number, or `scribe=8,interpreter=16,oracle=16`",
    )
    prefer: Literal["throughput", "latency", "balanced"] = Field(
        "balanced", description="How long a worker stays with its resident model while other queues wait"
    )
    bulk_wait_s: Annotated[float, Field(ge=1)] = Field(
        60,  # a batch takes seconds, so interactive work gives up few of its takes, and no folder stands still
        description="How long interactive jobs without a pause may hold up a queue's bulk jobs, seconds; then these "
        "get the next batch",
    )

    # -- webhooks
    webhook_secret: str | None = Field(
        None,
        description="Secret that webhooks are signed with, `whsec_…`; several separated by spaces while it is changed",
        repr=False,
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)] = Field(
        (), description="Hosts that webhooks may name, separated by commas; `*.example.org` for subdomains; empty: any"
    )
    webhook_http: Literal["1", "0"] = Field("0", description="1: webhooks may use http without TLS")
    webhook_private: Literal["1", "0"] = Field(
        "0", description="1: webhooks may lead to private and loopback addresses"
    )

    # -- Flower
    flower_auth: str | None = Field(
        None, description="`user:password` for Flower's basic auth; generated and printed if unset"
    )
    flower_address: str = Field("127.0.0.1", description="Address Flower listens on; /metrics needs no password")
    flower_port: Annotated[int, Field(ge=1, le=65535)] = Field(5555, description="Port Flower listens on")

    # -- golem serve
    serve_address: str = Field("127.0.0.1", description="Address golem serve listens on; others need GOLEM_API_KEYS")
    serve_port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="Port of HTTP: page, APIs, metrics")
    serve_tls_cert: Path | None = Field(None, description="Certificate chain for HTTPS, a PEM file")
    serve_tls_key: Path | None = Field(None, description="Its private key, a PEM file")
    serve_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)] = Field(
        (), description="Names under which the server may be asked for, besides its address; `*.example.org` allowed"
    )
    serve_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = Field(
        (), description="Web pages of other origins that may use the API (CORS), such as https://app.example.org"
    )
    serve_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (), description="Addresses or networks of reverse proxies whose X-Forwarded headers are believed"
    )
    api_keys: str | None = Field(
        None,
        description="API keys: `@/etc/golem/keys.toml` (see `golem keys`), or `name=SHA256` separated by commas",
        repr=False,
    )
    serve_leave_s: Seconds = Field(
        30, description="How long a job goes on after its last client has left, seconds; then it is cancelled"
    )
    wyoming_address: str = Field("127.0.0.1", description="Address of the Wyoming port, which has no authentication")
    wyoming_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        10300, description="Port of Wyoming (Home Assistant); 0: none"
    )

    serve_data: Path = Field(
        default_factory=lambda: _data_home() / "serve",
        description="Folder in which golem serve keeps jobs and the worker's log if it starts its own system",
    )

    # -- models
    store: Path = Field(default_factory=lambda: _data_home() / "models", description="Folder of the model store")
    models: Literal["auto", "quest", "bundled", "multilingual"] = Field(
        "auto",
        description="Profile: quest, bundled or multilingual; auto: quest if the model hub is reachable at the first "
        "pull, otherwise bundled",
    )
    scribe_model: str | None = Field(
        None, description="Checkpoint that replaces the profile's: a catalog name, a hub id or a local folder"
    )
    interpreter_model: str | None = Field(None, description="Likewise for the Interpreter")
    oracle_model: str | None = Field(None, description="Likewise for the Oracle")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:1`")
    dtype: Literal["auto", "fast", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Data type of the weights in memory; auto: the fastest that was proved to answer alike on this "
        "machine (`golem models prove`), without a proof by device (float32 on a CPU); fast: like auto without a "
        "proof, but bfloat16 for the Oracle and an NLI Interpreter on a CPU with bfloat16 instructions",
    )
    bits: Literal["auto", "off", "8", "4"] = Field(
        "auto",
        description="Packed weights in memory, 8 or 4 bits each; auto: only if the budget would not hold the model "
        "otherwise; off: never",
    )
    prove: Literal["idle", "off"] = Field(
        "idle", description="idle: a worker that has nothing to do proves which data types answer alike; off: never"
    )
    agree: Literal["weights", "exact"] = Field(
        "weights",
        description="What the workers of a system must have in common: weights: the checkpoints; exact: the data types "
        "that run too",
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads for the models; 0: all cores, but no more than the container's CPU quota"
    )

    # -- residency
    resident: Literal["1", "0", "auto"] = Field(
        "1", description="1: one model at a time; 0: unload after every batch; auto: as many as fit"
    )
    memory_budget: Annotated[int | float | None, BeforeValidator(_budget)] = Field(
        None,
        description="Budget for resident models and working memory: a size (`4GiB`) or a share of the device's memory "
        "(`80%`, the default)",
    )
    idle_unload_s: Seconds = Field(300, description="Idle time after which a worker unloads its models, seconds")
    host_cache: Size = Field(2 << 30, description="Maximum pinned host memory for weights to copy to a GPU")

    # -- audio
    audio_max_bytes: Size = Field(256 << 20, description="Maximum size of an audio file")
    audio_max_s: Annotated[float, Field(gt=0)] = Field(4 * 3600, description="Maximum duration of the audio, seconds")
    audio_max_channels: Annotated[int, Field(ge=1)] = Field(32, description="Maximum number of channels")
    audio_max_rate: Annotated[int, Field(ge=8000)] = Field(384_000, description="Maximum sample rate, Hz")

    # -- scribe
    guards: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_guards)] = Field(
        GUARDS, description="Guards against invented text: `all`, `none`, or a comma-separated list of names"
    )
    scribe_context: Literal["full", "fast"] = Field(
        "full",
        description="fast: on a CPU, skip most of the padding for recordings under 20 s; a few words may differ. "
        "Ignored on a card, where it is slower",
    )
    scribe_beam: Annotated[Literal["auto"] | int, BeforeValidator(_beam)] = Field(
        "auto",
        description="Beam size of the Scribe's search, 1 (greedy) to 10; auto: 5. With a vocabulary of phrases, and "
        "at a temperature above 0, there is no search",
    )
    scribe_previous: Literal["off", "on"] = Field(
        "off",
        description="on: a window of a recording over 30 s is decoded after the text of the window before, and its "
        "windows one after the other. Not for a vocabulary",
    )
    vad_threshold: Share = Field(0.35, description="Frames above this probability are voiced; 0 disables the guard")
    no_speech_threshold: Share = Field(
        0.5, description="Windows with p(no speech) above this count as silent; 1 disables the guard"
    )
    vocabulary_floor: Annotated[float, Field(ge=0)] = Field(
        3.5,
        description="The answer is `unknown` if the best phrase's log-probability (natural) is below minus this value; "
        "the limit is 1 lower for each token after the first, and 3 lower for a vocabulary of over 200 tokens",
    )
    vocabulary_margin: Annotated[float, Field(ge=0)] = Field(
        1.7,
        description="The answer is `unknown` if the free transcription's log-probability (natural) exceeds the best "
        "phrase's by more than this, or by 6.3 more for a vocabulary of over 200 tokens",
    )

    # -- interpreter
    intents: Path | None = Field(None, description="Label file to use instead of the built-in intents.toml")
    template: str = Field("This text is about {}.", description="Hypothesis template for NLI checkpoints")
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.05, description="Softmax temperature over cosines (sentence encoders)"
    )
    unknown_cosine: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.27,
        description="The intent is `unknown` if the best cosine is below this (sentence encoders); the cosines of "
        "labels without phrasings are adjusted to it by the number of labels",
    )
    unknown_score: Share = Field(
        0.5,
        description="The intent is `unknown` if the best label's probability of entailment against contradiction is "
        "below this (NLI)",
    )
    interpreter_phrasings: Annotated[int, Field(ge=0)] = Field(
        0, description="Phrasings of each label to test with an NLI model, one forward pass each; 0: all"
    )
    interpreter_tokens: Annotated[int, Field(ge=1)] = Field(
        4096, description="Maximum tokens per forward pass of the Interpreter, padding included"
    )
    interpreter_cache: Annotated[int, Field(ge=0)] = Field(
        200_000, description="Number of scores cached for texts seen before (about 100 bytes each); 0: no cache"
    )

    @property
    def names_a_server(self) -> bool:
        """Whether somebody has set where Redis is, so that there is a running system to use."""
        return "redis_url" in self.model_fields_set

    def batch_of(self, stage: str) -> int:
        """The maximum batch size of a stage."""
        return self.batch.get(stage, self.batch.get("*", 8))

    def model_of(self, stage: str) -> str | None:
        """The setting that replaces the profile's checkpoint of a stage, if any."""
        chosen: str | None = getattr(self, f"{stage}_model", None)
        return chosen

    @classmethod
    def read(cls, **given: Any) -> "Settings":
        """Read the settings of this process. Raises BadSetting naming the first invalid key."""
        try:
            return cls(**given)
        except ValidationError as exc:
            first = exc.errors()[0]
            key = "GOLEM_" + str(first["loc"][0]).upper() if first["loc"] else "GOLEM_*"
            why = first["msg"].removeprefix("Value error, ")
            raise BadSetting(f"{key}={first['input']!r}: {why}.") from None
