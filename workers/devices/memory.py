"""The only reader of device memory: allocated, free and peak, for CUDA and CPU.

On a CPU, "allocated" is the resident set of this process; models, mapped weights and working memory are the difference
to the baseline measured with nothing loaded. On a card it is PyTorch's allocations plus the driver's context, which the
budget includes.
"""

import ctypes
import gc
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

#: The budget if none is set, as a share of the device's memory: the rest is for the driver, the desktop and others.
DEFAULT_SHARE = 0.8
#: Upper bound for the context of a CUDA process; other memory in use at the first reading belongs to other programs.
CONTEXT_AT_MOST = 1 << 30
#: The environment variables that configure PyTorch's allocator: the current name, and the one before torch 2.9.
ALLOCATOR_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_EXACT_PINNING = "pinned_max_round_threshold_mb:1,pinned_max_cached_size_mb:1"
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Reading:
    """A reading of the device's memory, bytes."""

    allocated: int
    reserved: int  # held by the allocator; on a CPU equal to `allocated`
    free: int
    peak: int  # highest `allocated` since `reset_peak`
    total: int
    context: int = 0  # the driver's part of `allocated`; counts towards the budget

    @property
    def models(self) -> int:
        """`allocated` without the driver's context: PyTorch's allocations on a card, the resident set on a CPU."""
        return self.allocated - self.context


class Memory(Protocol):
    """The memory interface that residency needs, implemented by `CpuMemory`, `CudaMemory` and a test double."""

    @property
    def device(self) -> str:
        """PyTorch's name for the device."""
        ...

    def read(self) -> Reading:
        """Read the device's memory."""
        ...

    def reset_peak(self) -> None:
        """Reset the peak to what is allocated now."""
        ...

    def give_back(self) -> None:
        """Return unreferenced memory to the system or the driver."""
        ...

    def limit(self, budget_bytes: int) -> None:
        """Make the allocator refuse allocations above the budget, if the device supports it."""
        ...


def _libc_trim() -> None:
    """Return freed heap pages to the system (glibc only)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # another libc, which has no such call


class CpuMemory:
    """The resident set of this process."""

    device = "cpu"

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())
        self._peak_floor = 0

    def _status(self, key: str) -> int | None:
        """A kB value of /proc/self/status in bytes; None if the file or the key does not exist."""
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return None

    def read(self) -> Reading:
        rss = self._process.memory_info().rss
        peak = max(rss, self._status("VmHWM") or 0, self._peak_floor)
        total = total_ram_bytes()
        return Reading(rss, rss, min(psutil.virtual_memory().available, total), peak, total)

    def reset_peak(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM to the current resident set
        except OSError:
            self._peak_floor = 0  # the peak remains that of the whole process lifetime

    def give_back(self) -> None:
        gc.collect()
        _libc_trim()

    def limit(self, budget_bytes: int) -> None:
        """Does nothing: a limit would apply to the whole process. Only the eviction policy keeps to the budget."""


def context_bytes(free: int, total: int, reserved: int, least: int = CONTEXT_AT_MOST) -> int:
    """Bytes of a CUDA process's context: memory in use on the card beyond the `reserved` of PyTorch's allocator.

    The driver reports only the sum over all programs (cudaMemGetInfo), so this is an upper bound, exact if no other
    program uses the card. Other programs come and go but the context stays, so the lowest value so far (`least`) is the
    best estimate.
    """
    return min(least, max(0, total - free - reserved))


class CudaMemory:
    """The memory of one card: PyTorch's caching allocator, the driver's context, and the free memory it reports."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.device = str(device)
        self._context = CONTEXT_AT_MOST
        self._budget_bytes: int | None = None  # None: no limit was set

    def read(self) -> Reading:
        free, total = torch.cuda.mem_get_info(self._device)  # creates the context if there is none yet
        reserved = torch.cuda.memory_reserved(self._device)
        context = context_bytes(free, total, reserved, self._context)
        if context != self._context:  # another program has ended: what it took is ours to use
            self._context = context
            self._apply_limit(total)
        return Reading(
            torch.cuda.memory_allocated(self._device) + self._context,
            reserved + self._context,
            free,
            torch.cuda.max_memory_allocated(self._device) + self._context,
            total,
            self._context,
        )

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)

    def give_back(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        _libc_trim()

    def limit(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._apply_limit(self.read().total)

    def _apply_limit(self, total: int) -> None:
        """Tell the allocator what decisions use: the budget without the context, which it does not count."""
        if self._budget_bytes is not None:
            share = (self._budget_bytes - self._context) / total
            torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.0, share)), self._device)


def allocator_environment(environment: Mapping[str, str], torch_version: str, *, tegra: bool = False) -> dict[str, str]:
    """Environment variables to set before CUDA is first used, unless the user has configured the allocator: expandable
    segments, which reduce fragmentation; and since torch 2.13 pinned memory in exact sizes, which is unpinned when it
    is freed. Otherwise it would be rounded up to a power of two, and stay pinned for good. None on Jetson (`tegra`),
    whose driver refuses the calls that expandable segments need, so that every allocation fails. Sources: PyTorch, CUDA
    semantics, "expandable_segments"; aten/src/ATen/core/CachingHostAllocator.h, `roundSize`."""
    if tegra or any(name in environment for name in ALLOCATOR_NAMES):
        return {}
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in torch_version.split(".")[:2])
    options = "expandable_segments:True" + (f",{_EXACT_PINNING}" if (major, minor) >= (2, 13) else "")
    return {ALLOCATOR_NAMES[(major, minor) < (2, 9)]: options}


def on_tegra(kernel: str | None = None) -> bool:
    """Whether this is a Jetson board, by the name of its kernel (`5.15.148-tegra`), so that no card is asked."""
    return (platform.release() if kernel is None else kernel).endswith("-tegra")


def total_ram_bytes() -> int:
    """The machine's memory, or the container's limit if that is smaller."""
    total: int = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such file, or "max"
    return total


def budget_bytes(budget: int | float | None, total: int) -> int:
    """Convert the setting to bytes: a size as it is, otherwise the given or default share of `total`."""
    if isinstance(budget, int):
        return budget
    return int(total * (budget or DEFAULT_SHARE))


def open_memory(device: torch.device) -> Memory:
    """The memory reader for a device. A card's context then has all that a first computation loads."""
    if device.type != "cuda":
        return CpuMemory()
    choose_attention()
    warm_up(device)
    return CudaMemory(device)


def choose_attention() -> None:
    """Leave attention to PyTorch's own kernels. On cards from Hopper on, PyTorch prefers cuDNN's, which builds a plan
    for each new shape: over 0.1 s for each length that a text grows to, measured on an H100 with torch 2.11."""
    torch.backends.cuda.enable_cudnn_sdp(False)


@torch.inference_mode()
def warm_up(device: torch.device) -> None:
    """Load cuBLAS, cuDNN and their handles, which count as context: some hundred megabytes after the first product and
    convolution, which would otherwise be missing from the first reading, and from every budget that follows from it."""
    for dtype in (torch.float16, torch.float32):
        square = torch.ones(1, 16, 16, dtype=dtype, device=device)
        torch.nn.functional.linear(square[0] @ square[0], square[0], square[0, 0])  # with a bias cuBLASLt computes it
        if dtype == torch.float32:  # convolutions run in no other type: see `whisper/encoder.py`
            torch.nn.functional.conv1d(square, square)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
