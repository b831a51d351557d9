"""Measures what a block of code costs: wall time, CPU of this process and of the server, commands of the server."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import redis


@dataclass
class Spent:
    """Seconds, and the number of commands that the server ran, with those inside scripts."""

    wall_s: float = 0.0
    cpu_s: float = 0.0  # of all threads of this process
    server_cpu_s: float = 0.0
    commands: int = 0

    @property
    def cpu_share(self) -> float:
        """CPU of this process, as a share of one core."""
        return self.cpu_s / self.wall_s

    @property
    def server_share(self) -> float:
        """CPU of the server, as a share of one core."""
        return self.server_cpu_s / self.wall_s

    @property
    def commands_per_s(self) -> float:
        """Commands per second of wall time."""
        return self.commands / self.wall_s


def median(spent: Sequence[Spent]) -> Spent:
    """Return the median of each figure."""
    wall_s, cpu_s, server_cpu_s, commands = (
        statistics.median(column) for column in zip(*map(astuple, spent), strict=True)
    )
    return Spent(wall_s, cpu_s, server_cpu_s, round(commands))


@contextmanager
def spending(client: redis.Redis) -> Iterator[Spent]:
    """Yield a record that is filled at the end of the block. `client` is connected; it asks before and after."""
    spent = Spent()
    calls, server_s = _asked(client)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    yield spent
    spent.wall_s, spent.cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    later, later_s = _asked(client)
    spent.commands, spent.server_cpu_s = later - calls - OWN_COMMANDS, later_s - server_s


OWN_COMMANDS = 1  # the INFO before the block counts itself only after it has answered


def _asked(client: redis.Redis) -> tuple[int, float]:
    """Return the commands and the CPU seconds of the server since its start, by one command."""
    found: Any = client.info("all")
    calls = sum(one["calls"] for name, one in found.items() if name.startswith("cmdstat_"))
    return calls, float(found["used_cpu_user"] + found["used_cpu_sys"])
