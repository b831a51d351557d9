"""Pure: where in a recording somebody speaks, and how loud it is. The guards `level` and `vad` decide by it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_S = 0.032  # of the voice activity detector
#: A file whose loudest sample is below this (-78 dB) holds no sound that a 16-bit recorder could have meant.
SILENT_PEAK = 1.25e-4
#: Where the loudest sample of a quiet recording is lifted to, and by how much at most (40 dB).
LEVEL = 0.5
MOST_GAIN = 100.0
#: The model hears a lifted recording only where its loudest sample is below this: others reach it as they are.
QUIET_PEAK = 0.15
#: A voice is doubtful between this share of the threshold and the threshold itself. Measured on 36 clips without speech
#: and 248 with: at 0.5 the threshold alone loses two keywords and one quiet command, at 0.3 one keyword.
DOUBT = 0.85
#: A voice is sure where the detector gives this probability for so many seconds, and in proportion for fewer.
SURE = (0.8, 0.25)
#: The limit of p(no speech) is lower by this where the voice is doubtful and higher where it is sure. Measured with
#: tiny.en: clips without speech 0.59 and more (or no voice at all), with speech up to 0.48, one sure voice 0.66.
DOUBTFUL_LIMIT = -0.1
SURE_LIMIT = 0.2
#: A pause shorter than this does not end a span of voice.
PAUSE_S = 0.3
#: Kept around a span of voice: soft consonants lie outside of what the detector calls voice.
MARGIN_S = 0.25


@dataclass(frozen=True)
class Span:
    """A stretch of voice, seconds."""

    start_s: float
    end_s: float


def is_silent(peak: float) -> bool:
    """The level gate; `peak` is the largest absolute sample of [-1, 1]."""
    return peak < SILENT_PEAK


def gain(peak: float) -> float:
    """What a quiet recording is multiplied by before the detector listens, which was trained on speech at ordinary
    levels. Bounded (40 dB), so that the hiss of an empty room stays hiss."""
    return min(max(LEVEL / peak, 1.0), MOST_GAIN) if peak > 0 else 1.0


def voiced(probabilities: npt.NDArray[np.float32], threshold: float) -> list[Span]:
    """Spans of voice from the frames' probabilities: what is above the threshold, short pauses bridged."""
    spans: list[Span] = []
    for at in np.flatnonzero(probabilities >= threshold):
        start, end = float(at) * FRAME_S, float(at + 1) * FRAME_S
        if spans and start - spans[-1].end_s <= PAUSE_S:
            spans[-1] = Span(spans[-1].start_s, end)
        else:
            spans.append(Span(start, end))
    return spans


def voice(probabilities: npt.NDArray[np.float32], threshold: float) -> tuple[list[Span], float]:
    """Spans of voice, and what is added to the limit of p(no speech): a voice that only comes near the threshold is
    heard by the model, which then must be surer that it is speech; a long clear one is believed more easily."""
    spans = voiced(probabilities, threshold)
    if not spans:
        return voiced(probabilities, threshold * DOUBT), DOUBTFUL_LIMIT
    sure_s = FRAME_S * int((probabilities >= SURE[0]).sum())
    return spans, SURE_LIMIT * min(sure_s / SURE[1], 1.0)


def model_gain(peak: float) -> float:
    """What a recording is multiplied by before the model hears it: nothing but the very quiet, which Whisper would call
    silent (five of forty commands at -40 dB)."""
    return gain(peak) if peak < QUIET_PEAK else 1.0


def spans_between(spans: Sequence[Span], start_s: float, end_s: float) -> Sequence[Span]:
    """Those of the spans, which are in order, that reach into the time between."""
    first = bisect_right(spans, start_s, key=lambda span: span.end_s)
    return spans[first : bisect_left(spans, end_s, lo=first, key=lambda span: span.start_s)]


def voiced_between(spans: Sequence[Span], start_s: float, end_s: float) -> float:
    """Seconds of voice between two times."""
    return sum(min(span.end_s, end_s) - max(span.start_s, start_s) for span in spans_between(spans, start_s, end_s))


def clear_between(probabilities: npt.NDArray[np.float32], threshold: float, start_s: float, end_s: float) -> float:
    """Seconds of the frames above the threshold between two times."""
    inside = probabilities[max(0, int(start_s / FRAME_S)) : int(np.ceil(end_s / FRAME_S))]
    return FRAME_S * int((inside >= threshold).sum())


def speech_s(spans: Sequence[Span]) -> float:
    """Seconds of voice."""
    return sum(span.end_s - span.start_s for span in spans)
