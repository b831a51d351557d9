"""Measured working memory of each stage by batch size, kept across restarts in a small JSON file.

    measured 3 -> 25 MB, 7 -> 13 MB        what is expected: 1 to 7 -> 25 MB, since a larger batch never needs less
    then 200 batches of at most 13 MB      what is expected: 1 to 7 -> 13 MB, since the 25 MB were another program's

A peak is believed until two windows of measurements have passed without it: on a card that others use, a single reading
may contain their noise. What was forgotten too early ends in an out-of-memory, after which the batch is halved.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

#: Measurements of one stage in a window. A peak counts in the window in which it was measured and in the next one.
WINDOW = 100
#: A change of less than this share is not worth writing the file.
_WORTH_WRITING = 0.02


def expect(seen: Mapping[int, int], batch: int, estimate: int) -> int:
    """Expected working memory of a batch in bytes: from measurements, otherwise the engine's estimate. Never decreases
    as the batch grows, whatever was measured, if the estimate does not.

    The measurement of the nearest batch size at or above is an upper bound, and those below it are lower bounds. From
    smaller sizes the value is scaled in proportion, a slight overestimate because part of the working memory does not
    depend on the batch size.
    """
    if not seen:
        return estimate
    largest = max(seen)
    bound = min((size for size in seen if size >= batch), default=largest)
    most = max(seen[size] for size in seen if size <= bound)
    return most if batch <= largest else max(estimate, most * batch // largest)


class Peaks:
    """Highest recent working memory for each key (stage, checkpoint, dtype, device) and batch size, bytes.

    `device` names the device, so that two cards that share a store do not take each other's measurements for their own.
    Workers that share the file keep what the others have written.
    """

    def __init__(self, file: Path | None = None, device: str = "") -> None:
        self._file, self._device = file, device
        self._now: dict[str, dict[int, int]] = {}  # highest of this window
        self._before: dict[str, dict[int, int]] = {}  # highest of the window before, or what the file had
        self._counts: dict[str, int] = {}  # measurements in this window
        self._doubted: dict[str, dict[int, int]] = {}
        self._written: dict[str, dict[int, int]] = {}
        if file is not None:
            self._before = {key: sizes for key, sizes in _read(file).items() if key.endswith(self._suffix)}
            self._written = {key: dict(sizes) for key, sizes in self._before.items()}

    @property
    def _suffix(self) -> str:
        return f" [{self._device}]" if self._device else ""

    def expect(self, key: str, batch: int, estimate: int) -> int:
        """As the function `expect`, but not below what is known to run out of memory in this process."""
        refused = [need for size, need in self._doubted.get(key, {}).items() if size <= batch]
        return max([expect(self._seen(key + self._suffix), batch, estimate), *refused])

    def doubt(self, key: str, batch: int, need_bytes: int) -> None:
        """Record that a batch of this size ran out of memory: expect `need_bytes` for it and for larger ones.

        Not kept across restarts, since another program may have used the memory. Never recorded for a single item,
        which would block the stage for good.
        """
        if batch > 1:
            self._doubted.setdefault(key, {})[batch] = need_bytes

    def learn(self, key: str, batch: int, working_bytes: int) -> None:
        """Record a measured peak."""
        key += self._suffix
        sizes = self._now.setdefault(key, {})
        sizes[batch] = max(sizes.get(batch, 0), working_bytes)
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] >= WINDOW:
            self._before[key], self._now[key], self._counts[key] = sizes, {}, 0
        if _differ(self._seen(key), self._written.get(key, {})):
            self._store(key)

    def _seen(self, key: str) -> dict[int, int]:
        now, before = self._now.get(key, {}), self._before.get(key, {})
        return {size: max(now.get(size, 0), before.get(size, 0)) for size in now | before}

    def _store(self, key: str) -> None:
        """Replace the file's entry of this key. A lock keeps two workers from losing each other's entries."""
        if self._file is None:
            return
        half = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.with_name(f".{self._file.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # busy: OSError, and the next measurement tries again
                half.write_text(json.dumps({**_read(self._file), key: self._seen(key)}, indent=1))
                half.replace(self._file)
            self._written[key] = self._seen(key)
        except OSError:
            with suppress(OSError):  # a full or read-only disk only loses the measurements
                half.unlink(missing_ok=True)


def _differ(seen: Mapping[int, int], written: Mapping[int, int]) -> bool:
    """Whether the sizes differ, or a value by more than `_WORTH_WRITING`."""
    if seen.keys() != written.keys():
        return True
    return any(abs(seen[size] - written[size]) > _WORTH_WRITING * written[size] for size in seen)


def _read(file: Path) -> dict[str, dict[int, int]]:
    """The entries of the file; none if it is missing or damaged, since all is measured again."""
    try:
        stored = json.loads(file.read_text())
        return {
            str(key): {int(size): int(value) for size, value in sizes.items() if int(size) > 0 and int(value) > 0}
            for key, sizes in stored.items()
        }
    except (OSError, ValueError, AttributeError, TypeError, OverflowError):
        return {}
