"""The working memory that each stage was seen to take, by batch size, kept across restarts in one small JSON file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def expect(seen: Mapping[int, int], batch: int, estimate: int) -> int:
    """Bytes of working memory to expect for a batch: from what was seen, else the engine's estimate.

    The nearest size at or above it is a bound; from smaller sizes it grows in proportion, which overstates a little
    because part of the working memory does not depend on the batch.
    """
    above = [size for size in seen if size >= batch]
    if above:
        return seen[min(above)]
    if seen:
        largest = max(seen)
        return max(estimate, seen[largest] * batch // largest)
    return estimate


class Peaks:
    """Highest working memory seen for each key (stage, checkpoint, dtype, device) and batch size, bytes."""

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
            self._seen = {}  # absent or damaged: it is learnt again

    def expect(self, key: str, batch: int, estimate: int) -> int:
        """Bytes to expect: see `expect`, and what ran out of memory in this process."""
        refused = [need for size, need in self._doubted.get(key, {}).items() if size <= batch]
        return max([expect(self._seen.get(key, {}), batch, estimate), *refused])

    def doubt(self, key: str, batch: int, need_bytes: int) -> None:
        """A batch of this size ran out of memory: expect `need_bytes` of it and of larger ones.

        Not kept across restarts, since the memory may have been taken by another program; and never of a single item,
        which would shut the stage for good.
        """
        if batch > 1:
            self._doubted.setdefault(key, {})[batch] = need_bytes

    def learn(self, key: str, batch: int, working_bytes: int) -> None:
        """Remember a peak; smaller batches never expect more than larger ones were seen to take."""
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
            half.unlink(missing_ok=True)  # a full or read-only disk costs us what was learnt, nothing else
