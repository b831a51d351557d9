"""The memory of a card that is not there: allocations are rounded, cached and refused as PyTorch's allocator does it.

Constants and rules from pytorch 2.13, c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp (`round_size`,
`get_allocation_size`, `should_split`), without expandable segments, streams and garbage collection.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

MIB = 1 << 20
MIN_BLOCK = 512  # kMinBlockSize: all sizes are multiples of it
SMALL = MIB  # kSmallSize: the largest allocation of the small pool
SMALL_BUFFER = 2 * MIB  # kSmallBuffer: small allocations are packed into segments of this size
LARGE_BUFFER = 20 * MIB  # kLargeBuffer: likewise those up to 10 MiB
MIN_LARGE = 10 * MIB  # kMinLargeAlloc
ROUND_LARGE = 2 * MIB  # kRoundLarge: larger ones are multiples of it

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate {asked:.2f} MiB. GPU 0 has a total capacity of {total:.2f} GiB of which "
    "{free:.2f} MiB is free. Including non-PyTorch memory, this process has {used:.2f} GiB memory in use. Of the "
    "allocated memory {allocated:.2f} GiB is allocated by PyTorch, and {cached:.2f} MiB is reserved by PyTorch but "
    "unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True "
    "to avoid fragmentation.  See documentation for Memory Management  "
    "(https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)
#: What cuBLAS, cuDNN and Jetson's driver say when memory is short, instead of PyTorch's allocator.
OTHER_WORDS: dict[str, str] = {
    "cublas": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cudnn": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "jetson": "NVML_SUCCESS == r INTERNAL ASSERT FAILED at "
    '"/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":1131, please report a bug to PyTorch. ',
}


def rounded(nbytes: int) -> int:
    """The size of the block for an allocation."""
    return max(MIN_BLOCK, -(-nbytes // MIN_BLOCK) * MIN_BLOCK)


def segment(nbytes: int) -> int:
    """The size of the segment that is asked of the driver for a block of that size."""
    if nbytes <= SMALL:
        return SMALL_BUFFER
    return LARGE_BUFFER if nbytes < MIN_LARGE else -(-nbytes // ROUND_LARGE) * ROUND_LARGE


@dataclass
class _Segment:
    size: int
    small: bool
    free: dict[int, int] = field(default_factory=dict)  # offset → size of each free block

    def release(self, at: int, size: int) -> None:
        """Free a block, and join it with its free neighbours."""
        self.free[at] = size
        for start in sorted(self.free):
            while start in self.free and (after := start + self.free[start]) in self.free:
                self.free[start] += self.free.pop(after)


class CardMemory:
    """A card of `total` bytes, of which the driver's context takes `context` and other programs `others`."""

    def __init__(self, total: int, context: int = 0, others: int = 0, words: str = "") -> None:
        self.total, self.context, self.others, self.words = total, context, others, words
        self.limit, self.peak = total, 0
        self._segments: list[_Segment] = []
        self._blocks: dict[int, tuple[_Segment, int, int]] = {}
        self._count = 0

    @property
    def allocated(self) -> int:
        """Bytes of all blocks in use."""
        return sum(size for _, _, size in self._blocks.values())

    @property
    def reserved(self) -> int:
        """Bytes of all segments."""
        return sum(one.size for one in self._segments)

    @property
    def free(self) -> int:
        """What the driver has left."""
        return self.total - self.context - self.others - self.reserved

    def allocate(self, nbytes: int) -> int:
        """The number of a new block. Raises what torch would."""
        size = rounded(nbytes)
        found = self._cached(size) or self._new(size)
        if found is None:
            self.empty_cache()
            found = self._new(size)
        if found is None:
            raise self._refusal(size)
        holder, at = found
        whole = holder.free.pop(at)
        if whole - size >= (MIN_BLOCK if holder.small else SMALL + 1):  # should_split
            holder.free[at + size] = whole - size
            whole = size
        self._count += 1
        self._blocks[self._count] = holder, at, whole
        self.peak = max(self.peak, self.allocated)
        return self._count

    def release(self, block: int) -> None:
        """Free a block: it stays reserved."""
        holder, at, size = self._blocks.pop(block)
        holder.release(at, size)

    def empty_cache(self) -> None:
        """Return the segments that no block uses to the driver."""
        self._segments = [one for one in self._segments if one.free != {0: one.size}]

    def _cached(self, size: int) -> "tuple[_Segment, int] | None":
        fitting = [
            (free, n, at)
            for n, one in enumerate(self._segments)
            for at, free in one.free.items()
            if one.small is (size <= SMALL) and free >= size
        ]
        return (self._segments[min(fitting)[1]], min(fitting)[2]) if fitting else None

    def _new(self, size: int) -> "tuple[_Segment, int] | None":
        whole = segment(size)
        if whole > self.free or self.reserved + whole > self.limit:
            return None
        made = _Segment(whole, size <= SMALL, {0: whole})
        self._segments.append(made)
        return made, 0

    def _refusal(self, size: int) -> RuntimeError:
        if self.words:
            return RuntimeError(OTHER_WORDS[self.words])
        sizes = {"total": self.total / 2**30, "used": (self.reserved + self.context) / 2**30}
        sizes |= {"asked": size / MIB, "free": self.free / MIB, "allocated": self.allocated / 2**30}
        return torch.OutOfMemoryError(OUT_OF_MEMORY.format(**sizes, cached=(self.reserved - self.allocated) / MIB))

    def install(self, monkeypatch: Any) -> None:
        """Make `torch.cuda` report this card, so that the program's own reader of a card reads it."""
        answers: dict[str, Callable[..., Any]] = {
            "mem_get_info": lambda device: (self.free, self.total),
            "memory_allocated": lambda device: self.allocated,
            "memory_reserved": lambda device: self.reserved,
            "max_memory_allocated": lambda device: self.peak,
            "reset_peak_memory_stats": lambda device: vars(self).update(peak=self.allocated),
            "empty_cache": self.empty_cache,
            "set_per_process_memory_fraction": lambda share, device: vars(self).update(limit=int(share * self.total)),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)
