"""Owns the running texts of a decoder: their slots, and what a step needs of each on the device.

On a CPU the rows that run are the first slots, so that a step computes no others. On a card a step computes all slots,
with shapes and addresses that do not change; what free ones give is not looked at."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from golem_chain.workers.stages.oracle.decoder import gpt2, llama
from golem_chain.workers.stages.oracle.decoder.attention import Memory, Prompts, Step
from golem_chain.workers.stages.oracle.decoder.cache import Cache, Prefix, Shape
from golem_chain.workers.stages.oracle.row import Row
from golem_chain.workers.stages.sampling import Plan, RowRules, ban_repeats, choose


class Decoder(Protocol):
    """The forward pass of a family of models."""

    shape: Shape
    vocabulary: int

    def prepare(self, length: int, dtype: torch.dtype, device: torch.device) -> None:
        """Make ready for texts of at most so many tokens."""
        ...

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Hidden states (n, width) for ids and positions, (n,) int64 each."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, width) → (n, vocabulary) float32."""
        ...


def decoder_of(model: Any, longest: int) -> Decoder | None:
    """The decoder of this model for texts of at most so many tokens; None if its architecture is not known here."""
    if llama.fits(model, longest):
        return llama.Llama(model)
    return gpt2.Gpt2(model) if gpt2.fits(model, longest) else None


@torch.inference_mode()
def read_prefix(decoder: Decoder, tokens: Sequence[int], dtype: torch.dtype, device: torch.device) -> Prefix:
    """Keys and values of tokens that many rows begin with."""
    decoder.prepare(len(tokens), dtype, device)
    places = torch.arange(len(tokens), device=device)
    memory = Prompts(None, places[:1], places[None])
    decoder.hidden(torch.tensor(list(tokens), device=device), places, memory)
    return Prefix(tuple(tokens), *(torch.stack(list(kept)) for kept in zip(*memory.kept, strict=True)))


