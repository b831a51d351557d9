"""Whisper's decoder with a key/value cache of our own: one step of a batch whose rows can leave.

It computes with the modules of transformers' WhisperForConditionalGeneration and gives the same numbers; what it leaves
out is the bookkeeping around them, which costs more than the arithmetic of a small model. Architecture: Radford et al.,
"Robust Speech Recognition via Large-Scale Weak Supervision", arXiv 2212.04356.
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

_ROOM = 64  # positions by which the cache grows


class Decoder:
    """The decoder of one batch of encoded windows. `step` feeds tokens, `keep` drops rows."""

    def __init__(self, model: nn.Module, encoded: torch.Tensor) -> None:
        """`encoded`: the encoder's output, (batch, frames, width). Cross-attention keys and values are made once."""
        body = cast(Any, model).model.decoder
        self._layers = list(body.layers)
        self._embed: torch.Tensor = body.embed_tokens.weight
        self._positions: torch.Tensor = body.embed_positions.weight
        self._norm = body.layer_norm
        self._out: torch.Tensor = cast(Any, model).proj_out.weight
        self._heads: int = self._layers[0].self_attn.num_heads
        self._past = 0
        self._cross = [
            (self._split(layer.encoder_attn.k_proj(encoded)), self._split(layer.encoder_attn.v_proj(encoded)))
            for layer in self._layers
        ]
        batch, _, width = encoded.shape
        shape = (batch, self._heads, 0, width // self._heads)
        self._own = [(encoded.new_empty(shape), encoded.new_empty(shape)) for _ in self._layers]

    @property
    def room(self) -> int:
        """How many more tokens the positions allow."""
        return int(self._positions.shape[0]) - self._past

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens int64 (batch, n): float32 logits (batch, vocabulary) after the last of them."""
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
            hidden = hidden + self._attend(attention, query, *self._cross[n], None)
            inner = layer.fc1(layer.final_layer_norm(hidden))
            hidden = hidden + layer.fc2(layer.activation_fn(inner))
        self._past = end
        return F.linear(self._norm(hidden[:, -1]), self._out).float()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows only (int64 indices)."""
        self._own = [(keys[rows], values[rows]) for keys, values in self._own]
        self._cross = [(keys[rows], values[rows]) for keys, values in self._cross]

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
        return self._attend(attention, normed, keys[:, :, :end], values[:, :, :end], mask)

    def _attend(
        self, attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        # The query is scaled before the product, as in transformers: the order matters in the last bits.
        scaled = self._split(attention.q_proj(query) * attention.scaling)
        mixed = F.scaled_dot_product_attention(scaled, keys, values, attn_mask=mask, scale=1.0)
        return cast(torch.Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """(batch, n, width) → (batch, heads, n, width of a head)."""
        batch, count, width = states.shape
        return states.view(batch, count, self._heads, width // self._heads).transpose(1, 2)
