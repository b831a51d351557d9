"""Running texts of any other causal language model, through transformers' own forward pass: left padding, a growing
cache, finished rows leave the batch. Rows join only when none runs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from golem_chain.workers.stages.oracle.row import Row
from golem_chain.workers.stages.sampling import Plan, RowRules, ban_repeats, choose
from golem_chain.workers.stages.transformers_types import Model


@torch.inference_mode()
def read_prefix(model: Model, prefix: Sequence[int]) -> Any:
    """Compute the key/value cache of a prefix that many rows share, for a batch of 1."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    tokens = torch.tensor([list(prefix)], device=model.device)
    model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


class ForeignTexts:
    """Running texts of a model of transformers. `read` is `read_prefix(model, prefix)`."""

    def __init__(self, model: Model, slots: int, ends: frozenset[int], prefix: Sequence[int], read: Any) -> None:
        self._model, self._slots, self._prefix, self._read = model, slots, list(prefix), read
        self._ends = torch.tensor(sorted(ends), dtype=torch.int64, device=model.device)
        self._rows: list[Row] = []
        self._cache: Any = None
        self._tokens = self._mask = self._positions = torch.empty(0)

    @property
    def rows(self) -> list[Row]:
        return self._rows

    @property
    def free(self) -> int:
        return 0 if self._rows else self._slots

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        from transformers import DynamicCache

        self._rows, device = list(rows), self._model.device
        self._cache = copy.deepcopy(self._read) if self._prefix else DynamicCache(config=self._model.config)
        if self._prefix and len(rows) > 1:
            self._cache.batch_repeat_interleave(len(rows))
        width = max(len(row.prompt) for row in rows)
        padded = [[0] * (width - len(row.prompt)) + list(row.prompt) for row in rows]
        self._tokens = torch.tensor(padded, device=device)
        mask = [[1] * len(self._prefix) + [0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
        self._mask = torch.tensor(mask, device=device)
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -width:]  # padding does not count
        return self._chosen(self._forward().index_fill_(1, self._ends, -torch.inf))

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, int]]:
        self._tokens = torch.tensor([[row.new[-1]] for row in self._rows], device=self._model.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._rows), 1)], dim=1)
        self._positions = self._positions[:, -1:] + 1
        return self._chosen(self._forward())

    @torch.inference_mode()
    def leave(self, rows: Sequence[Row]) -> None:
        kept = [place for place, row in enumerate(self._rows) if row not in rows]
        if not kept:
            self._cache = None
        elif len(kept) < len(self._rows):
            chosen = torch.tensor(kept, device=self._model.device)
            self._cache.batch_select_indices(chosen)
            self._mask, self._positions = self._mask[chosen], self._positions[chosen]
        self._rows = [self._rows[place] for place in kept]

    def _forward(self) -> torch.Tensor:
        """The next token's logits, (rows, vocabulary) float32."""
        output = self._model(
            input_ids=self._tokens,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float().clone()
        return logits

    def _chosen(self, logits: torch.Tensor) -> list[tuple[Row, int]]:
        rows, device = self._rows, self._model.device
        rules, plan = [row.rules for row in rows], Plan.of([row.rules for row in rows])
        vectors = RowRules.of(rules, [row.seed for row in rows], device)
        if plan.ngram:
            seen = [[*self._prefix, *row.prompt, *row.new] for row in rows]
            most = max(len(tokens) for tokens in seen)
            padded = torch.tensor([tokens + [0] * (most - len(tokens)) for tokens in seen], device=device)
            length = torch.tensor([len(tokens) for tokens in seen], device=device)
            ban_repeats(logits, padded, length, vectors.ngram, plan.ngram)
        step = torch.tensor([len(row.new) for row in rows], device=device)
        return list(zip(rows, choose(logits, vectors, step, plan).tolist(), strict=True))
