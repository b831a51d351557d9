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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golem_chain.workers.stages.scribe.hallucinations import is_invention, least_s

#: Below this p(no speech) the model is sure that it heard speech, as of four in five keywords and commands.
SURE_SPEECH = 0.2
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
