"""Finds where utterances begin and end, from the probability of speech of each frame. Pure: no sound, no clock.

idle ── 3 voiced frames ─► speaking ── 0.16 s of silence ─► pausing ── 0.5 s of silence ─► idle (Ended)
                              ▲                                │
                              └────────── voice ◄──────────────┘

`Paused` comes early, so that the utterance can be heard while the silence still lasts: if it turns out to be the end,
the answer is there. An utterance that grows long ends at a shorter and shorter pause, and at the latest where the last
seconds sound least like speech, since the Scribe hears 30 s at once.
"""

from collections import deque
from dataclasses import dataclass

FRAME_S = 0.032  # 512 samples at 16 kHz


@dataclass(frozen=True)
class Bounds:
    """What counts as an utterance. Times in seconds; probabilities are those of the detector."""

    begin: float = 0.5  # voice that begins an utterance, or goes on after a pause
    stay: float = 0.35  # below this a frame of an utterance is silent, as in the Scribe (GOLEM_VAD_THRESHOLD)
    begin_s: float = 0.096  # of voice without a gap
    before_s: float = 0.3  # of sound before the first voiced frame that belong to it: soft consonants
    hint_s: float = 0.16  # of silence until `Paused`
    pause_s: float = 0.5  # of silence until `Ended`
    long_s: float = 20.0  # from here on, `hint_s` of silence are enough
    most_s: float = 28.0  # with the silence at both ends less than the Scribe's window of 30 s
    cut_s: float = 3.0  # how far back the best place for a cut is looked for


@dataclass(frozen=True)
class Began:
    """An utterance began. `at`: its first frame, counted from the beginning of the stream."""

    at: int


@dataclass(frozen=True)
class Paused:
    """The speaker may have finished. The utterance ends before frame `at` if no voice follows."""

    at: int


@dataclass(frozen=True)
class Resumed:
    """The speaker had not finished."""


@dataclass(frozen=True)
class Ended:
    """The utterance ended before frame `at`."""

    at: int


Event = Began | Paused | Resumed | Ended


class Endpointer:
    """Takes one frame after the other. Events tile the stream: an utterance begins at or after the end of the last."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._seen = 0  # frames
        self._free = 0  # the first frame that belongs to no utterance yet
        self._voiced = 0  # voiced frames without a gap
        self._quiet = 0  # silent frames without a gap, within an utterance
        self._start: int | None = None
        self._paused_at: int | None = None
        self._last: deque[float] = deque(maxlen=_frames(self._bounds.cut_s))

    @property
    def speaking(self) -> bool:
        """Whether the last frame belongs to an utterance and was not silent."""
        return self._start is not None and not self._quiet

    def feed(self, chance: float) -> tuple[Event, ...]:
        """Return what the next frame, with this probability of speech, brings about."""
        self._seen += 1
        self._last.append(chance)
        return self._idle(chance) if self._start is None else self._within(chance, self._start)

    def finish(self) -> tuple[Event, ...]:
        """Return what the end of the stream brings about."""
        if self._start is None:
            return ()
        return self._end(self._seen if self._paused_at is None else self._paused_at)

    def _idle(self, chance: float) -> tuple[Event, ...]:
        self._voiced = self._voiced + 1 if chance >= self._bounds.begin else 0
        if self._voiced < _frames(self._bounds.begin_s):
            return ()
        first = self._seen - self._voiced - _frames(self._bounds.before_s)
        self._start, self._quiet, self._paused_at = max(self._free, first), 0, None
        return (Began(self._start),)

    def _within(self, chance: float, start: int) -> tuple[Event, ...]:
        bounds = self._bounds
        if chance >= (bounds.stay if self._paused_at is None else bounds.begin):
            self._quiet = 0
            resumed: tuple[Event, ...] = () if self._paused_at is None else (Resumed(),)
            self._paused_at = None
            return resumed + self._at_most(start)
        self._quiet += 1
        length = self._seen - start
        if self._paused_at is not None:
            return self._end(self._paused_at) if self._quiet >= _frames(bounds.pause_s) else ()
        if self._quiet < _frames(bounds.hint_s):
            return self._at_most(start)
        self._paused_at = self._seen
        paused = Paused(self._seen)
        ends = length >= _frames(bounds.long_s) or self._quiet >= _frames(bounds.pause_s)
        return (paused, *self._end(self._seen)) if ends else (paused,)

    def _at_most(self, start: int) -> tuple[Event, ...]:
        """Cut an utterance that has become too long; what follows the cut is the next one."""
        if self._seen - start < _frames(self._bounds.most_s):
            return ()
        back = min(range(len(self._last)), key=lambda n: self._last[n])
        cut = max(start + 1, self._seen - len(self._last) + back + 1)
        ended = self._end(cut)
        if cut >= self._seen:
            return ended
        self._start = cut
        return (*ended, Began(cut))

    def _end(self, at: int) -> tuple[Event, ...]:
        self._start, self._paused_at, self._free = None, None, at
        self._voiced = self._quiet = 0
        return (Ended(at),)


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_S))
