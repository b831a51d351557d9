"""How many threads the models compute with on a CPU: GOLEM_THREADS, or as many as the process may really use.

A container limits CPU time by a quota, not by the number of cores that a program sees. With more threads than the quota
pays for, the kernel stops all of them for the rest of each period (100 ms), and threads that wait for each other spin.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def set_threads(asked: int) -> None:
    """Set torch's threads. `asked` is GOLEM_THREADS; 0: torch's own choice (the cores that the process may run on, or
    OMP_NUM_THREADS), but no more than the container's quota."""
    count = threads(asked, torch.get_num_threads(), read_quota())
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def threads(asked: int, usual: int, quota: float | None) -> int:
    """How many threads to use; at least 1. `quota`: cores' worth of CPU time, None: not limited. A fraction of a core
    is not worth a thread that is stopped most of the time. Pure."""
    if asked:
        return asked
    return usual if quota is None else max(1, min(usual, int(quota)))


def read_quota(
    membership: Path = _MEMBERSHIP, root: Path = _CGROUPS, read: Callable[[Path], str] = Path.read_text
) -> float | None:
    """The smallest CPU quota of the process's control groups and those above them, in cores; None if there is none."""
    try:
        own = read(membership)
    except OSError:
        return None  # not Linux
    found = []
    for folder in _folders(own, root):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                quota = quota_of(" ".join(read(folder / name) for name in names))
            except OSError:
                continue  # not this version of control groups, or not this container's to see
            found += [] if quota is None else [quota]
    return min(found, default=None)


def quota_of(text: str) -> float | None:
    """Cores' worth of CPU time from `<quota> <period>`, microseconds: the content of version 2's cpu.max, or the two
    files of version 1. None if it is unlimited (`max`, -1) or not understood. Pure."""
    words = text.split()
    try:
        quota, period = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def _folders(membership: str, root: Path) -> Iterator[Path]:
    """The folders of the process's groups from the text of /proc/self/cgroup, each followed by those above it. In a
    container the path may not exist, because only the own group is mounted: at the root."""
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mounted = [root]
        elif "cpu" in controllers.split(","):
            mounted = [root / controllers, root / "cpu"]
        else:
            continue
        for base in mounted:
            parts = [part for part in Path(path).parts if part not in ("/", "..")]
            for depth in range(len(parts), -1, -1):
                yield base.joinpath(*parts[:depth])
