"""The quest profile's three models in full size with random weights, for measurements without a model hub.

Shapes from the published configs of openai/whisper-tiny, valhalla/distilbart-mnli-12-3 and distilbert/distilgpt2.
The tokenizers are those of the bundled models, so that real words have a realistic number of tokens.
"""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from golem_chain.shared.json_object import JsonObject
from golem_chain.shared.settings import Settings
from golem_chain.workers.store.formats.safetensors_files import Planned, write_tensors
from golem_chain.workers.store.manifest import find

#: Stage -> (name, config class, config arguments, model class).
SHAPES: dict[str, tuple[str, str, JsonObject, str]] = {
    "scribe": ("whisper-tiny", "WhisperConfig", {}, "WhisperForConditionalGeneration"),  # defaults are tiny's
    "interpreter": (
        "distilbart-mnli-12-3",
        "BartConfig",
        {
            "encoder_layers": 12,
            "decoder_layers": 3,
            "d_model": 1024,
            "encoder_ffn_dim": 4096,
            "decoder_ffn_dim": 4096,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
            "vocab_size": 50265,
            "num_labels": 3,
            "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
            "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2},
        },
        "BartForSequenceClassification",
    ),
    "oracle": ("distilgpt2", "GPT2Config", {"n_layer": 6}, "GPT2LMHeadModel"),
}
#: The same three kinds of model, so small that almost all of a job's cost is overhead.
SMALL: dict[str, tuple[str, str, JsonObject, str]] = {
    "scribe": (
        "small-whisper",
        "WhisperConfig",
        {
            "d_model": 64,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_target_positions": 12,  # ends the text, which random weights never do
        },
        "WhisperForConditionalGeneration",
    ),
    "interpreter": (
        "small-bart",
        "BartConfig",
        SHAPES["interpreter"][2]
        | {
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
        },
        "BartForSequenceClassification",
    ),
    "oracle": ("small-gpt2", "GPT2Config", {"n_layer": 1, "n_embd": 32, "n_head": 2}, "GPT2LMHeadModel"),
}
#: So many weights of a tensor are drawn, then they repeat: drawing billions takes minutes. A prime, so that no two rows
#: of a matrix are the same.
_DRAWN = 1_000_003
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def write_shape(
    stage: str,
    folder: Path,
    tokenizer_from: Path,
    shapes: dict[str, tuple[str, str, JsonObject, str]] = SHAPES,
    *,
    dtype: torch.dtype = torch.float32,
    chats: bool = False,
) -> Path:
    """Write a checkpoint folder as a hub would provide it: weights from N(0, 0.02) with a fixed seed, one tensor in
    memory at a time, of which a large one repeats. `chats` keeps the tokenizer's chat template."""
    name, config_class, arguments, model_class = shapes[stage]
    target = folder / name
    if (target / "config.json").is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_from)
    config = getattr(transformers, config_class)(**arguments, **_specials(stage, tokenizer))
    with torch.device("meta"):
        model = getattr(transformers, model_class)(config)
    config.architectures = [model_class]
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    source = torch.Generator().manual_seed(7)

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        count = math.prod(shape)
        drawn = torch.randn(min(count, _DRAWN), generator=source) * 0.02
        return drawn.repeat(-(-count // max(len(drawn), 1)))[:count].view(shape)

    planned = [
        Planned(key, tuple(tensor.shape), torch.float32, partial(draw, tuple(tensor.shape)))
        for key, tensor in model.state_dict().items()
        if key not in tied
    ]
    write_tensors(target / "model.safetensors", planned, dtype)
    for file in (*_TOKENIZER_FILES, "preprocessor_config.json", "generation_config.json"):
        wanted = stage == "scribe" or file in _TOKENIZER_FILES
        if wanted and (tokenizer_from / file).is_file():
            shutil.copy(tokenizer_from / file, target / file)
    if not chats:
        _plain_tokenizer(target / "tokenizer_config.json", stage)
    if stage == "interpreter":
        _pairs_as_bart(target / "tokenizer.json", tokenizer)
    (target / "config.json").write_text(config.to_json_string())  # last: marks the folder as complete
    return target


def _specials(stage: str, tokenizer: Any) -> dict[str, int]:
    """Return the ids of special tokens for the config. BART's end token must differ from its padding token."""
    if stage == "scribe":
        return {}
    names = dict.fromkeys(("bos", "eos", "pad"), "<|endoftext|>")
    if stage == "interpreter":
        names |= {"bos": "<|im_start|>", "eos": _END, "decoder_start": _END, "forced_eos": _END}
    return {f"{key}_token_id": int(tokenizer.convert_tokens_to_ids(name)) for key, name in names.items()}


_END = "<|im_end|>"  # stands for BART's </s>


def _pairs_as_bart(path: Path, tokenizer: Any) -> None:
    """Make the tokenizer encode premise and hypothesis as BART does: <s> A </s></s> B </s>."""
    start, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<|im_start|>", _END))
    a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    written = json.loads(path.read_text())
    written["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [start, a, end],
        "pair": [start, a, end, end, b, end],
        "special_tokens": {
            name: {"id": name, "ids": [tokenizer.convert_tokens_to_ids(name)], "tokens": [name]}
            for name in ("<|im_start|>", _END)
        },
    }
    path.write_text(json.dumps(written))


def _plain_tokenizer(path: Path, stage: str) -> None:
    """Remove the chat template, which a plain language model does not have."""
    if stage == "scribe" or not path.is_file():
        return
    written = json.loads(path.read_text())
    written.pop("chat_template", None)
    if stage == "interpreter" or not written.get("pad_token"):
        written["pad_token"] = "<|endoftext|>"
    path.write_text(json.dumps(written))


def quest_shapes(settings: Settings, *, scribe: bool = True) -> Settings:
    """Return settings with the quest profile's shapes, which are written next to the store on first use.

    `scribe=False` keeps the bundled Scribe, because random weights never end a transcript.
    """
    beside = settings.store.parent / "shapes"
    oracle = find(settings, "oracle").folder
    folders = {
        "interpreter_model": str(write_shape("interpreter", beside, oracle)),
        "oracle_model": str(write_shape("oracle", beside, oracle)),
    }
    if scribe:
        folders["scribe_model"] = str(write_shape("scribe", beside, find(settings, "scribe").folder))
    return settings.model_copy(update=folders)


def small_shapes(settings: Settings) -> Settings:
    """Return settings with the small shapes."""
    beside, oracle = settings.store.parent / "shapes", find(settings, "oracle").folder
    folders = {
        f"{stage}_model": str(
            write_shape(stage, beside, find(settings, "scribe").folder if stage == "scribe" else oracle, SMALL)
        )
        for stage in SMALL
    }
    return settings.model_copy(update=folders)
