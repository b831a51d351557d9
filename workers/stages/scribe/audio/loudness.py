"""How loud a recording is: by its loudest sample, unless that is a click. Pure.

A click or a knock at the microphone is often far louder than the voice. Levels come from frames of the voice activity
detector, so that they can be measured in its spans of voice alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.workers.stages.scribe.audio.speech import FRAME_S, MARGIN_S, Span

_RATE = 16_000  # Hz
_FRAME = round(_RATE * FRAME_S)  # samples
_PIECE = _FRAME // 16  # samples, 2 ms: a click fills one or two of the pieces of a frame, voice all of them
_BLOCK = 9375 * _FRAME  # samples per read, 5 minutes
#: The sustained level is reached by this many frames, so that a knock of up to two frames (64 ms) does not count.
_FRAMES = 3
#: A loudest sample above this many times the sustained level is a click. In 248 clips with speech the ratio
#: is at most 7.9, by the median 1.9.
_CLICK, _USUAL = 8.0, 2.0


@dataclass(frozen=True)
class Levels:
    """For every frame of 32 ms the largest absolute sample, and the level that half of the frame reaches: the median of
    its pieces' largest samples. Both float32 (frames,)."""

    peaks: npt.NDArray[np.float32]
    halves: npt.NDArray[np.float32]

    @classmethod
    def of(cls, samples: np.ndarray) -> "Levels":
        """Measure float32 (n,) at 16 kHz; the last frame is padded with zeros. Reads in blocks."""
        found = [_measure(samples[start : start + _BLOCK]) for start in range(0, len(samples), _BLOCK)]
        peaks, halves = zip(*found, strict=True) if found else ((np.zeros(0, np.float32),),) * 2
        return cls(np.concatenate(peaks), np.concatenate(halves))

    @property
    def peak(self) -> float:
        """The largest absolute sample, 0.0 if there are none."""
        return float(self.peaks.max(initial=0.0))

    @property
    def loudness(self) -> float:
        """The largest absolute sample, but for clicks: if it is one, what is usual above the sustained level."""
        if not len(self.halves):
            return 0.0
        place = max(0, len(self.halves) - _FRAMES)
        sustained = float(np.partition(self.halves, place)[place])
        return self.peak if self.peak <= _CLICK * sustained else _USUAL * sustained

    def within(self, spans: Sequence[Span]) -> "Levels":
        """The levels of the frames of some spans and their margins."""
        inside = np.zeros(len(self.peaks), bool)
        for span in spans:
            first = max(0.0, span.start_s - MARGIN_S)
            inside[round(first / FRAME_S) : round((span.end_s + MARGIN_S) / FRAME_S)] = True
        return Levels(self.peaks[inside], self.halves[inside])


def _measure(samples: np.ndarray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    whole = np.pad(np.abs(samples), (0, -len(samples) % _FRAME))
    pieces = whole.reshape(-1, _FRAME // _PIECE, _PIECE).max(axis=2)
    middle = pieces.shape[1] // 2
    return pieces.max(axis=1), np.partition(pieces, middle, axis=1)[:, middle]
