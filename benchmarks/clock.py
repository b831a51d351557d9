"""Timing in one run: repeated, interleaved with what it is compared to, told as medians and ratios."""

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
    """Wall seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def medians(rounds: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Median wall seconds of each call; one of each in turn, `rounds` times, so that drift hits all alike."""
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seen[name].append(seconds(call))
    return {name: statistics.median(all_) for name, all_ in seen.items()}


def touch(model: nn.Module) -> int:
    """Read one byte of every page of the weights, so that a lazy mapping is not taken for a load."""
    total = 0
    for tensor in {id(t): t for t in (*model.parameters(), *model.buffers())}.values():
        if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.numel():
            total += int(tensor.detach().reshape(-1).view(torch.uint8)[::PAGE_BYTES].sum())
    return total


class Floor:
    """What moving the bytes costs on this machine: a memcpy between two buffers whose pages are already there, or on
    a card a copy of pinned memory over the bus."""

    def __init__(self, count_bytes: int, device: torch.device) -> None:
        self._from = torch.ones(count_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._to = torch.zeros(count_bytes, dtype=torch.uint8, device=device)
        self._device = device

    def copy(self) -> None:
        """One copy, finished."""
        self._to.copy_(self._from, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def drop_page_cache(files: list[Path]) -> None:
    """Ask the kernel to forget these files' pages: the next read comes from the disk (Linux)."""
    ctypes.CDLL(None).sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def measured_peak() -> Iterator[Callable[[], int]]:
    """Bytes by which this process's resident set rose at its highest, mapped pages counted."""
    memory = CpuMemory()
    memory.give_back()
    memory.reset_peak()
    base = memory.read().allocated
    yield lambda: memory.read().peak - base


def hardware() -> str:
    """Processor, cores, device: what a figure was taken on."""
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
