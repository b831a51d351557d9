"""How likely is each phrase of a vocabulary, given the sound? Whisper's decoder over a tree of tokens.

The log-probability of a spelling is that of its tokens and of <|endoftext|> behind the prompt, nothing suppressed; that
of a phrase is the logsumexp over its spellings. The tree is searched depth first, the likeliest beginnings ahead and
some tens of them at once; a beginning that is already far less likely than the best whole phrase is left (branch and
bound): a token more can only make it less likely, and all that is left has together less than a thousandth of the best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.scribe.vocabulary.choice import Tree, logaddexp
from golem_chain.workers.stages.scribe.whisper.decoder import Cross, split

#: Beginnings that go through the decoder at once: the logits of one take 200 KB.
_AT_ONCE = 32
#: What the beginnings that are left may have together, natural log, against the best phrase.
_LEFT = -7.0
#: A phrase below this log-probability was not said: where no phrase is above, the search goes no deeper for the best.
_HOPELESS = -12.0
#: Tokens whose logits are exact where the others come from a faster dtype.
_EXACT = 64
#: Bytes of keys and values that one group of beginnings may hold; of long ones fewer go at once.
_CACHE_BYTES = 32 << 20


@dataclass(frozen=True)
class _Beginnings:
    """Nodes of one depth whose last token is still to go through the decoder, the likeliest first."""

    before: Cross  # keys and values of all tokens but the last, (rows, heads, tokens, width of a head)
    rows: list[int]  # of `before`
    tokens: list[int]  # the last ones
    nodes: list[int]
    logprobs: list[float]  # of the whole beginning

    def cut(self, most: int, floor: float) -> "tuple[_Beginnings, _Beginnings]":
        """Those to go now and those that wait; what is less likely than `floor` is in neither."""
        likely = sum(logprob >= floor for logprob in self.logprobs)
        return self._part(0, min(most, likely)), self._part(min(most, likely), likely)

    def _part(self, low: int, high: int) -> "_Beginnings":
        return _Beginnings(
            self.before, self.rows[low:high], self.tokens[low:high], self.nodes[low:high], self.logprobs[low:high]
        )


class Scorer:
    """Scores trees of tokens on the sound of one window after the other, by one loaded model."""

    def __init__(self, model: Any, end: int, product: torch.dtype | None = None) -> None:
        """`end`: the token of <|endoftext|>; `product`: a faster dtype for the logits of unlikely tokens."""
        body = model.model.decoder
        self._layers = list(body.layers)
        self._embed: torch.Tensor = body.embed_tokens.weight
        self._positions: torch.Tensor = body.embed_positions.weight
        self._norm, self._out = body.layer_norm, model.proj_out.weight
        self._heads: int = self._layers[0].self_attn.num_heads
        self._end = end
        self._quick = self._out.to(product or self._out.dtype)

    @torch.inference_mode()
    def score(
        self, cross: Cross, prompt: Sequence[int], tree: Tree, phrases: int, slack: float | None = None
    ) -> list[float]:
        """The log-probability of each phrase of the tree, -inf for one that is far behind the best.

        `cross`: of one window, (1, heads, frames, width of a head); `prompt`: from <|startoftranscript|> on. `slack`:
        how far behind the best a beginning is left, natural log; None: so that all together do not matter.
        """
        totals, top = [-math.inf] * phrases, -math.inf
        if slack is None:
            slack = math.log(sum(map(len, tree.ends))) - _LEFT
        empty = cross[0][0].new_empty(1, self._heads, 0, cross[0][0].shape[-1])
        cache: Cross = [(empty, empty)] * len(self._layers)
        for token in prompt[:-1]:
            _, cache = self._advance(cross, cache, [0], [token])
        waiting = [_Beginnings(cache, [0], [prompt[-1]], [0], [0.0])]
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

    def _ended(
        self, tree: Tree, now: _Beginnings, hidden: torch.Tensor, norms: torch.Tensor
    ) -> list[tuple[int, float]]:
        """Rows that are whole spellings, with the log-probability of these."""
        rows = [row for row, node in enumerate(now.nodes) if tree.ends[node]]
        ends = self._logprobs(hidden, norms, rows, [self._end] * len(rows))
        return [(row, now.logprobs[row] + end) for row, end in zip(rows, ends, strict=True)]

    def _following(
        self, tree: Tree, now: _Beginnings, hidden: torch.Tensor, norms: torch.Tensor, past: Cross
    ) -> _Beginnings | None:
        """All that go on from these beginnings, the likeliest first."""
        found = [(row, token, node) for row, at in enumerate(now.nodes) for token, node in tree.children[at].items()]
        if not found:
            return None
        rows, tokens, nodes = zip(*found, strict=True)
        each = self._logprobs(hidden, norms, rows, tokens)
        gained = [now.logprobs[row] + one for row, one in zip(rows, each, strict=True)]
        order = sorted(range(len(gained)), key=lambda place: -gained[place])
        return _Beginnings(
            past,
            [rows[place] for place in order],
            [tokens[place] for place in order],
            [nodes[place] for place in order],
            [gained[place] for place in order],
        )

    def _most(self, cache: Cross, waiting: Sequence[_Beginnings]) -> int:
        """How many beginnings may go at once."""
        keys = waiting[-1].before[0][0] if waiting else cache[0][0]
        each = 2 * len(self._layers) * (keys.shape[2] + 2) * keys.shape[1] * keys.shape[3] * keys.element_size()
        return max(1, min(_AT_ONCE, _CACHE_BYTES // each))

    def _advance(
        self, cross: Cross, before: Cross, rows: Sequence[int], tokens: Sequence[int]
    ) -> tuple[torch.Tensor, Cross]:
        """One token more for each row: the last hidden states (n, width), and the keys and values with it."""
        device = self._embed.device
        index = torch.tensor(rows, device=device)
        depth = before[0][0].shape[2]
        hidden = F.embedding(torch.tensor(tokens, device=device), self._embed) + self._positions[depth]
        past: Cross = []
        for layer, (old_keys, old_values), (sound_keys, sound_values) in zip(self._layers, before, cross, strict=True):
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)[:, None]
            keys = torch.cat([old_keys[index], split(attention.k_proj(normed), self._heads)], 2)
            values = torch.cat([old_values[index], split(attention.v_proj(normed), self._heads)], 2)
            past.append((keys, values))
            hidden = hidden + self._attend(attention, normed, keys, values)[:, 0]
            attention = layer.encoder_attn
            # All rows hear the same sound: they stand as one sequence of queries, so that it need not be copied.
            normed = layer.encoder_attn_layer_norm(hidden)[None]
            hidden = hidden + self._attend(attention, normed, sound_keys, sound_values)[0]
            inner = layer.fc1(layer.final_layer_norm(hidden))
            hidden = hidden + layer.fc2(layer.activation_fn(inner))
        return self._norm(hidden), past

    def _norms(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logsumexp of all logits, float32 (n,). In a faster dtype those of the likeliest tokens, which make most
        of it, are computed again: reading the vocabulary's vectors is most of the work of a tiny model."""
        logits = F.linear(hidden.to(self._quick.dtype), self._quick).float()
        if self._quick.dtype != self._out.dtype:
            likely = logits.topk(_EXACT).indices
            logits.scatter_(1, likely, (self._out[likely] @ hidden[:, :, None])[:, :, 0].float())
        top = logits.amax(-1, keepdim=True)
        return (logits - top).exp_().sum(-1).log() + top[:, 0]  # six times as fast as torch's logsumexp on a CPU

    def _logprobs(
        self, hidden: torch.Tensor, norms: torch.Tensor, rows: Sequence[int], tokens: Sequence[int]
    ) -> list[float]:
        """Log-probabilities of single tokens, each behind one of the rows."""
        index = torch.tensor(rows, dtype=torch.long, device=hidden.device)
        out = self._out[torch.tensor(tokens, dtype=torch.long, device=hidden.device)]
        found: list[float] = ((hidden[index] * out).sum(-1).float() - norms[index]).tolist()
        return found

    def _attend(self, attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(batch, n, width) → the same."""
        scaled = split(attention.q_proj(query) * attention.scaling, self._heads)
        mixed = F.scaled_dot_product_attention(scaled, keys, values, scale=1.0)
        found: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        return found
