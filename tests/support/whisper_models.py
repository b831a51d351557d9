"""Small Whispers with random weights, tokenizer and feature extractor, for the tests of the Scribe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.scribe.engine import Recording, Scribe
from golem_chain.workers.store.load import Weights
from tests.support.text_models import byte_tokens

TEXT = 560  # number of text tokens; special tokens follow
LANGUAGES = ("en", "de", "ru")
TIMES = 1501


@dataclass
class Named:
    """The fields of a `Checkpoint` that errors show."""

    id: str
    revision: str = "1"


class HeldWhisper(Weights):
    """A stand-in for `Weights` for the Scribe."""

    checkpoint: Any

    def __init__(self, folder: Path, model: Any) -> None:
        self._folder, self.model = folder, model
        self.checkpoint = Named(folder.name)
        self.config = AutoConfig.from_pretrained(folder)
        self.dtype, self.device = model.dtype, torch.device("cpu")
        self.bits = self.product = None
        self.nbytes = sum(parameter.nbytes for parameter in model.parameters())

    @property
    def folder(self) -> Path:
        return self._folder

    def load(self) -> Any:
        return self.model

    def unload(self) -> None:
        pass


def generation(*, multilingual: bool) -> GenerationConfig:
    """Return a generation config with token ids in the order of Whisper's vocabularies."""
    names = ["end", "start", *LANGUAGES, "translate", "transcribe", "lm", "prev", "nospeech", "notimestamps"]
    ids = {name: TEXT + n for n, name in enumerate(names)}
    known = {
        "lang_to_id": {f"<|{code}|>": ids[code] for code in LANGUAGES},
        "task_to_id": {task: ids[task] for task in ("translate", "transcribe")},
    }
    return GenerationConfig(
        bos_token_id=ids["end"],
        eos_token_id=ids["end"],
        pad_token_id=ids["end"],
        decoder_start_token_id=ids["start"],
        no_timestamps_token_id=ids["notimestamps"],
        suppress_tokens=[3, 4, 5, *(ids[name] for name in names[1:-1])],
        begin_suppress_tokens=[7, ids["end"]],
        max_initial_timestamp_index=50,
        max_length=60,
        is_multilingual=multilingual,
        **(known if multilingual else {}),
    )


def whisper(folder: Path, *, multilingual: bool, dtype: torch.dtype = torch.float32) -> HeldWhisper:
    """Return a Whisper with two layers, its weights large enough for distinct scores."""
    torch.manual_seed(11)
    folder.mkdir(parents=True, exist_ok=True)
    made = generation(multilingual=multilingual)
    vocab, merges = byte_tokens(folder, [])
    assert len(vocab) <= TEXT + 60
    from tokenizers import Tokenizer, decoders, models

    kept = {token: number for token, number in vocab.items() if number < TEXT}
    backend = Tokenizer(models.BPE(kept, [pair for pair in merges if "".join(pair) in kept]))
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)
    config = WhisperConfig(
        vocab_size=made.no_timestamps_token_id + 1 + TIMES,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=64,
        init_std=0.3,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
        decoder_start_token_id=made.decoder_start_token_id,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval().to(dtype)
    model.generation_config = made
    config.architectures = ["WhisperForConditionalGeneration"]
    config.save_pretrained(folder)
    made.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return HeldWhisper(folder, model)


OFF = {"vad_threshold": 0, "no_speech_threshold": 1}


def scribe(held: HeldWhisper, **given: Any) -> Scribe:
    engine = Scribe(held, Settings.read(_env_file=None, **given))
    engine.load()
    return engine


def ready(engine: Scribe, *asks: Recording) -> list[Any]:
    prepared = [engine.prepare(ask) for ask in asks]
    assert all(isinstance(entry, Ready) for entry in prepared)
    return [entry.item for entry in prepared if isinstance(entry, Ready)]
