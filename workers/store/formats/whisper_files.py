"""Writes the files that accompany a converted Whisper's weights: model, generation, tokenizer and feature configs.

They follow openai/whisper-tiny(.en) on the hub; token ids come from the tokenizer and are never assumed.
"""

import json
import re

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.shared.json_object import JsonObject

_TASKS = ("transcribe", "translate")
_TIME_STEP_S = 0.02
_TIME_LAST = 1500  # timestamps run from <|0.00|> to <|30.00|>
_FIRST_MULTILINGUAL_START = 50258  # <|startoftranscript|>; 50257 in English-only vocabularies
_LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")


def whisper_files(shape: dict[str, object], source: JsonObject, tokenizer: JsonObject, name: str) -> dict[str, str]:
    """File name → text. `shape` comes from `ctranslate2.whisper`, `source` is the config.json beside model.bin,
    `tokenizer` is tokenizer.json. Raises ModelCorrupt if the parts do not match."""
    added = _added(tokenizer, name)
    vocabulary = int(str(shape["vocab_size"]))

    def token(text: str) -> int:
        if text not in added:
            raise ModelCorrupt(f"{name} cannot be converted: its tokenizer lacks {text}.")
        return added[text]

    end, start, bare = token("<|endoftext|>"), token("<|startoftranscript|>"), token("<|notimestamps|>")
    # English-only vocabularies start one token earlier. They have language tokens too, although they learnt none.
    multilingual = start >= _FIRST_MULTILINGUAL_START
    if vocabulary < bare + 1 + _TIME_LAST + 1:
        raise ModelCorrupt(f"{name} cannot be converted: its tokenizer has more tokens than the weights.")
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        **shape,
        **ids,
    }
    generation: JsonObject = {
        **ids,
        "suppress_tokens": _numbers(source, "suppress_ids", vocabulary, name),
        "begin_suppress_tokens": _numbers(source, "suppress_ids_begin", vocabulary, name),
        "no_timestamps_token_id": bare,
        "prev_sot_token_id": token("<|startofprev|>"),
        "max_initial_timestamp_index": 50,  # one second
        "max_length": shape["max_target_positions"],
        "return_timestamps": False,
        "is_multilingual": multilingual,
    }
    heads = source.get("alignment_heads")
    if isinstance(heads, list) and heads:
        generation["alignment_heads"] = heads
    if multilingual:
        languages = set(_numbers(source, "lang_ids", vocabulary, name))
        generation["lang_to_id"] = {
            text: index for text, index in added.items() if index in languages and _LANGUAGE.fullmatch(text)
        }
        generation["task_to_id"] = {task: token(f"<|{task}|>") for task in _TASKS}
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": shape["num_mel_bins"],
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "processor_class": "WhisperProcessor",
    }
    tokens = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
        **{f"{kind}_token": "<|endoftext|>" for kind in ("bos", "eos", "pad", "unk")},
    }
    files = {
        "config.json": config,
        "generation_config.json": generation,
        "preprocessor_config.json": features,
        "tokenizer_config.json": tokens,
    }
    texts = {file: json.dumps(value, indent=1) for file, value in files.items()}
    texts["tokenizer.json"] = json.dumps(_with_times(tokenizer, bare + 1), ensure_ascii=False)
    return texts


def _added(tokenizer: JsonObject, name: str) -> dict[str, int]:
    try:
        return {str(token["content"]): int(token["id"]) for token in tokenizer["added_tokens"]}
    except (KeyError, TypeError, ValueError):
        raise ModelCorrupt(f"{name} cannot be converted: its tokenizer.json is not a tokenizer.") from None


def _numbers(source: JsonObject, key: str, below: int, name: str) -> list[int]:
    numbers = source.get(key, [])
    if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < below for n in numbers):
        raise ModelCorrupt(f"{name} cannot be converted: {key} in its config.json is not a list of token ids.")
    return numbers


def _with_times(tokenizer: JsonObject, first: int) -> JsonObject:
    """Add <|0.00|>, <|0.02|> … <|30.00|> as in the hub's tokenizer. They are not special tokens, so that decoding can
    show them."""
    known = {token["id"] for token in tokenizer["added_tokens"]}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    times = [
        {"id": first + step, "content": f"<|{step * _TIME_STEP_S:.2f}|>", **plain}
        for step in range(_TIME_LAST + 1)
        if first + step not in known
    ]
    return {**tokenizer, "added_tokens": [*tokenizer["added_tokens"], *times]}
