"""Measures time, memory and the memcpy floor; compared calls are interleaved and reported as medians."""

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from golem_chain.workers.devices.memory import CpuMemory

PAGE_BYTES = 4096


def seconds(call: Callable[[], object]) -> float:
    """Return the wall time of one call, seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def medians(rounds: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Return the median wall time of each call, seconds. Calls alternate for `rounds` rounds, so that drift affects all
    equally."""
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seen[name].append(seconds(call))
    return {name: statistics.median(all_) for name, all_ in seen.items()}


def touch(model: nn.Module) -> int:
    """Read one byte of every page of the weights, so that a lazy mapping does not count as a load."""
    total = 0
    for tensor in {id(t): t for t in (*model.parameters(), *model.buffers())}.values():
        if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.numel():
            total += int(tensor.detach().reshape(-1).view(torch.uint8)[::PAGE_BYTES].sum())
    return total


class Floor:
    """The lower bound of a load: a memcpy between two buffers with mapped pages, or on a card a copy from pinned memory
    over the bus."""

    def __init__(self, count_bytes: int, device: torch.device) -> None:
        self._from = torch.ones(count_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._to = torch.zeros(count_bytes, dtype=torch.uint8, device=device)
        self._device = device

    def copy(self) -> None:
        """Copy once and wait for the end."""
        self._to.copy_(self._from, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def drop_page_cache(files: list[Path]) -> None:
    """Drop these files from the page cache, so that the next read comes from disk (Linux)."""
    ctypes.CDLL(None).sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def measured_peak() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak growth of this process's resident set in bytes, with mapped pages."""
    memory = CpuMemory()
    memory.give_back()
    memory.reset_peak()
    base = memory.read().allocated
    yield lambda: memory.read().peak - base


def hardware() -> str:
    """Return processor, cores, threads, GPU and torch version as text."""
    name = "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    card = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no GPU"
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{card}, torch {torch.__version__}"
