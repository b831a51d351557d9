"""Copies of weights in host memory, laid out as one block each, so that a load to a card is one copy over the bus.

Pinned (page-locked) memory is copied by the card itself, asynchronously and at the speed of the bus; the kernel cannot
swap it out, so it is bounded: least recently used out. Source: NVIDIA, CUDA C++ Best Practices Guide, "Pinned Memory".
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch

_ALIGN_BYTES = 256  # what CUDA's own allocator aligns to


@dataclass(frozen=True)
class Place:
    """Where one tensor lies in a block."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """All tensors of a model in one block of bytes."""

    places: tuple[Place, ...]
    nbytes: int

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> "Layout":
        """Floats as `dtype`, everything else as it is, each tensor aligned."""
        places, at = [], 0
        for name, tensor in tensors.items():
            kind = dtype if tensor.is_floating_point() else tensor.dtype
            size = tensor.numel() * kind.itemsize
            places.append(Place(name, kind, tuple(tensor.shape), at, at + size))
            at += -(-size // _ALIGN_BYTES) * _ALIGN_BYTES
        return cls(tuple(places), at)

    def views(self, block: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors as views of a block, uint8 (nbytes,), on any device."""
        return {p.name: block[p.start : p.stop].view(p.dtype).view(p.shape) for p in self.places}


@dataclass(frozen=True)
class HostCopy:
    """One model in host memory."""

    layout: Layout
    block: torch.Tensor  # uint8 (nbytes,)

    @classmethod
    def make(cls, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, *, pin: bool) -> "HostCopy":
        """Copy the tensors into one block, converting floats. Raises RuntimeError where memory cannot be pinned."""
        layout = Layout.of(tensors, dtype)
        block = torch.empty(layout.nbytes, dtype=torch.uint8, pin_memory=pin)
        for name, view in layout.views(block).items():
            view.copy_(tensors[name])
        return cls(layout, block)

    def to(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The tensors on a device: one asynchronous copy on a stream of its own, finished on return."""
        if device.type != "cuda":
            return self.layout.views(self.block.to(device, copy=True))
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            block = torch.empty(self.layout.nbytes, dtype=torch.uint8, device=device)
            block.copy_(self.block, non_blocking=True)
        stream.synchronize()
        # The block was taken on the side stream and is used on the current one: the allocator must know.
        block.record_stream(torch.cuda.current_stream(device))
        return self.layout.views(block)


class HostCache:
    """Host copies by key, at most `limit_bytes` in sum, least recently used out. Safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._copies: OrderedDict[str, HostCopy] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes held now."""
        return sum(copy.layout.nbytes for copy in self._copies.values())

    def get(self, key: str) -> HostCopy | None:
        """A copy, which becomes the most recently used."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is not None:
                self._copies.move_to_end(key)
            return copy

    def make_room(self, nbytes: int) -> bool:
        """Let go of copies until one of so many bytes fits; False where it never would, and then none goes."""
        if nbytes > self.limit_bytes:
            return False
        with self._lock:
            while self._copies and self.held_bytes + nbytes > self.limit_bytes:
                self._copies.popitem(last=False)
        return True

    def put(self, key: str, copy: HostCopy) -> bool:
        """Keep a copy; False where it alone is above the limit."""
        if not self.make_room(copy.layout.nbytes):
            return False
        with self._lock:
            self._copies[key] = copy
            self._copies.move_to_end(key)
        return True

    def clear(self) -> None:
        """Give everything back."""
        with self._lock:
            self._copies.clear()
