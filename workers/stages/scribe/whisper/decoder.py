"""Whisper's decoder with its own key/value cache, stepping through a batch from which rows can be dropped.

It uses the modules of transformers' WhisperForConditionalGeneration and produces the same numbers, without the
bookkeeping around them, which costs more than the arithmetic of a small model. Architecture: Radford et al., "Robust
Speech Recognition via Large-Scale Weak Supervision", arXiv 2212.04356.
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

_ROOM = 64  # positions by which the cache grows
#: Logits from the faster dtype that are this close to the best are recomputed exactly. The rounding error is at most
#: 0.1 (bfloat16 has 8 bits, logits reach 30), so the likeliest token is always among them.
_NEAR = 1.0
_MOST_NEAR = 1000  # per row

#: Cross-attention keys and values of the audio for each layer, (batch, heads, frames, head width).
Cross = list[tuple[torch.Tensor, torch.Tensor]]


@torch.inference_mode()
def cross_of(model: nn.Module, encoded: torch.Tensor, product: torch.dtype | None = None) -> Cross:
    """Cross-attention keys and values of encoded windows, (batch, frames, width), computed once for all later passes.
    `product`: the dtype of the multiplication (None: that of the weights); the result has the dtype of `encoded`."""
    layers = cast(Any, model).model.decoder.layers
    heads = layers[0].self_attn.num_heads
    seen = encoded.to(product or encoded.dtype)

    def states(linear: Any) -> torch.Tensor:
        bias = None if linear.bias is None else linear.bias.to(seen.dtype)
        return split(F.linear(seen, linear.weight.to(seen.dtype), bias).to(encoded.dtype), heads)

    attentions = [layer.encoder_attn for layer in layers]
    return [(states(attention.k_proj), states(attention.v_proj)) for attention in attentions]


def split(states: torch.Tensor, heads: int) -> torch.Tensor:
    """(batch, n, width) → (batch, heads, n, head width)."""
    batch, count, width = states.shape
    return states.view(batch, count, heads, width // heads).transpose(1, 2)


def attend(
    attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend from states, (batch, n, width), to keys and values that are split into heads: (batch, n, width)."""
    # The query is scaled before the product, as in transformers: the order affects the last bits.
    scaled = split(attention.q_proj(query) * attention.scaling, attention.num_heads)
    mixed = F.scaled_dot_product_attention(scaled, keys, values, attn_mask=mask, scale=1.0)
    return cast(torch.Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))


class Decoder:
    """The decoder of one batch of encoded windows. `step` feeds tokens, `keep` drops rows."""

    def __init__(
        self, model: nn.Module, encoded: torch.Tensor, cross: Cross | None = None, product: torch.dtype | None = None
    ) -> None:
        """`encoded`: the encoder's output, (batch, frames, width); `cross`: the result of `cross_of`, if already
        computed; `product`: the dtype for the first pass over all logits (None: that of the weights)."""
        body = cast(Any, model).model.decoder
        self._layers = list(body.layers)
        self._embed: torch.Tensor = body.embed_tokens.weight
        self._positions: torch.Tensor = body.embed_positions.weight
        self._norm = body.layer_norm
        self._out: torch.Tensor = cast(Any, model).proj_out.weight
        self._heads: int = self._layers[0].self_attn.num_heads
        self._past = 0
        self._product = product or self._out.dtype
        self._quick: torch.Tensor | None = None  # `_out` in that dtype
        self._cross = list(cross) if cross is not None else cross_of(model, encoded, product)
        batch, _, width = encoded.shape
        shape = (batch, self._heads, 0, width // self._heads)
        self._own = [(encoded.new_empty(shape), encoded.new_empty(shape)) for _ in self._layers]

    @property
    def room(self) -> int:
        """The number of tokens that can still be fed, limited by the position table."""
        return int(self._positions.shape[0]) - self._past

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens, int64 (batch, n); return the logits after the last one, float32 (batch, vocabulary)."""
        first = self._past == 0  # the first step decides on silence and language
        return self._logits(self._norm(self._feed(tokens)[:, -1]), exact=first)

    def read(self, tokens: torch.Tensor) -> Cross:
        """Feed tokens, int64 (batch, n); return the keys and values of all tokens so far for each layer,
        (batch, heads, tokens, head width)."""
        self._feed(tokens)
        return [(keys[:, :, : self._past], values[:, :, : self._past]) for keys, values in self._own]

    def _feed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states of new tokens, (batch, n, width)."""
        count = tokens.shape[1]
        end = self._past + count
        hidden = F.embedding(tokens, self._embed) + self._positions[self._past : end]
        mask = None
        if count > 1:
            mask = torch.ones(count, end, dtype=torch.bool, device=tokens.device).tril(diagonal=self._past)
        for n, layer in enumerate(self._layers):
            hidden = hidden + self._attend_self(n, layer, hidden, mask)
            attention = layer.encoder_attn
            query = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + attend(attention, query, *self._cross[n])
            inner = layer.fc1(layer.final_layer_norm(hidden))
            hidden = hidden + layer.fc2(layer.activation_fn(inner))
        self._past = end
        return hidden

    def keep(self, rows: torch.Tensor) -> None:
        """Continue with these rows only (int64 indices)."""
        self._own = [(keys[rows], values[rows]) for keys, values in self._own]
        for n, (keys, values) in enumerate(self._cross):  # layer by layer: two copies of all of it would take too much
            self._cross[n] = keys[rows], values[rows]

    def _logits(self, last: torch.Tensor, exact: bool) -> torch.Tensor:
        """Logits of the last hidden state, float32 (batch, vocabulary). With a faster dtype, logits close to the best
        are recomputed exactly: reading the vocabulary matrix is half of a step of a tiny model."""
        if exact or self._product == self._out.dtype:
            return F.linear(last, self._out).float()
        if self._quick is None:
            self._quick = self._out.to(self._product)
        logits = F.linear(last.to(self._product), self._quick).float()
        rows, tokens = (logits > logits.amax(-1, keepdim=True) - _NEAR).nonzero(as_tuple=True)
        if len(rows) > _MOST_NEAR * len(last):  # nearly flat logits: computing all of them is cheaper
            return F.linear(last, self._out).float()
        logits[rows, tokens] = (last[rows] * self._out[tokens]).sum(-1).float()
        return logits

    def _attend_self(self, n: int, layer: Any, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(hidden)
        start, end = self._past, self._past + hidden.shape[1]
        keys, values = self._own[n]
        if keys.shape[2] < end:
            more = -(-end // _ROOM) * _ROOM - keys.shape[2]
            keys, values = F.pad(keys, (0, 0, 0, more)), F.pad(values, (0, 0, 0, more))
            self._own[n] = keys, values
        keys[:, :, start:end] = self._split(attention.k_proj(normed))
        values[:, :, start:end] = self._split(attention.v_proj(normed))
        return attend(attention, normed, keys[:, :, :end], values[:, :, :end], mask)

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return split(states, self._heads)
