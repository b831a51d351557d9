"""The guards: rules that reject silence and invented text. The transcript names those that fired. Pure.

level        the file is practically digital silence
vad          the voice activity detector finds no voice
no_speech    p(no speech) of a window is above the threshold
annotation   the text only describes a sound: "(applause)", "[Music]", "♪"
loop         the text repeats itself
invention    the text is a known invention of Whisper, or repeats the prompt, and there is too little voice for it

The names and their order are those of `shared.settings.GUARDS`; GOLEM_GUARDS selects a subset.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golem_chain.workers.stages.scribe.hallucinations import is_invention, least_s

#: Below this p(no speech) the model is sure of speech, as it is for four in five keywords and commands.
SURE_SPEECH = 0.2
#: Text that compresses better than this repeats itself. Source: Whisper's `compression_ratio_threshold`.
LOOP_RATIO = 2.4
#: Limits on the tokens for a voice duration: (constant, per second). Text above FASTEST is always a loop; text above
#: FAST is a loop if it repeats a phrase. Speech has 3 to 4 tokens per second.
FASTEST = (16.0, 12.0)
FAST = (8.0, 5.0)
_LOOP_WORDS = 3
#: A text echoes the prompt if one in _ECHO_SHARE of its words is in a phrase of this many words of the prompt.
_ECHO_WORDS, _ECHO_SHARE = 3, 3
_LOOP_TIMES = 4
_ANNOTATION = re.compile(r"(?:[\[(*♪♫{<][^\])*♪♫}>]*[\])*♪♫}>]|[\s.,!?…♪♫-])+")

#: Replacement character (incomplete UTF-8), zero-width space, byte order mark, soft hyphen. Joiners must stay.
_INVISIBLE = "\ufffd\u200b\ufeff\u00ad"


@dataclass(frozen=True)
class Evidence:
    """What the guards know about a window."""

    text: str
    tokens: int
    no_speech_prob: float
    no_speech_limit: float
    voiced_s: float  # seconds of voice, short pauses bridged
    clear_s: float  # seconds of frames above the threshold only
    prompt: str = ""  # that the model was given


#: The guards that judge text; `level` and `vad` run before the model.
_JUDGES: dict[str, Callable[[Evidence], bool]] = {
    "no_speech": lambda found: found.no_speech_prob > found.no_speech_limit,
    "annotation": lambda found: is_annotation(found.text),
    "loop": lambda found: loops(found.text, found.tokens, found.voiced_s),
    "invention": lambda found: is_invented(found.text, found.clear_s, found.no_speech_prob, found.prompt),
}


def rejecting(found: Evidence, guards: Sequence[str]) -> str | None:
    """The first guard that rejects the text; None if all accept it."""
    return next((name for name in guards if name in _JUDGES and _JUDGES[name](found)), None)


def compression_ratio(text: str) -> float:
    """Bytes of the text divided by its bytes after zlib."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def loops(text: str, tokens: int, voiced_s: float) -> bool:
    """Whether the text repeats itself, as Whisper's output does for unfamiliar sounds.

    A spoken "stop, stop, stop, stop" passes: a loop has more tokens than the voice has time for.
    """
    if compression_ratio(text) > LOOP_RATIO or tokens > FASTEST[0] + FASTEST[1] * voiced_s:
        return True
    return tokens > FAST[0] + FAST[1] * voiced_s and first_repeat(text.lower().split()) is not None


def first_repeat(words: Sequence[str]) -> int | None:
    """The index of the first phrase of at most three words that occurs at least four times in a row."""
    for size in range(1, _LOOP_WORDS + 1):
        for at in range(len(words) - size * _LOOP_TIMES + 1):
            phrase = words[at : at + size]
            if all(words[at + n * size : at + (n + 1) * size] == phrase for n in range(1, _LOOP_TIMES)):
                return at
    return None


def is_annotation(text: str) -> bool:
    """Whether the text only describes a sound."""
    return bool(text.strip()) and _ANNOTATION.fullmatch(text) is not None


def is_invented(text: str, clear_s: float, no_speech_prob: float, prompt: str = "") -> bool:
    """Whether the text is a known invention or a part of the prompt, the voice is too short for it, and the model is
    not sure of speech. A spoken "Thank you." passes: it takes at least 0.24 s, while a voice just below the threshold
    has no clear frames."""
    return (is_invention(text) or echoes(text, prompt)) and clear_s < least_s(text) and no_speech_prob > SURE_SPEECH


def echoes(text: str, prompt: str) -> bool:
    """Whether a third of the text's words are in phrases of the prompt, of three words or the whole text: on noise,
    Whisper repeats a prompt with variations. Case and punctuation do not count."""
    said, given = (re.findall(r"\w+", one.lower()) for one in (text, prompt))
    size = min(_ECHO_WORDS, len(said))
    if not size:
        return False
    phrases = {tuple(given[at : at + size]) for at in range(len(given) - size + 1)}
    starts = [at for at in range(len(said) - size + 1) if tuple(said[at : at + size]) in phrases]
    return _ECHO_SHARE * len({at + n for at in starts for n in range(size)}) >= len(said)


def tidy(text: str) -> str:
    """The text on one line in NFC, without control and invisible characters."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
    return "".join(c for c in text if c == " " or (c not in _INVISIBLE and unicodedata.category(c) != "Cc")).strip()
