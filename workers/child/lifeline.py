"""What the child tells the parent while it computes, in shared memory: until when it may take, and its last words; and
what the parent tells the child: that the worker stops.

                                              allowed from now on
    decoding, loading: length not known       GOLEM_TIME_LIMIT_S, and again after each sign of life
    running a batch of known audio            GOLEM_TIME_LIMIT_S + GOLEM_TIME_LIMIT_PER_AUDIO_S for each second of it
    between runs: waiting for Redis           no limit

So the limit neither depends on a guess at the length nor counts what others in the batch, a reload or an outage took.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable

#: The process it applies to (0: none), the end of its time (seconds, monotonic), and what was allowed in all (seconds).
_FIELDS = struct.Struct("qdd")
#: The process that left last words, their length in bytes, and their text in UTF-8.
_WORDS = struct.Struct("qH400s")
#: Whether the worker stops.
_STOPS = struct.Struct("?")


def allowed_s(limit_s: float, per_audio_s: float, audio_s: float | None) -> float:
    """How long a step may take, seconds. `audio_s`: the audio that it computes, None if that is not known. Pure."""
    return limit_s + per_audio_s * (audio_s or 0.0)


class Lifeline:
    """Shared by a parent and the children forked after it was created. The clock must be the same in all processes."""

    def __init__(self, limit_s: float, per_audio_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._per_audio_s, self._clock = limit_s, per_audio_s, clock
        self._shared = mmap.mmap(-1, _FIELDS.size + _WORDS.size + _STOPS.size)  # shared with forks, unlike other memory

    def alive(self, audio_s: float | None = None) -> None:
        """In the child: a step begins or goes on. `audio_s` as in `allowed_s`."""
        allowed = allowed_s(self._limit_s, self._per_audio_s, audio_s)
        _FIELDS.pack_into(self._shared, 0, os.getpid(), self._clock() + allowed, allowed)

    def rest(self) -> None:
        """In the child: nothing is being computed."""
        _FIELDS.pack_into(self._shared, 0, 0, 0.0, 0.0)

    def overdue(self, pid: int) -> float | None:
        """In the parent: the seconds that were allowed, if the child `pid` has taken longer, otherwise None."""
        owner, ends_at, allowed = _FIELDS.unpack_from(self._shared)
        return allowed if owner == pid and self._clock() > ends_at else None

    def stop(self) -> None:
        """In the parent: what has not begun is to be handed back."""
        _STOPS.pack_into(self._shared, _FIELDS.size + _WORDS.size, True)

    @property
    def stops(self) -> bool:
        """In the child: whether the parent has said so."""
        return bool(_STOPS.unpack_from(self._shared, _FIELDS.size + _WORDS.size)[0])

    def leave_words(self, why: str) -> None:
        """In the child: it ends now, for this reason."""
        text = why.encode(errors="replace")[:400]
        _WORDS.pack_into(self._shared, _FIELDS.size, os.getpid(), len(text), text)

    def last_words(self, pid: int | None) -> str:
        """In the parent: why the child `pid` ended, if it said so; otherwise empty."""
        owner, length, text = _WORDS.unpack_from(self._shared, _FIELDS.size)
        return str(text[:length].decode(errors="replace")) if owner and owner == pid else ""
