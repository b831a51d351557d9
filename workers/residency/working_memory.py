"""Measured working memory of each stage by batch size, kept across restarts in a small JSON file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def expect(seen: Mapping[int, int], batch: int, estimate: int) -> int:
    """Expected working memory of a batch in bytes: from measurements, otherwise the engine's estimate.

    The measurement of the nearest batch size at or above is an upper bound. From smaller sizes the value is scaled in
    proportion, a slight overestimate because part of the working memory does not depend on the batch size.
    """
    above = [size for size in seen if size >= batch]
    if above:
        return seen[min(above)]
    if seen:
        largest = max(seen)
        return max(estimate, seen[largest] * batch // largest)
    return estimate


class Peaks:
    """Highest measured working memory for each key (stage, checkpoint, dtype, device) and batch size, bytes."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._seen: dict[str, dict[int, int]] = {}
        self._doubted: dict[str, dict[int, int]] = {}
        if file is None:
            return
        try:
            stored = json.loads(file.read_text())
            self._seen = {key: {int(n): int(b) for n, b in sizes.items()} for key, sizes in stored.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._seen = {}  # missing or damaged: measured again

    def expect(self, key: str, batch: int, estimate: int) -> int:
        """As the function `expect`, but not below what is known to run out of memory in this process."""
        refused = [need for size, need in self._doubted.get(key, {}).items() if size <= batch]
        return max([expect(self._seen.get(key, {}), batch, estimate), *refused])

    def doubt(self, key: str, batch: int, need_bytes: int) -> None:
        """Record that a batch of this size ran out of memory: expect `need_bytes` for it and for larger ones.

        Not kept across restarts, since another program may have used the memory. Never recorded for a single item,
        which would block the stage for good.
        """
        if batch > 1:
            self._doubted.setdefault(key, {})[batch] = need_bytes

    def learn(self, key: str, batch: int, working_bytes: int) -> None:
        """Record a peak, and raise those of larger batches to at least the same value."""
        sizes = self._seen.setdefault(key, {})
        if working_bytes <= sizes.get(batch, 0):
            return
        sizes[batch] = working_bytes
        for larger in sizes:
            if larger > batch:
                sizes[larger] = max(sizes[larger], working_bytes)
        self._store()

    def _store(self) -> None:
        if self._file is None:
            return
        half = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            half.write_text(json.dumps(self._seen, indent=1))
            half.replace(self._file)
        except OSError:
            half.unlink(missing_ok=True)  # a full or read-only disk only loses the measurements
