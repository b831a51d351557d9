"""Shapes of larger models from their published configs, written with random weights for measurements without a hub.

The shapes are those of the `config.json` in these repositories of the Hugging Face hub: openai/whisper-small,
openai/whisper-large-v3-turbo, facebook/bart-large-mnli, Qwen/Qwen2.5-0.5B-Instruct, Qwen/Qwen2.5-1.5B-Instruct. One
thing differs: Whisper has room for ten tokens after the prompt instead of 448, since random weights never end a text.
The tokenizers are those of whisper-base and SmolLM2.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from golem_chain.benchmarks.switch.shapes import SHAPES, write_shape
from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.manifest import find

TOKENS = 10  # new tokens of each text
_PROMPT_TOKENS = 4  # of Whisper: start, language, task, no timestamps


@dataclass(frozen=True)
class Shape:
    """A model's shape: classes of transformers, and what its config says."""

    stage: str
    name: str
    weights: int  # their number, as the published files have it; tied ones count once
    config_class: str
    config: JsonObject
    model_class: str


def _whisper(name: str, weights: int, width: int, layers: tuple[int, int], heads: int, **more: int) -> Shape:
    encoder, decoder = layers
    config = {
        "d_model": width,
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "max_target_positions": _PROMPT_TOKENS + TOKENS,
    }
    return Shape("scribe", name, weights, "WhisperConfig", config | more, "WhisperForConditionalGeneration")


def _qwen(name: str, weights: int, width: int, inner: int, layers: int, heads: int) -> Shape:
    config = {
        "vocab_size": 151936,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }
    return Shape("oracle", name, weights, "Qwen2Config", config, "Qwen2ForCausalLM")


WHISPER_SMALL = _whisper("whisper-small", 241_734_912, 768, (12, 12), 12, vocab_size=51865)
WHISPER_TURBO = _whisper(
    "whisper-large-v3-turbo", 808_878_080, 1280, (32, 4), 20, vocab_size=51866, num_mel_bins=128
)  # fmt: skip
BART = Shape(
    "interpreter",
    "bart-large-mnli",
    407_344_131,
    "BartConfig",
    SHAPES["interpreter"][2] | {"decoder_layers": 12},
    "BartForSequenceClassification",
)
QWEN_05 = _qwen("Qwen2.5-0.5B-Instruct", 494_032_768, 896, 4864, 24, 14)
QWEN_15 = _qwen("Qwen2.5-1.5B-Instruct", 1_543_714_304, 1536, 8960, 28, 12)

#: Chains of three: models for a card of 2 to 4 GB, and what one would wish for there.
SETS: dict[str, tuple[Shape, ...]] = {
    "small": (WHISPER_SMALL, BART, QWEN_05),
    "large": (WHISPER_TURBO, BART, QWEN_15),
}
ALL = (WHISPER_SMALL, WHISPER_TURBO, BART, QWEN_05, QWEN_15)


def disk_bytes(shapes: tuple[Shape, ...]) -> int:
    """Bytes on disk in all: each weight in bfloat16 as written and as pulled, and packed in 8 and in 4 bits with their
    scales."""
    return sum(6 * shape.weights for shape in shapes)


def write(shape: Shape, folder: Path, settings: Settings) -> Path:
    """Write a checkpoint folder with random weights in bfloat16. The tokenizers are those of the settings' models."""
    tokenizer = find(settings, "scribe" if shape.stage == "scribe" else "oracle").folder
    given = {shape.stage: (shape.name, shape.config_class, shape.config, shape.model_class)}
    made = write_shape(shape.stage, folder, tokenizer, given, dtype=torch.bfloat16, chats=shape.stage == "oracle")
    if shape.stage == "scribe":
        features = made / "preprocessor_config.json"
        told = json.loads(features.read_text())
        features.write_text(json.dumps(told | {"feature_size": shape.config.get("num_mel_bins", 80)}))
    return made
