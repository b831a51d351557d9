"""Host copies of weights, each in one contiguous block, so that a load to a card is a single copy over the bus.

The card copies pinned (page-locked) memory by itself, asynchronously and at bus speed. The kernel cannot swap it out,
so the cache is a bounded LRU. Source: NVIDIA, CUDA C++ Best Practices Guide, "Pinned Memory".
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from golem_chain.workers.store.packed.files import is_packed

_ALIGN_BYTES = 256  # the alignment of CUDA's own allocator


@dataclass(frozen=True)
class Place:
    """The position of a tensor in a block, bytes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """The positions of a model's tensors in one block of bytes."""

    places: tuple[Place, ...]
    nbytes: int

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> "Layout":
        """Lay out tensors, each aligned: floats as `dtype`, all others, and the parts of packed weights, with their own
        dtype."""
        places, at = [], 0
        for name, tensor in tensors.items():
            kind = dtype if tensor.is_floating_point() and not is_packed(name) else tensor.dtype
            size = tensor.numel() * kind.itemsize
            places.append(Place(name, kind, tuple(tensor.shape), at, at + size))
            at += -(-size // _ALIGN_BYTES) * _ALIGN_BYTES
        return cls(tuple(places), at)

    def views(self, block: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors as views of a block: uint8 (nbytes,), on any device."""
        return {p.name: block[p.start : p.stop].view(p.dtype).view(p.shape) for p in self.places}


@dataclass(frozen=True)
class HostCopy:
    """One model in host memory."""

    layout: Layout
    block: torch.Tensor  # uint8 (nbytes,)

    @classmethod
    def make(cls, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, *, pin: bool) -> "HostCopy":
        """Copy the tensors into one block, converting floats. Raises RuntimeError if memory cannot be pinned."""
        layout = Layout.of(tensors, dtype)
        block = torch.empty(layout.nbytes, dtype=torch.uint8, pin_memory=pin)
        for name, view in layout.views(block).items():
            view.copy_(tensors[name])
        return cls(layout, block)

    def to(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Copy to a device in one asynchronous copy on a separate stream; it has finished on return."""
        if device.type != "cuda":
            return self.layout.views(self.block.to(device, copy=True))
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            block = torch.empty(self.layout.nbytes, dtype=torch.uint8, device=device)
            block.copy_(self.block, non_blocking=True)
        stream.synchronize()
        # The block was allocated on the side stream but is used on the current one: tell the allocator.
        block.record_stream(torch.cuda.current_stream(device))
        return self.layout.views(block)


def pinned_bytes(nbytes: int, options: str) -> int:
    """What PyTorch pins for a block of `nbytes`: the next power of two, unless the size is above one of the thresholds
    in `options`, the text of PYTORCH_ALLOC_CONF. Pure. Source: aten/src/ATen/core/CachingHostAllocator.h (torch 2.13).
    """
    thresholds = re.findall(r"\bpinned_max_(?:round_threshold|cached_size)_mb\s*:\s*(\d+)", options)
    exact = any(nbytes > int(threshold) << 20 for threshold in thresholds)
    return nbytes if exact or nbytes < 1 else 1 << (nbytes - 1).bit_length()


def _unpin() -> None:
    """Return pinned blocks that no copy uses to the system. PyTorch keeps them for later otherwise."""
    if torch.cuda.is_available() and hasattr(torch.accelerator, "empty_host_cache"):  # not before torch 2.12
        torch.accelerator.empty_host_cache()


class HostCache:
    """An LRU cache of host copies, at most `limit_bytes` of pinned memory in total. Thread-safe.

    `pinned` is what a copy of so many bytes pins; `unpin` is called when copies were dropped.
    """

    def __init__(
        self, limit_bytes: int, pinned: Callable[[int], int] = int, unpin: Callable[[], None] = _unpin
    ) -> None:
        self.limit_bytes, self._pinned, self._unpin = limit_bytes, pinned, unpin
        self._copies: OrderedDict[str, HostCopy] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes pinned now."""
        return sum(self._pinned(copy.layout.nbytes) for copy in self._copies.values())

    def get(self, key: str) -> HostCopy | None:
        """The copy, now the most recently used; None if it is not cached."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is not None:
                self._copies.move_to_end(key)
            return copy

    def make_room(self, nbytes: int) -> bool:
        """Evict copies until one of `nbytes` fits. Returns False, without evicting, if it is above the limit."""
        need, dropped = self._pinned(nbytes), 0
        if need > self.limit_bytes:
            return False
        with self._lock:
            while self._copies and self.held_bytes + need > self.limit_bytes:
                self._copies.popitem(last=False)
                dropped += 1
        if dropped:
            self._unpin()
        return True

    def put(self, key: str, copy: HostCopy) -> bool:
        """Cache a copy; False if it alone is above the limit."""
        if not self.make_room(copy.layout.nbytes):
            return False
        with self._lock:
            self._copies[key] = copy
            self._copies.move_to_end(key)
        return True

    def clear(self) -> None:
        """Drop all copies."""
        with self._lock:
            self._copies.clear()
        self._unpin()
