"""Scores each phrase of a vocabulary against the audio by running Whisper's decoder over the token tree.

A spelling's log-probability is that of its tokens and of <|endoftext|> after the prompt, without suppression; that of a
phrase is the logsumexp over its spellings. The search is depth first, the likeliest prefixes first, dozens in a batch.
A prefix far less likely than the best complete phrase is pruned (branch and bound): more tokens can only make it less
likely, and everything pruned has together less than a thousandth of the best phrase's probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.scribe.vocabulary.choice import Tree, logaddexp
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, Decoder, attend, split
from golem_chain.workers.stages.transformers_types import Model
from golem_chain.workers.store.packed.dense import dense, embed, project

#: Maximum prefixes in one decoder batch: the logits of one take 200 KB.
_AT_ONCE = 32
#: Maximum total probability of the pruned prefixes relative to the best phrase, natural log.
_LEFT = -7.0
#: A phrase below this log-probability was not said; pruning uses this bound while no phrase is above it.
_HOPELESS = -12.0
#: Number of likeliest tokens whose logits are computed exactly when the others use a faster dtype.
_EXACT = 64
#: Maximum bytes of keys and values in one batch of prefixes; batches of long prefixes are smaller.
_CACHE_BYTES = 32 << 20


@dataclass(frozen=True)
class _Prefixes:
    """Prefixes of one depth whose last token the decoder has not processed yet, likeliest first."""

    before: Cross  # keys and values of all tokens but the last, (rows, heads, tokens, head width)
    rows: list[int]  # row of each prefix in `before`
    tokens: list[int]  # last token of each prefix
    nodes: list[int]
    logprobs: list[float]  # of the whole prefix

    def cut(self, most: int, floor: float) -> "tuple[_Prefixes, _Prefixes]":
        """Split into the prefixes to run now and those to run later, without those less likely than `floor`."""
        likely = sum(logprob >= floor for logprob in self.logprobs)
        return self._part(0, min(most, likely)), self._part(min(most, likely), likely)

    def _part(self, low: int, high: int) -> "_Prefixes":
        return _Prefixes(
            self.before, self.rows[low:high], self.tokens[low:high], self.nodes[low:high], self.logprobs[low:high]
        )


class Scorer:
    """Scores token trees against windows, one at a time, with one loaded model."""

    def __init__(self, model: Model, end: int, product: torch.dtype | None = None) -> None:
        """`end`: the <|endoftext|> token; `product`: a faster dtype for the logits of unlikely tokens."""
        self._model, body = model, model.model.decoder
        self._layers = list(body.layers)
        self._embed = body.embed_tokens
        self._positions: torch.Tensor = body.embed_positions.weight
        self._norm, self._out = body.layer_norm, model.proj_out
        self._heads: int = self._layers[0].self_attn.num_heads
        self._end = end
        faster = product not in (None, self._positions.dtype)
        self._quick = dense(self._out, product) if product is not None and faster else None

    @torch.inference_mode()
    def score(
        self, cross: Cross, prompt: Sequence[int], tree: Tree, phrases: int, slack: float | None = None
    ) -> list[float]:
        """The log-probability of each phrase of the tree; -inf if it is far behind the best.

        `cross`: keys and values of one window, (1, heads, frames, head width); `prompt`: from <|startoftranscript|> on;
        `slack`: how far behind the best a prefix is pruned, natural log; None: so far that all pruned are negligible.
        """
        totals, top = [-math.inf] * phrases, -math.inf
        if slack is None:
            slack = math.log(sum(map(len, tree.ends))) - _LEFT
        cache = self._read(cross, prompt[:-1])
        waiting = [_Prefixes(cache, [0], [prompt[-1]], [0], [0.0])]
        while waiting:
            floor = max(top, _HOPELESS) - slack
            now, later = waiting.pop().cut(self._most(cache, waiting), floor)
            if later.nodes:
                waiting.append(later)
            if not now.nodes:
                continue
            hidden, past = self._advance(cross, now.before, now.rows, now.tokens)
            norms = self._norms(hidden)
            for row, gained in self._ended(tree, now, hidden, norms):
                for phrase in tree.ends[now.nodes[row]]:
                    totals[phrase] = logaddexp(totals[phrase], gained)
                    top = max(top, totals[phrase])
            if following := self._following(tree, now, hidden, norms, past):
                waiting.append(following)
        return totals

    def _read(self, cross: Cross, tokens: Sequence[int]) -> Cross:
        """The keys and values of the tokens before the tree, (1, heads, tokens, head width)."""
        keys = cross[0][0]
        encoded = keys.new_empty(1, 0, keys.shape[1] * keys.shape[3])  # `cross` stands for it
        return Decoder(self._model, encoded, cross).read(torch.tensor([tokens], dtype=torch.long, device=keys.device))

    def _ended(self, tree: Tree, now: _Prefixes, hidden: torch.Tensor, norms: torch.Tensor) -> list[tuple[int, float]]:
        """The rows that are complete spellings, with their log-probabilities."""
        rows = [row for row, node in enumerate(now.nodes) if tree.ends[node]]
        ends = self._logprobs(hidden, norms, rows, [self._end] * len(rows))
        return [(row, now.logprobs[row] + end) for row, end in zip(rows, ends, strict=True)]

    def _following(
        self, tree: Tree, now: _Prefixes, hidden: torch.Tensor, norms: torch.Tensor, past: Cross
    ) -> _Prefixes | None:
        """The children of these prefixes, likeliest first."""
        found = [(row, token, node) for row, at in enumerate(now.nodes) for token, node in tree.children[at].items()]
        if not found:
            return None
        rows, tokens, nodes = zip(*found, strict=True)
        each = self._logprobs(hidden, norms, rows, tokens)
        gained = [now.logprobs[row] + one for row, one in zip(rows, each, strict=True)]
        order = sorted(range(len(gained)), key=lambda place: -gained[place])
        return _Prefixes(
            past,
            [rows[place] for place in order],
            [tokens[place] for place in order],
            [nodes[place] for place in order],
            [gained[place] for place in order],
        )

    def _most(self, cache: Cross, waiting: Sequence[_Prefixes]) -> int:
        """Maximum size of the next batch of prefixes."""
        keys = waiting[-1].before[0][0] if waiting else cache[0][0]
        each = 2 * len(self._layers) * (keys.shape[2] + 2) * keys.shape[1] * keys.shape[3] * keys.element_size()
        return max(1, min(_AT_ONCE, _CACHE_BYTES // each))

    def _advance(
        self, cross: Cross, before: Cross, rows: Sequence[int], tokens: Sequence[int]
    ) -> tuple[torch.Tensor, Cross]:
        """Run one token for each row: last hidden states (n, width), and the extended keys and values."""
        device = self._positions.device
        index = torch.tensor(rows, device=device)
        depth = before[0][0].shape[2]
        hidden = embed(self._embed, torch.tensor(tokens, device=device)) + self._positions[depth]
        past: Cross = []
        for layer, (old_keys, old_values), (sound_keys, sound_values) in zip(self._layers, before, cross, strict=True):
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)[:, None]
            keys = torch.cat([old_keys[index], split(attention.k_proj(normed), self._heads)], 2)
            values = torch.cat([old_values[index], split(attention.v_proj(normed), self._heads)], 2)
            past.append((keys, values))
            hidden = hidden + attend(attention, normed, keys, values)[:, 0]
            attention = layer.encoder_attn
            # All rows attend to the same audio: as one sequence of queries they need no copies of its keys and values.
            normed = layer.encoder_attn_layer_norm(hidden)[None]
            hidden = hidden + attend(attention, normed, sound_keys, sound_values)[0]
            inner = layer.fc1(layer.final_layer_norm(hidden))
            hidden = hidden + layer.fc2(layer.activation_fn(inner))
        return self._norm(hidden), past

    def _norms(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logsumexp of all logits, float32 (n,). Reading the vocabulary matrix is most of the work of a tiny model:
        with a faster dtype only the likeliest tokens, which dominate the sum, are computed again exactly."""
        if self._quick is None:
            logits = project(self._out, hidden).float()
        else:
            logits = F.linear(hidden.to(self._quick.dtype), self._quick).float()
            likely = logits.topk(_EXACT).indices
            logits.scatter_(1, likely, (embed(self._out, likely) @ hidden[:, :, None])[:, :, 0].float())
        top = logits.amax(-1, keepdim=True)
        return (logits - top).exp_().sum(-1).log() + top[:, 0]  # six times as fast as torch's logsumexp on a CPU

    def _logprobs(
        self, hidden: torch.Tensor, norms: torch.Tensor, rows: Sequence[int], tokens: Sequence[int]
    ) -> list[float]:
        """Log-probabilities of single tokens, each following one of the rows."""
        index = torch.tensor(rows, dtype=torch.long, device=hidden.device)
        out = embed(self._out, torch.tensor(tokens, dtype=torch.long, device=hidden.device))
        found: list[float] = ((hidden[index] * out).sum(-1).float() - norms[index]).tolist()
        return found
