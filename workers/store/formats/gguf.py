"""Reads GGUF files: metadata, and tensors dequantised to float32, with every size checked.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; block layouts: ggml-common.h in the same project.
"""

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from golem_chain.shared.errors import ModelCorrupt
from golem_chain.workers.store.formats.reader import Reader
from golem_chain.workers.store.packed.blocks import LEAST_WEIGHTS

Value = int | float | bool | str | list["Value"]
Wanted = TypeVar("Wanted", int, float, str)

_INTEGERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
_REALS = {6: "f", 12: "d"}
_BOOL, _TEXT, _ARRAY = 7, 8, 9
_MAX_RANK = 4
_BLOCK = 32  # elements that share one scale
_PACKED = {2: "q4_0", 3: "q4_1", 8: "q8_0"}


@dataclass(frozen=True)
class Stored:
    """A tensor in the file; `shape` is in torch's order (slowest dimension first)."""

    shape: tuple[int, ...]
    kind: int
    offset: int  # bytes from the start of the data


@dataclass(frozen=True)
class Gguf:
    """A parsed file. Tensor data is read only by `tensor`."""

    name: str
    data: bytes | bytearray | mmap.mmap
    fields: dict[str, Value]
    stored: dict[str, Stored]
    base: int  # offset of the data, bytes

    def corrupt(self, why: str) -> ModelCorrupt:
        return ModelCorrupt(f"{self.name} cannot be converted: {why}.")

    def field(self, key: str, kind: type[Wanted], default: Wanted | None = None) -> Wanted:
        """A metadata value. Raises ModelCorrupt if it is missing or has another type."""
        value = self.fields.get(key, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return kind(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.corrupt(f"{key} is missing or not of type {kind.__name__}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of strings. Raises ModelCorrupt if it is missing or has another type."""
        value = self.fields.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.corrupt(f"{key} is missing or not a list of strings")
        return [str(item) for item in value]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor, dequantised exactly to float32. Raises ModelCorrupt."""
        stored = self.stored[name]
        return _KINDS[stored.kind][2](self.blocks(name)).reshape(stored.shape)

    def blocks(self, name: str) -> torch.Tensor:
        """The blocks of a tensor as they are, uint8 (n, bytes of a block)."""
        stored = self.stored[name]
        block, block_bytes, _ = _KINDS[stored.kind]
        start = self.base + stored.offset
        raw = bytearray(self.data[start : start + math.prod(stored.shape) // block * block_bytes])
        return torch.frombuffer(raw, dtype=torch.uint8).view(-1, block_bytes)

    def packed_kind(self, name: str) -> str | None:
        """The kind of a large matrix of packed blocks (`store/packed/blocks.py`); None for all other tensors."""
        stored = self.stored[name]
        large = len(stored.shape) == 2 and math.prod(stored.shape) >= LEAST_WEIGHTS
        return _PACKED.get(stored.kind) if large else None


def parse(data: bytes | bytearray | mmap.mmap, name: str) -> Gguf:
    """Parse the metadata and the positions of the tensors. Raises ModelCorrupt for anything but GGUF 2 or 3."""
    reader = Reader(data, name)
    if reader.take(4) != b"GGUF":
        raise reader.corrupt("it does not start with GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        raise reader.corrupt(f"GGUF version {version} is not supported, only 2 and 3")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    fields: dict[str, Value] = {}
    for _ in range(pairs):
        key = reader.text("Q")
        fields[key] = _value(reader, reader.number("I"))
    stored: dict[str, Stored] = {}
    for _ in range(tensors):
        label = reader.text("Q")
        if label in stored:
            raise reader.corrupt(f"{label} occurs twice")
        stored[label] = _place(reader, label)
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
        raise reader.corrupt(f"its alignment is {alignment!r}")
    base = reader.at + (-reader.at % alignment)
    for label, place in stored.items():
        block, block_bytes, _ = _KINDS[place.kind]
        if base + place.offset + math.prod(place.shape) // block * block_bytes > reader.size:
            raise reader.corrupt(f"it ends before the data of {label}")
    return Gguf(name, data, fields, stored, base)


def _value(reader: Reader, kind: int, nested: bool = False) -> Value:
    if kind in _INTEGERS:
        return reader.number(_INTEGERS[kind])
    if kind in _REALS:
        return reader.real(_REALS[kind])
    if kind == _BOOL:
        return bool(reader.number("B"))
    if kind == _TEXT:
        return reader.text("Q")
    if kind == _ARRAY and not nested:
        item, count = reader.number("I"), reader.number("Q")
        if count > reader.size - reader.at:  # every item takes at least one byte
            raise reader.corrupt(f"a list claims {count} items, more than fit")
        return [_value(reader, item, nested=True) for _ in range(count)]
    raise reader.corrupt(f"a value has the unknown type {kind}")


def _place(reader: Reader, label: str) -> Stored:
    rank = reader.number("I")
    if not 1 <= rank <= _MAX_RANK:
        raise reader.corrupt(f"{label} has {rank} dimensions")
    shape = tuple(reader.number("Q") for _ in range(rank))
    kind, offset = reader.number("I"), reader.number("Q")
    if kind not in _KINDS:
        raise reader.corrupt(f"{label} has an unsupported quantisation (type {kind})")
    block = _KINDS[kind][0]
    if math.prod(shape) == 0 or shape[0] % block:
        raise reader.corrupt(f"{label} has shape {list(shape)}, which does not fit blocks of {block}")
    return Stored(shape[::-1], kind, offset)


# -- blocks: uint8 (n, block bytes) -> float32 (n, elements) -------------------------------------------------------


def _halves(blocks: torch.Tensor, start: int) -> torch.Tensor:
    return blocks[:, start : start + 2].contiguous().view(torch.float16).to(torch.float32)


def _nibbles(blocks: torch.Tensor, start: int) -> torch.Tensor:
    """Unpack 16 bytes into 32 numbers: the low nibbles are elements 0-15, the high ones 16-31."""
    packed = blocks[:, start : start + _BLOCK // 2]
    return torch.cat([packed & 15, packed >> 4], dim=1).to(torch.float32)


def _q4_0(blocks: torch.Tensor) -> torch.Tensor:
    return _halves(blocks, 0) * (_nibbles(blocks, 2) - 8)


def _q4_1(blocks: torch.Tensor) -> torch.Tensor:
    return _halves(blocks, 0) * _nibbles(blocks, 4) + _halves(blocks, 2)


def _q8_0(blocks: torch.Tensor) -> torch.Tensor:
    return _halves(blocks, 0) * blocks[:, 2:].contiguous().view(torch.int8).to(torch.float32)


def _plain(dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda blocks: blocks.view(dtype).to(torch.float32)


#: ggml type -> (elements per block, bytes per block, function that unpacks it)
_KINDS: dict[int, tuple[int, int, Callable[[torch.Tensor], torch.Tensor]]] = {
    0: (1, 4, _plain(torch.float32)),
    1: (1, 2, _plain(torch.float16)),
    2: (_BLOCK, 18, _q4_0),
    3: (_BLOCK, 20, _q4_1),
    8: (_BLOCK, 34, _q8_0),
    30: (1, 2, _plain(torch.bfloat16)),
}
