"""Whisper's decoder with its own key/value cache, stepping through a batch from which rows can be dropped.

It uses the modules of transformers' WhisperForConditionalGeneration and produces the same numbers, without the
bookkeeping around them, which costs more than the arithmetic of a small model. Architecture: Radford et al., "Robust
Speech Recognition via Large-Scale Weak Supervision", arXiv 2212.04356.

The cache is allocated once for all positions. On a CPU a step attends to the filled part of it. On a card it attends to
all of it through a mask, and positions are counted on the card: every step has the same shapes and addresses, and the
host need not know how far the decoder is.
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.devices.products import linear
from golem_chain.workers.stages.likeliest import likeliest
from golem_chain.workers.store.packed.dense import dense, embed, project

#: Logits that are computed exactly in each row when the others use a faster dtype, at least. The rounding error is at
#: most 0.1 (bfloat16 has 8 bits, logits reach 30), so that the likeliest tokens are among the first few.
_EXACT = 16
#: Up to so many queries for each window, three operations attend faster than torch's fused attention on a CPU: 1.7 ms
#: instead of 2.1 for 8 windows of tiny.en in float32, 0.9 instead of 6.5 in bfloat16 (one core, torch 2.13).
_FEW = 32
_ALIGN = 8  # positions of a masked cache are a multiple of this: the fused kernels of cards want masks so

#: Cross-attention keys and values of the audio for each layer, (batch, heads, frames, head width).
Cross = list[tuple[torch.Tensor, torch.Tensor]]


@torch.inference_mode()
def cross_of(model: nn.Module, encoded: torch.Tensor, product: torch.dtype | None = None) -> Cross:
    """Cross-attention keys and values of encoded windows, (batch, frames, width), computed once for all later passes.
    `product`: the dtype of the multiplication and of the result (None: that of the weights)."""
    layers = cast(Any, model).model.decoder.layers
    heads = layers[0].self_attn.num_heads
    seen = encoded.to(product or encoded.dtype)

    def states(linear: Any) -> torch.Tensor:
        if seen.dtype == encoded.dtype:
            return split(project(linear, seen), heads).contiguous()
        bias = None if linear.bias is None else linear.bias.to(seen.dtype)
        return split(F.linear(seen, dense(linear, seen.dtype), bias), heads).contiguous()

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
    scaled, scale = _query(attention, query)
    mixed = F.scaled_dot_product_attention(scaled, keys, values, attn_mask=mask, scale=scale)
    return project(attention.out_proj, mixed.transpose(1, 2).reshape(query.shape))


def listen(attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As `attend`, to keys and values of the audio in any dtype, in which the products are computed."""
    scaled, scale = _query(attention, query)
    other = keys.dtype != query.dtype
    if other:
        scaled = scaled.to(keys.dtype)
    if query.device.type == "cpu" and query.shape[1] <= _FEW:
        mixed = (scaled @ keys.transpose(2, 3)).softmax(-1) @ values
    else:
        mixed = F.scaled_dot_product_attention(scaled, keys, values, scale=scale)
    if other:
        mixed = mixed.to(query.dtype)
    return project(attention.out_proj, mixed.transpose(1, 2).reshape(query.shape))


