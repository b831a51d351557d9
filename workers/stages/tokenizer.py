"""Text to tokens for the language models: the tokenizer of a checkpoint, text made harmless, batches by length."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from golem_chain.shared.errors import ModelCorrupt


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a checkpoint's folder; it never asks the hub. Raises ModelCorrupt."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as exc:  # noqa: BLE001  a broken tokenizer.json raises anything, even bare Exception
        why = (str(exc).splitlines() or [type(exc).__name__])[0][:200]
        raise ModelCorrupt(f"The tokenizer in {folder} cannot be loaded ({why}): run `golem models pull`.") from None
    if not getattr(tokenizer, "is_fast", False):
        raise ModelCorrupt(f"The tokenizer in {folder} is not a fast one: choose a checkpoint with a tokenizer.json.")
    return tokenizer


def context_of(config: Any, tokenizer: Any) -> int:
    """Most tokens that one input may have: the smaller of what the tokenizer and the position table say."""
    positions = int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512)
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "xmod", "data2vec-text"):
        positions -= config.pad_token_id + 1  # their positions begin after the padding token's id
    return min(int(tokenizer.model_max_length), positions)


def harmless(text: str, tokenizer: Any) -> str:
    """The text without strings that the tokenizer reads as control tokens (`</s>`, `<|im_end|>`), so that nobody's
    words end a sentence for the model or speak as the system. What stands in their place cannot join to a new one."""
    specials = [token.content for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    if not specials or not any(special in text for special in specials):
        return text
    pattern = "|".join(re.escape(special) for special in sorted(specials, key=len, reverse=True))
    while (cleaned := re.sub(pattern, " ", text)) != text:
        text = cleaned
    return text


def cut_to(text: str, most: int, tokenizer: Any) -> str:
    """The beginning of the text that makes at most `most` tokens, ending where a token ends."""
    if text.isascii() and len(text) <= most:
        return text  # a token is a letter at least; letters beyond ASCII may take several
    text = text[: most * 32]  # bounds the work on a long text: words are shorter than that
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans = spans["offset_mapping"]
    return text if len(spans) <= most else text[: spans[most - 1][1]]


def by_length(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Indices in sub-batches, longest first, each of at most `most_tokens` with its padding (or a single one).

    Pure. Neighbours in length share a sub-batch, so that little is padded; the longest comes first, so that memory
    is at its highest at once and not at the end.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
