"""Batched generation with a causal language model: left padding, one cache, finished rows leave the batch."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from golem_chain.workers.stages.sampling import Rules, allowed, choose
from golem_chain.workers.stages.transformers_types import Model


@dataclass
class Row:
    """A text being generated."""

    prompt: Sequence[int]  # what follows the shared prefix; at least one token
    rules: Rules
    seed: int
    ended: Callable[[Sequence[int]], bool] = lambda new: False  # noqa: ARG005  called after each new token
    new: list[int] = field(default_factory=list)
    complete: bool = False  # ended by an end token
    enough: bool = False  # ended by `ended`
    broken: bool = False  # ended by logits that are not finite


def read_prefix(model: Model, prefix: Sequence[int]) -> Any:
    """Compute the key/value cache of a prefix that many rows share, for a batch of 1; None if the prefix is empty."""
    from transformers import DynamicCache

    if not prefix:
        return None
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(prefix)], device=model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache


def generate(model: Model, rows: Sequence[Row], ends: frozenset[int], prefix: Sequence[int], read: Any) -> None:
    """Fill each row's `new`, without the end token. `ends` are the end tokens, `read` is `read_prefix(model, prefix)`.
    End tokens are not allowed as the first token: a reply has at least one token."""
    from transformers import DynamicCache

    live = [row for row in rows if row.rules.max_new_tokens > 0]
    if not live:
        return
    cache = DynamicCache(config=model.config) if read is None else copy.deepcopy(read)
    if read is not None and len(live) > 1:
        cache.batch_repeat_interleave(len(live))
    width = max(len(row.prompt) for row in live)
    tokens = torch.tensor([[0] * (width - len(row.prompt)) + list(row.prompt) for row in live], device=model.device)
    mask = torch.tensor(
        [[1] * len(prefix) + [0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in live],
        device=model.device,
    )
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]  # padding does not count
    step = 0
    while live:
        with torch.inference_mode():
            output = model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits = output.logits[:, -1].float().cpu()
        for row, scores in zip(live, logits, strict=True):
            _advance(row, scores, prefix, ends, step)
        kept = [place for place, row in enumerate(live) if not _done(row)]
        if len(kept) < len(live):
            live = [live[place] for place in kept]
            if not live:
                break
            chosen = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(chosen)
            mask, positions = mask[chosen], positions[chosen]
        tokens = torch.tensor([[row.new[-1]] for row in live], device=model.device)
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
        positions = positions[:, -1:] + 1
        step += 1


def _advance(row: Row, logits: torch.Tensor, prefix: Sequence[int], ends: frozenset[int], step: int) -> None:
    """Add one token to the row, or end it."""
    if not bool(torch.isfinite(logits.max())):  # the maximum is NaN if any logit is
        row.broken = True
        return
    seen = [*prefix, *row.prompt, *row.new] if row.rules.no_repeat_ngram_size else ()
    ids, scores = allowed(logits, seen, row.rules, never=() if step else sorted(ends))
    token = choose(ids, scores, row.seed, step)
    if token in ends:
        row.complete = True
        return
    row.new.append(token)
    row.enough = row.ended(row.new)


def _done(row: Row) -> bool:
    return row.complete or row.enough or row.broken or len(row.new) >= row.rules.max_new_tokens
