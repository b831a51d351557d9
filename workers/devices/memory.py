"""The only reader of device memory: how much is allocated, free and at its peak; CUDA and CPU.

On a CPU "allocated" is the resident set of this process: what models, mapped weights and working memory take is the
difference to the base line that was read while nothing was loaded. On a card it is what PyTorch holds and the driver's
context, which the budget includes.
"""

import ctypes
import gc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

#: The share of a device that is used where no budget is set: the rest is for the driver, the desktop and others.
DEFAULT_SHARE = 0.8
#: No context of a CUDA process is larger; what else is taken on a card at the first look belongs to other programs.
CONTEXT_AT_MOST = 1 << 30
#: The environment variables by which PyTorch's allocator is set: today's, and that of torch before 2.9.
_ALLOCATOR_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Reading:
    """One look at the device, bytes."""

    allocated: int
    reserved: int  # held by the allocator; on a CPU the same as allocated
    free: int
    peak: int  # highest `allocated` since `reset_peak`
    total: int
    context: int = 0  # the part of `allocated` that is the driver's and not the models'; counted by the budget

    @property
    def models(self) -> int:
        """`allocated` without the driver's part: on a card what PyTorch holds, on a CPU the whole resident set."""
        return self.allocated - self.context


class Memory(Protocol):
    """What residency needs to know of a device. `CpuMemory`, `CudaMemory`; tests have one of their own."""

    @property
    def device(self) -> str:
        """PyTorch's name of the device."""
        ...

    def read(self) -> Reading:
        """The device as it is now."""
        ...

    def reset_peak(self) -> None:
        """Begin a new peak from what is allocated now."""
        ...

    def give_back(self) -> None:
        """Return what nobody refers to any more to the system or the driver."""
        ...

    def limit(self, budget_bytes: int) -> None:
        """Make the allocator refuse what goes beyond, where the device can."""
        ...


def _libc_trim() -> None:
    """Hand freed heap pages back to the system (glibc only)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # another libc: its allocator does as it likes


class CpuMemory:
    """The resident set of this process."""

    device = "cpu"

    def __init__(self) -> None:
        self._process = psutil.Process(os.getpid())
        self._peak_floor = 0

    def _status(self, key: str) -> int | None:
        """A kB line of /proc/self/status in bytes; None where there is no such file."""
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
            Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM restarts at the present resident set
        except OSError:
            self._peak_floor = 0  # the peak stays that of the whole life of the process

    def give_back(self) -> None:
        gc.collect()
        _libc_trim()

    def limit(self, budget_bytes: int) -> None:
        """The CPU's allocator has no limit that spares the rest of the process; the decision alone holds it."""


def context_bytes(free: int, total: int, reserved: int, least: int = CONTEXT_AT_MOST) -> int:
    """Bytes of a CUDA process's context: what is taken on the card beside the `reserved` of PyTorch's allocator.

    The driver tells only the sum over all programs (cudaMemGetInfo), so this is an upper bound, exact on a card of our
    own; other programs come and go and a context stays, hence the lowest value so far (`least`) is the best one.
    """
    return min(least, max(0, total - free - reserved))


class CudaMemory:
    """PyTorch's caching allocator on one card, the driver's context, and what the driver says is free."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.device = str(device)
        self._context = CONTEXT_AT_MOST

    def read(self) -> Reading:
        free, total = torch.cuda.mem_get_info(self._device)  # creates the context where there is none yet
        reserved = torch.cuda.memory_reserved(self._device)
        self._context = context_bytes(free, total, reserved, self._context)
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
        now = self.read()
        share = (budget_bytes - now.context) / now.total  # the context is not the allocator's
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.0, share)), self._device)


def allocator_environment(environment: Mapping[str, str], torch_version: str) -> dict[str, str]:
    """What to add to the environment before the first use of a card: segments that grow, against fragmentation, where
    the user has not set the allocator. Source: PyTorch, CUDA semantics, "expandable_segments"."""
    if any(name in environment for name in _ALLOCATOR_NAMES):
        return {}
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in torch_version.split(".")[:2])
    return {_ALLOCATOR_NAMES[(major, minor) < (2, 9)]: "expandable_segments:True"}


def total_ram_bytes() -> int:
    """The machine's memory, or the container's limit where that is smaller."""
    total: int = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such file, or "max"
    return total


def budget_bytes(budget: int | float | None, total: int) -> int:
    """The budget in bytes: as set, as a share of `total`, or the default share."""
    if isinstance(budget, int):
        return budget
    return int(total * (budget or DEFAULT_SHARE))


def open_memory(device: torch.device) -> Memory:
    """The reader for a device."""
    return CudaMemory(device) if device.type == "cuda" else CpuMemory()


def is_out_of_memory(exc: BaseException) -> bool:
    """Did an allocation fail? PyTorch's CPU allocator says so in the text of a RuntimeError only."""
    if isinstance(exc, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(exc, RuntimeError) and (
        "can't allocate memory" in str(exc) or "out of memory" in str(exc).lower()
    )