@torch.inference_mode()
def logits_along(
    decoder: Decoder, tokens: Sequence[int], prefix: Prefix | None, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """The logits after each of the tokens that follow the prefix, float32 (n, vocabulary)."""
    decoder.prepare(len(tokens), dtype, device)
    start = len(prefix.tokens) if prefix else 0
    places = torch.arange(start, len(tokens), device=device)
    cache = Cache(decoder.shape, 1, len(tokens), prefix, dtype, device)
    memory = Prompts(cache, torch.zeros_like(places[:1]), places[None])
    return decoder.logits(decoder.hidden(torch.tensor(list(tokens[start:]), device=device), places, memory))


class SlottedTexts:
    """Running texts in a static cache of so many slots, each with room for `length` tokens, the prefix included."""

    def __init__(
        self,
        decoder: Decoder,
        slots: int,
        length: int,
        ends: frozenset[int],
        prefix: Prefix | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        decoder.prepare(length, dtype, device)
        self._decoder, self._length, self._device = decoder, length, device
        with torch.inference_mode():
            self._cache = Cache(decoder.shape, slots, length, prefix, dtype, device)
            whole = torch.zeros(slots, dtype=torch.int64, device=device)
            self._rules = RowRules(
                whole.float() + 1, whole == 0, whole.clone(), whole.float() - 1, whole.clone(), whole.clone()
            )
            self._token, self._position, self._count = whole.clone(), whole.clone(), whole.clone()
            self._numbers = torch.arange(slots, device=device)
            self._ends = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
        self._seen: torch.Tensor | None = None  # (slots, length), once a row must not repeat n-grams
        self._slots: list[Row | None] = [None] * slots
        self._plan = Plan.of([])
        self._compact = device.type == "cpu"

    @property
    def rows(self) -> list[Row]:
        return [row for row in self._slots if row is not None]

    @property
    def free(self) -> int:
        return self._slots.count(None)

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        slots = [number for number, row in enumerate(self._slots) if row is None][: len(rows)]
        for number, row in zip(slots, rows, strict=True):
            self._slots[number] = row
        self._plan = Plan.of([row.rules for row in self.rows])
        width = max(len(row.prompt) for row in rows)
        given = torch.tensor(
            [
                [number, len(row.prompt), *row.prompt, *[0] * (width - len(row.prompt))]
                for number, row in zip(slots, rows, strict=True)
            ],
            device=self._device,
        )
        own, lengths, ids = given[:, 0].contiguous(), given[:, 1], given[:, 2:]
        rules = RowRules.of([row.rules for row in rows], [row.seed for row in rows], self._device)
        start = len(self._cache.prefix.tokens) if self._cache.prefix else 0
        places = torch.arange(start, start + width, device=self._device).expand(len(rows), -1)
        memory = Prompts(self._cache, own, places)
        hidden = self._decoder.hidden(ids.flatten(), places.flatten(), memory)
        last = hidden.view(len(rows), width, -1)[self._numbers[: len(rows)], lengths - 1]
        logits = self._decoder.logits(last).index_fill_(1, self._ends, -torch.inf)
        for vector, values in zip(self._rules.vectors, rules.vectors, strict=True):
            vector.index_copy_(0, own, values)
        self._remember(own, ids, start)
        return self._choose(logits, own, rules, start + lengths, rows)

    def _remember(self, own: torch.Tensor, ids: torch.Tensor, start: int) -> None:
        """Note the tokens of rows that join, if any row's rules ask for them."""
        if not self._plan.ngram:
            return
        if self._seen is None:
            self._seen = torch.zeros(len(self._slots), self._length, dtype=torch.int64, device=self._device)
            if self._cache.prefix:
                self._seen[:, :start] = torch.tensor(self._cache.prefix.tokens, device=self._device)
        self._seen[own, start : start + ids.shape[1]] = ids

    def _choose(
        self, logits: torch.Tensor, own: torch.Tensor, rules: RowRules, length: torch.Tensor, rows: Sequence[Row]
    ) -> list[tuple[Row, int]]:
        """Choose the first tokens of rows that join."""
        count = torch.zeros_like(own)
        plan = Plan.of([row.rules for row in rows])
        if plan.ngram and self._seen is not None:
            ban_repeats(logits, self._seen[own], length, rules.ngram, plan.ngram)
        token = choose(logits, rules, count, plan)
        self._token.index_copy_(0, own, token.clamp(min=0))
        self._position.index_copy_(0, own, length)
        self._count.index_copy_(0, own, count + 1)
        return list(zip(rows, token.tolist(), strict=True))

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, int]]:
        count = len(self._slots) - self.free if self._compact else len(self._slots)
        start = len(self._cache.prefix.tokens) if self._cache.prefix else 0
        reached = start + max(len(row.prompt) + len(row.new) for row in self.rows) - 1
        token, position, done = self._token[:count], self._position[:count], self._count[:count]
        rules = self._rules.first(count)
        memory = Step(self._cache, self._numbers[:count], position, reached)
        logits = self._decoder.logits(self._decoder.hidden(token, position, memory))
        if self._plan.ngram and self._seen is not None:
            seen = self._seen[:count]
            seen.scatter_(1, position[:, None], token[:, None])
            ban_repeats(logits, seen, position + 1, rules.ngram, self._plan.ngram)
        chosen = choose(logits, rules, done, self._plan)
        torch.clamp(chosen, min=0, out=token)
        position.add_(1).clamp_(max=self._length - 1)
        done.add_(1)
        return [
            (row, found) for row, found in zip(self._slots[:count], chosen.tolist(), strict=True) if row is not None
        ]

    @torch.inference_mode()
    def leave(self, rows: Sequence[Row]) -> None:
        for row in rows:
            slot = self._slots.index(row)
            self._slots[slot] = None
            if row.broken:
                self._cache.clear(slot)
        if self._compact:
            self._close_gaps()
        self._plan = Plan.of([row.rules for row in self.rows])

    def _close_gaps(self) -> None:
        """Move the last rows to the free slots before them."""
        while None in (filled := self._slots[: len(self.rows)]):
            target = filled.index(None)
            source = max(number for number, row in enumerate(self._slots) if row is not None)
            self._slots[target], self._slots[source] = self._slots[source], None
            self._cache.move(source, target)
            held = [*self._rules.vectors, self._token, self._position, self._count]
            for vector in held if self._seen is None else [*held, self._seen]:
                vector[target] = vector[source]
