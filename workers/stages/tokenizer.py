"""Tokenizer helpers for the language models: loading, removing control tokens, truncation, batches by length."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.stages.transformers_types import ModelConfig, Tokenizer


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer from a checkpoint's folder, without network access. Raises ModelCorrupt."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # noqa: BLE001  a broken tokenizer.json can raise any type, even bare Exception
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise ModelCorrupt(f"The tokenizer in {folder} cannot be loaded ({why}): run `golem models pull`.") from None
    if not getattr(tokenizer, "is_fast", False):
        raise ModelCorrupt(f"The tokenizer in {folder} is not a fast tokenizer: use a checkpoint with tokenizer.json.")
    return tokenizer


def context_of(config: ModelConfig, tokenizer: Tokenizer) -> int:
    """Maximum tokens of one input: the smaller of the tokenizer's limit and the position table's size."""
    positions = int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512)
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "xmod", "data2vec-text"):
        positions -= config.pad_token_id + 1  # positions start after the padding token's id
    return min(int(tokenizer.model_max_length), positions)


def harmless(text: str, tokenizer: Tokenizer) -> str:
    """Replace strings that the tokenizer reads as control tokens (`</s>`, `<|im_end|>`) by blanks, so that a transcript
    cannot end the text or speak as the system. Repeats until none is left."""
    specials = [token.content for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    if not specials or not any(special in text for special in specials):
        return text
    pattern = "|".join(re.escape(special) for special in sorted(specials, key=len, reverse=True))
    while (cleaned := re.sub(pattern, " ", text)) != text:
        text = cleaned
    return text


def cut_to(text: str, most: int, tokenizer: Tokenizer) -> str:
    """The start of the text, at most `most` tokens, cut at the end of a token."""
    if text.isascii() and len(text) <= most:
        return text  # every token has at least one letter; non-ASCII letters may take several tokens
    text = text[: most * 32]  # bounds the work on a long text: tokens are shorter than that
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = spans["offset_mapping"]
    return text if len(spans) <= most else text[: spans[most - 1][1]]


def by_length(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Group indices into sub-batches, longest first, of at most `most_tokens` including padding (or a single item).

    Pure. Items of similar length share a sub-batch, which keeps padding small. The longest come first, so that memory
    peaks at the start.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
