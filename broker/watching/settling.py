"""Decides when a file has stopped growing: its size and time stayed the same for a while. Pure."""

from collections.abc import Iterator

from golem_chain.broker.watching.files import Signature

#: An empty file is about to be written, more often than not: it has to stay the same for this many times longer.
EMPTY_FACTOR = 10


class Settling:
    """The files that may still grow. Times are of a monotonic clock, seconds."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[str, tuple[Signature, float]] = {}
        self._restless: dict[str, float] = {}  # when a file was first seen

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._since))

    def see(self, file: str, seen: Signature, now: float) -> None:
        """Note what a file looks like; a change begins the wait anew."""
        self._restless.setdefault(file, now)
        if file not in self._since or self._since[file][0] != seen:
            self._since[file] = (seen, now)

    def forget(self, file: str) -> None:
        """Drop a file, if it is there."""
        self._since.pop(file, None)
        self._restless.pop(file, None)

    def take(self, now: float) -> dict[str, Signature]:
        """Remove the files that have stayed the same for long enough, and return them in the order they came."""
        settled = {file: seen for file, (seen, _) in self._since.items() if self._has_settled(file, now)}
        for file in settled:
            self.forget(file)
        return settled

    def restless(self, now: float) -> bool:
        """Return whether all files have been growing, or empty, for so long that nobody can say when they end."""
        return not any(
            self._has_settled(file, now) or now - first <= self._settle_s * EMPTY_FACTOR
            for file, first in self._restless.items()
        )

    def _has_settled(self, file: str, now: float) -> bool:
        seen, since = self._since[file]
        return now - since >= self._settle_s * (1 if seen.size_bytes else EMPTY_FACTOR)