def _query(attention: Any, states: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The query, and the scale that is left to its product with the keys. On a CPU it is scaled before, as in
    transformers: the order affects the last bits. On a card that would be one more kernel."""
    query = project(attention.q_proj, states)
    if states.device.type == "cpu":
        return split(query * attention.scaling, attention.num_heads), 1.0
    return split(query, attention.num_heads), float(attention.scaling)


class Decoder:
    """The decoder of one batch of encoded windows. `step` feeds tokens, `keep` drops windows, `widen` gives each window
    several rows, which share its cross-attention keys and values."""

    def __init__(
        self,
        model: nn.Module,
        encoded: torch.Tensor,
        cross: Cross | None = None,
        product: torch.dtype | None = None,
        *,
        most: int | None = None,
        exact_from: int | None = None,
        still: bool | None = None,
    ) -> None:
        """`encoded`: the encoder's output, (batch, frames, width); `cross`: the result of `cross_of`, if already
        computed; `product`: the dtype for the first pass over all logits (None: that of the weights), `exact_from`: the
        first of the tokens whose logits are always computed in that of the weights; `most`: how many tokens will be fed
        at most (None: as many as there are positions); `still`: whether the shapes and addresses of a step stay the
        same (None: on a card)."""
        body = cast(Any, model).model.decoder
        self._layers = list(body.layers)
        self._embed, self._out = body.embed_tokens, cast(Any, model).proj_out
        self._norm = body.layer_norm
        self._dtype: torch.dtype = self._norm.weight.dtype
        self._positions = dense(body.embed_positions, self._dtype)
        self._heads: int = self._layers[0].self_attn.num_heads
        self._product = product or self._dtype
        self._quick: torch.Tensor | None = None  # the vocabulary matrix in that dtype
        self._times = torch.empty(0)  # its rows from `exact_from` on, in that of the weights
        self._exact_from = exact_from
        self._cross = list(cross) if cross is not None else cross_of(model, encoded, product)
        self._windows, _, width = encoded.shape
        self._past, self._beams = 0, 1
        self._still = encoded.device.type != "cpu" if still is None else still
        self._most = min(most or self._positions.shape[0], self._positions.shape[0])
        self._room = -(-self._most // _ALIGN) * _ALIGN if self._still else self._most
        shape = (self._windows, self._heads, self._room, width // self._heads)
        new = encoded.new_zeros if self._still else encoded.new_empty  # what is masked must not be NaN
        self._own = [(new(shape, dtype=self._dtype), new(shape, dtype=self._dtype)) for _ in self._layers]
        if self._still:
            self._at = torch.zeros(1, dtype=torch.long, device=encoded.device)
            self._places = torch.arange(self._room, device=encoded.device)

    @property
    def room(self) -> int:
        """The number of tokens that can still be fed, limited by the position table and by `most`."""
        return self._most - self._past

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens, int64 (rows, n); return the logits after the last one, float32 (rows, vocabulary)."""
        first = self._past == 0  # the first step decides on silence and language
        return self._logits(self._norm(self._feed(tokens)[:, -1]), exact=first)

    def read(self, tokens: torch.Tensor) -> Cross:
        """Feed tokens, int64 (batch, n); return the keys and values of all tokens so far for each layer,
        (batch, heads, tokens, head width)."""
        self._feed(tokens)
        return [(keys[:, :, : self._past], values[:, :, : self._past]) for keys, values in self._own]

    def keep(self, windows: torch.Tensor) -> None:
        """Continue with these windows only (int64 indices)."""
        rows = windows if self._beams == 1 else self._rows_of(windows)
        self._windows = len(windows)
        self._own = [(self._copied(keys, rows), self._copied(values, rows)) for keys, values in self._own]
        for n, (keys, values) in enumerate(self._cross):  # layer by layer: two copies of all of it would take too much
            self._cross[n] = keys[windows], values[windows]

    def widen(self, beams: int) -> None:
        """Give each window so many rows, which go on from what it was fed. Rows of a window are neighbours."""
        rows = torch.arange(self._windows, device=self._positions.device).repeat_interleave(beams)
        self._own = [(self._copied(keys, rows), self._copied(values, rows)) for keys, values in self._own]
        self._beams = beams

    def reorder(self, rows: torch.Tensor) -> None:
        """Let each row go on from another row's tokens, int64 (rows). In place: the addresses stay the same."""
        past = self._room if self._still else self._past
        for pair in self._own:
            for one in pair:
                filled = one[:, :, :past]
                filled.copy_(filled.index_select(0, rows))

    def _rows_of(self, windows: torch.Tensor) -> torch.Tensor:
        beams = torch.arange(self._beams, device=windows.device)
        return (windows[:, None] * self._beams + beams).flatten()

    def _copied(self, cache: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        _, heads, room, width = cache.shape
        new = cache.new_zeros if self._still else cache.new_empty
        made = new(len(rows), heads, room, width)
        made[:, :, : self._past] = cache[:, :, : self._past].index_select(0, rows)
        return made

    def _feed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states of new tokens, (rows, n, width)."""
        rows, count = tokens.shape
        end = self._past + count
        still = self._still and count == 1
        if still:
            places, mask = self._positions.index_select(0, self._at), (self._places <= self._at)[None]
        else:
            places = self._positions[self._past : end]
            mask = None
            if count > 1:
                mask = torch.ones(count, end, dtype=torch.bool, device=tokens.device).tril(diagonal=self._past)
        hidden = embed(self._embed, tokens) + places
        together = self._windows, rows // self._windows * count, hidden.shape[-1]  # the rows of a window hear the same
        for n, layer in enumerate(self._layers):
            hidden = hidden + self._attend_self(n, layer, hidden, mask, still)
            query = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + listen(layer.encoder_attn, query.view(together), *self._cross[n]).view(hidden.shape)
            inner = project(layer.fc1, layer.final_layer_norm(hidden))
            hidden = hidden + project(layer.fc2, layer.activation_fn(inner))
        self._past = end
        if still:
            self._at.add_(1)
        elif self._still:
            self._at.fill_(end)
        return hidden

    def _attend_self(
        self, n: int, layer: Any, hidden: torch.Tensor, mask: torch.Tensor | None, still: bool
    ) -> torch.Tensor:
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(hidden)
        keys, values = self._own[n]
        new = [split(project(one, normed), self._heads) for one in (attention.k_proj, attention.v_proj)]
        if still:
            keys.index_copy_(2, self._at, new[0])
            values.index_copy_(2, self._at, new[1])
            return attend(attention, normed, keys, values, mask)
        end = self._past + hidden.shape[1]
        keys[:, :, self._past : end], values[:, :, self._past : end] = new
        return attend(attention, normed, keys[:, :, :end], values[:, :, :end], mask)

    def _logits(self, last: torch.Tensor, exact: bool) -> torch.Tensor:
        """Logits of the last hidden state, float32 (rows, vocabulary). With a faster dtype, the likeliest and those
        from `exact_from` on are computed again: reading the whole matrix is half of a step of a tiny model."""
        if exact or self._product == self._dtype:
            return project(self._out, last).float()
        if self._quick is None:
            self._quick = dense(self._out, self._product)
            count = len(self._quick)
            first = count if self._exact_from is None else self._exact_from
            self._times = embed(self._out, torch.arange(first, count, device=last.device), self._dtype)
        logits = F.linear(last.to(self._product), self._quick).float()
        start = logits.shape[1] - len(self._times)
        logits[:, start:] = linear(last, self._times).float()
        near = likeliest(logits[:, :start], max(_EXACT, 3 * self._beams))
        logits.scatter_(1, near, (embed(self._out, near, self._dtype) @ last[:, :, None])[:, :, 0].float())
        return logits
