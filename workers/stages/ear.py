"""Pure: is there speech, and is this text to be believed? Each guard has a name that the transcript reports.

level        the file is as good as digital silence
vad          the voice activity detector finds no voice
no_speech    p(no speech) of a window is above the threshold
annotation   the text only describes a sound: "(applause)", "[Music]", "♪"
loop         the text repeats itself
invention    the text is one that Whisper is known to make up, and there is too little voice for it

The names and their order are those of `shared.settings.GUARDS`; GOLEM_GUARDS leaves out some.
"""

import re
import unicodedata
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golem_chain.workers.stages.inventions import is_invention, least_s

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
#: Below this p(no speech) the model is sure that it heard speech, as of four in five keywords and commands.
SURE_SPEECH = 0.2
#: A pause shorter than this does not end a span of voice.
PAUSE_S = 0.3
#: Kept around a span of voice: soft consonants lie outside of what the detector calls voice.
MARGIN_S = 0.25
#: Text that compresses better than this repeats itself. Source: Whisper's `compression_ratio_threshold`.
LOOP_RATIO = 2.4
#: Tokens that a voice of so many seconds can have, `(at once, per second)`: beyond the first nobody speaks, beyond the
#: second only somebody who does not repeat himself. Speech has 3 to 4 tokens a second.
FASTEST = (16.0, 12.0)
FAST = (8.0, 5.0)
_LOOP_WORDS = 3
_LOOP_TIMES = 4
_ANNOTATION = re.compile(r"(?:[\[(*♪♫{<][^\])*♪♫}>]*[\])*♪♫}>]|[\s.,!?…♪♫-])+")

#: Replacement character (half a letter), zero-width space, byte order mark, soft hyphen. Joiners are needed.
_NOTHING = "\ufffd\u200b\ufeff\u00ad"


@dataclass(frozen=True)
class Span:
    """A stretch of voice, seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Evidence:
    """What is known of a window when its text is to be judged."""

    text: str
    tokens: int
    no_speech_prob: float
    no_speech_limit: float
    voiced_s: float  # seconds that the detector calls voiced
    clear_s: float  # of the frames above its threshold alone, pauses not bridged


#: The guards that judge a text; `level` and `vad` come before the model.
_JUDGES: dict[str, Callable[[Evidence], bool]] = {
    "no_speech": lambda found: found.no_speech_prob > found.no_speech_limit,
    "annotation": lambda found: is_annotation(found.text),
    "loop": lambda found: loops(found.text, found.tokens, found.voiced_s),
    "invention": lambda found: is_invented(found.text, found.clear_s, found.no_speech_prob),
}


def rejecting(found: Evidence, guards: Sequence[str]) -> str | None:
    """The first of the guards that does not believe the text; None where all do."""
    return next((name for name in guards if name in _JUDGES and _JUDGES[name](found)), None)


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


def compression_ratio(text: str) -> float:
    """Bytes of the text by the bytes that zlib makes of them."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def loops(text: str, tokens: int, voiced_s: float) -> bool:
    """Does the text repeat itself, as Whisper does where it hears nothing it knows?

    Somebody who says "stop, stop, stop, stop" is believed: a loop goes on for longer than the voice.
    """
    if compression_ratio(text) > LOOP_RATIO or tokens > FASTEST[0] + FASTEST[1] * voiced_s:
        return True
    return tokens > FAST[0] + FAST[1] * voiced_s and first_repeat(text.lower().split()) is not None


def first_repeat(words: Sequence[str]) -> int | None:
    """Where a phrase of at most three words begins that stands at least four times in a row."""
    for size in range(1, _LOOP_WORDS + 1):
        for at in range(len(words) - size * _LOOP_TIMES + 1):
            phrase = words[at : at + size]
            if all(words[at + n * size : at + (n + 1) * size] == phrase for n in range(1, _LOOP_TIMES)):
                return at
    return None


def is_annotation(text: str) -> bool:
    """Does the text only describe a sound?"""
    return bool(text.strip()) and _ANNOTATION.fullmatch(text) is not None


def is_invented(text: str, clear_s: float, no_speech_prob: float) -> bool:
    """Is it a text that Whisper makes up, the voice too short to have said it, and the model not sure either? Who says
    "Thank you." is believed: that takes 0.24 s at least, and a voice that is only near the threshold has none."""
    return is_invention(text) and clear_s < least_s(text) and no_speech_prob > SURE_SPEECH


def tidy(text: str) -> str:
    """The text on one line, composed (NFC), without control characters and those that stand for nothing."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
    return "".join(c for c in text if c == " " or (c not in _NOTHING and unicodedata.category(c) != "Cc")).strip()
