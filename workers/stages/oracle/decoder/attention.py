"""Attention of new tokens to a cache: of whole prompts that are read, and of one token of each row.

Query heads that share a key head count as more queries of that head: torch's own grouping copies keys on a CPU."""

from typing import Protocol

import torch
from torch.nn import functional as F  # noqa: N812 - the customary name

from golem_chain.workers.stages.oracle.decoder.cache import Cache, Prefix

#: Positions that rows attend to on a CPU are a multiple of this, so that short texts do not pay for the whole cache.
BUCKET = 32


class Memory(Protocol):
    """What the layers of a decoder attend to."""

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attend from queries (n, heads, width) to all that went before and to the new keys and values, (n, key heads,
        width) each, which are kept: (n, heads · width)."""
        ...


class Step:
    """One token of each of the first rows of a cache."""

    def __init__(self, cache: Cache, slots: torch.Tensor, positions: torch.Tensor, reached: int) -> None:
        """`slots` is (rows,), 0 and up; `positions` is (rows,), `reached` the highest of them."""
        self.cache, self.rows = cache, len(positions)
        self.places = cache.places(slots, positions)
        own = reached - cache.base + 1
        on_cpu = cache.keys.device.type == "cpu"
        self.width = min(cache.length, -(-own // BUCKET) * BUCKET) if on_cpu else cache.length
        seen = torch.arange(self.width, device=positions.device) <= (positions - cache.base)[:, None]
        hidden = torch.full((), -torch.inf, dtype=cache.keys.dtype, device=positions.device)
        self.mask = torch.where(seen, hidden.new_zeros(()), hidden)[:, None, None]

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        cache = self.cache
        cache.write(layer, self.places, keys, values)
        own_keys = cache.keys[layer, : self.rows, : self.width].transpose(1, 2)
        own_values = cache.values[layer, : self.rows, : self.width].transpose(1, 2)
        grouped = queries.view(self.rows, keys.shape[1], -1, queries.shape[2])
        if cache.shared is None:
            out = F.scaled_dot_product_attention(grouped, own_keys, own_values, self.mask, scale=scale)
        else:
            own, own_sum = _flash(grouped, own_keys, own_values, self.mask, scale)
            out = _joined(own, own_sum, *_of_prefix(cache.shared, layer, queries, keys.shape[1], scale))
        return out.reshape(self.rows, -1)


class Prompts:
    """The prompts of rows that join, after the prefix: padded on the right."""

    def __init__(self, cache: Cache | None, slots: torch.Tensor, positions: torch.Tensor) -> None:
        """`cache` is where keys are kept, None to keep them in `kept`; `slots` is (rows,), `positions` (rows,
        tokens)."""
        self.cache = cache
        self.rows, self.tokens = positions.shape
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.places = cache.places(slots[:, None], positions) if cache else positions
        self.prefix = cache.prefix if cache else None
        self.mask = None
        if self.prefix and cache and not cache.shared:
            seen = torch.ones(self.tokens, self.tokens, dtype=torch.bool, device=positions.device).tril_()
            before = seen.new_ones(self.tokens, len(self.prefix.tokens))
            self.mask = torch.cat([before, seen], 1)

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        if self.cache:
            self.cache.write(layer, self.places, keys, values)
        else:
            self.kept.append((keys, values))
        groups = queries.shape[1] // keys.shape[1]
        asked, new_keys, new_values = (self._by_row(one) for one in (queries, keys, values))
        if self.prefix and self.mask is not None:
            before = [
                one[layer].transpose(0, 1)[None].expand(self.rows, -1, -1, -1)
                for one in (self.prefix.keys, self.prefix.values)
            ]
            new_keys, new_values = torch.cat([before[0], new_keys], 2), torch.cat([before[1], new_values], 2)
        new_keys, new_values = (one.repeat_interleave(groups, 1) for one in (new_keys, new_values))
        if self.prefix and self.mask is None:
            own, own_sum = _flash(asked, new_keys, new_values, None, scale, causal=True)
            before_out, before_sum = _of_prefix(self.prefix, layer, queries, keys.shape[1], scale)
            own = own.transpose(1, 2).reshape(before_out.shape)
            return _joined(own, own_sum.transpose(1, 2).reshape(before_sum.shape), before_out, before_sum).flatten(1)
        causal = self.mask is None
        out = F.scaled_dot_product_attention(asked, new_keys, new_values, self.mask, is_causal=causal, scale=scale)
        return out.transpose(1, 2).reshape(len(queries), -1)

    def _by_row(self, flat: torch.Tensor) -> torch.Tensor:
        """(n, heads, width) → (rows, heads, tokens, width)."""
        return flat.view(self.rows, self.tokens, *flat.shape[1:]).transpose(1, 2)


def _of_prefix(
    prefix: Prefix, layer: int, queries: torch.Tensor, heads: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of all queries (n, heads, width) to the shared prefix at once: (n, key heads, group, width), and the
    logarithm of each one's sum, (n, key heads, group)."""
    count, width = len(queries), queries.shape[2]
    asked = queries.view(count, heads, -1, width).transpose(0, 1).reshape(1, heads, -1, width)
    keys, values = (one[layer].transpose(0, 1)[None] for one in (prefix.keys, prefix.values))
    out, total = _flash(asked, keys, values, None, scale)
    return (
        out.view(heads, count, -1, width).transpose(0, 1),
        total.view(heads, count, -1).transpose(0, 1),
    )


def _flash(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The CPU's attention with the logarithm of its sums, which the public function does not return."""
    out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, is_causal=causal, attn_mask=mask, scale=scale
    )
    return out, total


def _joined(own: torch.Tensor, own_sum: torch.Tensor, other: torch.Tensor, other_sum: torch.Tensor) -> torch.Tensor:
    """Attention to two sets of keys from that to each, by the share that each has of the sum."""
    share = torch.sigmoid(other_sum - own_sum).to(own.dtype)
    return torch.lerp(own, other, share[..., None])
