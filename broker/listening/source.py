"""Where the sound comes from: what a microphone and a replayed recording have in common."""

import queue
from typing import Protocol

QUEUED_MOST = 300  # blocks of 32 ms: 10 s, after which the newest are dropped


class Source(Protocol):
    """A stream of sound."""

    name: str  # for the user
    patient: bool  # whether the sound waits for its reader, as that of a file does

    def read(self, timeout_s: float) -> bytes | None:
        """Return what has come, in any length; nothing within `timeout_s` seconds: empty; None at the end.

        Raises NoMicrophone if no more will come although the stream has not ended.
        """

    def dropped_s(self) -> float:
        """Return the seconds of sound that were dropped since the last call because nobody read them."""

    def close(self) -> None:
        """Stop it."""


class Blocks:
    """A bounded queue between the thread that delivers sound and the one that reads it."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUED_MOST)
        self._dropped = 0  # bytes

    def put(self, pcm: bytes) -> None:
        """Add a block, or drop it if the reader is too far behind. Never waits: a sound card does not."""
        try:
            self._queue.put_nowait(pcm)
        except queue.Full:
            self._dropped += len(pcm)

    def get(self, timeout_s: float) -> bytes:
        """Return a block, empty after `timeout_s` seconds without one."""
        try:
            return self._queue.get(timeout=timeout_s) or b""
        except queue.Empty:
            return b""

    def dropped(self) -> int:
        """Return the bytes dropped since the last call."""
        found, self._dropped = self._dropped, 0
        return found
