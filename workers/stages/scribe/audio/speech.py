"""Levels and spans of voice in a recording, the basis of the guards `level` and `vad`. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_S = 0.032  # of the voice activity detector
#: A file whose loudest sample is below this (-78 dB) counts as silent: that is 4 steps of 16-bit audio.
SILENT_PEAK = 1.25e-4
#: Quiet recordings are amplified until their loudness reaches LEVEL, by at most MOST_GAIN (40 dB).
LEVEL = 0.5
MOST_GAIN = 100.0
#: The model gets the amplified recording only if the loudness of its voice is below this, otherwise the original.
QUIET = 0.15
#: A voice is doubtful between this share of the threshold and the threshold itself. Measured on 36 clips without speech
#: and 248 with: at 0.5 the threshold alone loses two keywords and one quiet command, at 0.3 one keyword.
DOUBT = 0.85
#: A voice is certain if the detector gives this probability for this many seconds; less counts in proportion.
SURE = (0.8, 0.25)
#: Change of the limit for p(no speech) if the voice is doubtful or certain. Measured with tiny.en: clips without speech
#: 0.59 and more (or no voice at all), with speech up to 0.48, one certain voice 0.66.
DOUBTFUL_LIMIT = -0.1
SURE_LIMIT = 0.2
#: Shorter pauses do not end a span of voice.
PAUSE_S = 0.3
#: Margin kept around a span of voice, since the detector misses soft consonants.
MARGIN_S = 0.25


@dataclass(frozen=True)
class Span:
    """A stretch of voice, in seconds."""

    start_s: float
    end_s: float


def is_silent(peak: float) -> bool:
    """The `level` guard; `peak` is the largest absolute sample, in [0, 1]."""
    return peak < SILENT_PEAK


def gain(loudness: float) -> float:
    """The gain for the detector, which was trained on speech at normal levels. Limited to 40 dB, so that the hiss of an
    empty room does not turn into voice. `loudness`: the largest absolute sample but for clicks (loudness.py)."""
    return min(max(LEVEL / loudness, 1.0), MOST_GAIN) if loudness > 0 else 1.0


def voiced(probabilities: npt.NDArray[np.float32], threshold: float) -> list[Span]:
    """Spans of voice: frames at or above the threshold, with short pauses bridged."""
    spans: list[Span] = []
    for at in np.flatnonzero(probabilities >= threshold):
        start, end = float(at) * FRAME_S, float(at + 1) * FRAME_S
        if spans and start - spans[-1].end_s <= PAUSE_S:
            spans[-1] = Span(spans[-1].start_s, end)
        else:
            spans.append(Span(start, end))
    return spans


def voice(probabilities: npt.NDArray[np.float32], threshold: float) -> tuple[list[Span], float]:
    """Spans of voice, and the change of the limit for p(no speech). A voice slightly below the threshold still goes to
    the model, with a stricter limit; a long, clear voice gets a more lenient one."""
    spans = voiced(probabilities, threshold)
    if not spans:
        return voiced(probabilities, threshold * DOUBT), DOUBTFUL_LIMIT
    sure_s = FRAME_S * int((probabilities >= SURE[0]).sum())
    return spans, SURE_LIMIT * min(sure_s / SURE[1], 1.0)


def model_gain(loudness: float) -> float:
    """The gain for the model: only very quiet recordings are amplified, which Whisper would take for silence (five of
    forty commands at -40 dB)."""
    return gain(loudness) if loudness < QUIET else 1.0


def amplified(samples: npt.NDArray[np.float32], gain: float) -> npt.NDArray[np.float32]:
    """The samples times the gain, clipped to [-1, 1]: a click is not amplified beyond what a recording can hold."""
    return np.clip(samples * np.float32(gain), -1.0, 1.0) if gain > 1 else samples


def spans_between(spans: Sequence[Span], start_s: float, end_s: float) -> Sequence[Span]:
    """The spans that overlap the time range; `spans` must be sorted."""
    first = bisect_right(spans, start_s, key=lambda span: span.end_s)
    return spans[first : bisect_left(spans, end_s, lo=first, key=lambda span: span.start_s)]


def voiced_between(spans: Sequence[Span], start_s: float, end_s: float) -> float:
    """Seconds of voice between two times."""
    return sum(min(span.end_s, end_s) - max(span.start_s, start_s) for span in spans_between(spans, start_s, end_s))


def clear_between(probabilities: npt.NDArray[np.float32], threshold: float, start_s: float, end_s: float) -> float:
    """Seconds of frames at or above the threshold between two times."""
    inside = probabilities[max(0, int(start_s / FRAME_S)) : int(np.ceil(end_s / FRAME_S))]
    return FRAME_S * int((inside >= threshold).sum())


def speech_s(spans: Sequence[Span]) -> float:
    """Total seconds of voice."""
    return sum(span.end_s - span.start_s for span in spans)
