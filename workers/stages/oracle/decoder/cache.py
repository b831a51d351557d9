"""Owns the keys and values of running rows: allocated once for so many slots, and written at each row's own position.

On a CPU the prefix that all prompts share is kept once, and rows attend to it together (Juravsky et al., "Hydragen",
2024): its keys are read once a step and not once for each row. On a card every slot has its copy, so that a row's
attention is one kernel."""

from dataclasses import dataclass

import torch

#: Rows from which one attention to the shared prefix costs less than one to each row's copy.
_SHARING = 4


@dataclass(frozen=True)
class Shape:
    """What a model keeps of a token."""

    layers: int
    heads: int  # of keys and values
    width: int  # of a head

    def nbytes(self, tokens: int, dtype: torch.dtype) -> int:
        """Keys and values of so many tokens, in bytes."""
        return 2 * tokens * self.layers * self.heads * self.width * dtype.itemsize


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the tokens that all rows begin with: (layers, tokens, heads, width) each."""

    tokens: tuple[int, ...]
    keys: torch.Tensor
    values: torch.Tensor


class Cache:
    """Keys and values of `slots` rows of at most `length` tokens, the prefix included."""

    def __init__(
        self, shape: Shape, slots: int, length: int, prefix: Prefix | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.slots, self.prefix = slots, prefix
        self.shared = prefix if device.type == "cpu" and slots >= _SHARING else None
        #: The first position that a slot has room for.
        self.base = len(self.shared.tokens) if self.shared else 0
        self.length = length - self.base
        full = (shape.layers, slots, self.length, shape.heads, shape.width)
        # Zeros: what a row does not see is multiplied by 0 all the same, and memory may hold NaN.
        self.keys = torch.zeros(full, dtype=dtype, device=device)
        self.values = torch.zeros(full, dtype=dtype, device=device)
        if prefix is not None and self.shared is None:
            count = len(prefix.tokens)
            self.keys[:, :, :count] = prefix.keys[:, None]
            self.values[:, :, :count] = prefix.values[:, None]

    def places(self, slots: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Where keys of these slots and positions, of one shape, are written: indices for `write`, (n,)."""
        return (slots * self.length + (positions - self.base)).flatten()

    def write(self, layer: int, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep keys and values, (n, heads, width) each."""
        self.keys[layer].flatten(0, 1).index_copy_(0, places, keys)
        self.values[layer].flatten(0, 1).index_copy_(0, places, values)

    def move(self, source: int, target: int) -> None:
        """Copy a slot onto another."""
        self.keys[:, target] = self.keys[:, source]
        self.values[:, target] = self.values[:, source]

    def clear(self, slot: int) -> None:
        """Forget a slot that holds numbers that are not finite: they would reach the next row in it through products
        with 0."""
        start = 0 if self.shared or self.prefix is None else len(self.prefix.tokens)
        self.keys[:, slot, start:] = 0
        self.values[:, slot, start:] = 0
