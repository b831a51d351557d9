"""The guards: rules that reject silence and invented text. The transcript names those that fired. Pure.

level        the file is practically digital silence
vad          the voice activity detector finds no voice
no_speech    p(no speech) of a window is above the threshold; a higher one if the text is no known invention and had
             the time to be said
annotation   the text only describes a sound: "(applause)", "[Music]", "♪"
loop         the text repeats a phrase more often than there is time for
invention    the text is a known invention of Whisper, or repeats the prompt, and there is too little voice for it, or
             the model believes neither the text nor that anyone speaks

The names and their order are those of `shared.settings.GUARDS`; GOLEM_GUARDS selects a subset.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golem_chain.workers.stages.scribe.hallucinations import is_invention, least_s
from golem_chain.workers.stages.scribe.repeats import letters, longest_repeat, redundancy

#: Below this p(no speech) the model is sure of speech, as it is for four in five keywords and commands.
SURE_SPEECH = 0.2
#: Below this mean log-probability the model doubts its text, and above this p(no speech) that anyone speaks. What the
#: models invent in crops of music that the detector takes for a voice has at most -1.37 and at least 0.45 (tiny.en and
#: base). Of 48 short phrases that synthetic voices spoke, and of words that people spoke and the model took for known
#: inventions, none had both: the nearest are -1.64 with 0.29, and -1.27 with 0.40.
DOUBTED_LOGPROB = -1.3
DOUBTED_SPEECH = 0.4
#: A text with more `redundancy` is suspicious. Source: Whisper's `compression_ratio_threshold`.
SUSPICIOUS_RATIO = 2.4
#: Limits for a voice duration, (constant, per second). Speech has 3 to 4 tokens and 10 to 16 letters per second
#: (English; see `repeats.py` for others), fast speech 20 letters; no speaker reaches 33.
FAST_TOKENS = (8.0, 5.0)
FAST_LETTERS = (24.0, 20.0)
IMPOSSIBLE_LETTERS = (24.0, 33.0)
#: A text is a loop only if at least this share of its letters are in one repeat.
_LOOP_SHARE = 0.5
#: A phrase that stands this often in a row in a text that never ended is a loop however much voice there is.
_ENDLESS_TIMES = 8
#: Change of the limit for p(no speech) of a text that is no known invention and had the time to be said. Measured with
#: tiny.en: words in babble and pink noise of their own level have 0.6 to 0.9; in 639 clips without speech, with noise
#: and without, what had the time was a known invention or doubted. Four of five folds over the speakers choose it
#: for the fifth.
PLAUSIBLE_LIMIT = 0.2
#: Highest limit for a known invention and for a text that the model doubts, however certain the voice: jazz in babble
#: gave "I'm going to go to the next one." with 0.70 at a log-probability of -1.64. Source: the `no_speech_threshold` of
#: openai/whisper.
DOUBTED_LIMIT = 0.6
#: A text echoes the prompt if one in _ECHO_SHARE of its words is in a phrase of this many words of the prompt.
_ECHO_WORDS, _ECHO_SHARE = 3, 3
#: What opens and closes an annotation, and what may stand around it besides spaces.
_OPENING, _CLOSING, _BETWEEN = frozenset("[(*♪♫{<"), frozenset("])*♪♫}>"), frozenset(".,!?…♪♫-")

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
    full: bool = False  # the text was stopped by the length limit
    avg_logprob: float = 0.0  # of the text's tokens
    chosen: bool = False  # from a vocabulary: the model was not free to invent anything else


#: The guards that judge text; `level` and `vad` run before the model.
_JUDGES: dict[str, Callable[[Evidence], bool]] = {
    "no_speech": lambda found: found.no_speech_prob > no_speech_limit(found),
    "annotation": lambda found: is_annotation(found.text),
    "loop": lambda found: loops(found.text, found.tokens, found.voiced_s, found.full),
    "invention": lambda found: is_invented(
        found.text, found.clear_s, found.no_speech_prob, found.prompt, found.avg_logprob
    ),
}


def rejecting(found: Evidence, guards: Sequence[str]) -> str | None:
    """The first guard that rejects the text; None if all accept it."""
    return next((name for name in guards if name in _JUDGES and _JUDGES[name](found)), None)


def compression_ratio(text: str) -> float:
    """Bytes of the text divided by its bytes after zlib."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def loops(text: str, tokens: int, voiced_s: float, full: bool = False) -> bool:
    """Whether the text repeats a phrase of any length more often than there is time for, as Whisper's output does for
    unfamiliar sounds. `full`: it was stopped by the length limit, so it never ended.

    A spoken "stop, stop, stop, stop" passes, and so does every text without a repeat, however fast it is.
    """
    repeat = longest_repeat(text)
    if repeat is None or repeat.share < _LOOP_SHARE:
        return False
    if full and repeat.times >= _ENDLESS_TIMES:
        return True
    return tokens > _limit(FAST_TOKENS, voiced_s) and letters(text) > _limit(FAST_LETTERS, voiced_s)


def is_suspicious(text: str, tokens: int, voiced_s: float, full: bool = False) -> bool:
    """Whether the text loops or may be wrong: it compresses well or is faster than anybody speaks. It should be decoded
    another way; that alone is no reason to delete it."""
    redundant = redundancy(text) > SUSPICIOUS_RATIO
    return redundant or is_too_fast(text, voiced_s) or loops(text, tokens, voiced_s, full)


def is_too_fast(text: str, voiced_s: float) -> bool:
    """Whether nobody can say the text in the time of the voice."""
    return letters(text) > _limit(IMPOSSIBLE_LETTERS, voiced_s)


def _limit(rate: tuple[float, float], voiced_s: float) -> float:
    return rate[0] + rate[1] * voiced_s


def is_annotation(text: str) -> bool:
    """Whether the text only describes a sound: one or more annotations, punctuation and notes.

    "♪" may open and close an annotation or stand alone. Both readings are followed at once, in time linear in the
    length: a regular expression that tries them one after the other takes exponential time.
    """
    outside, inside = True, False  # where the text so far may have ended
    for char in text:
        between, closes = char in _BETWEEN or char.isspace(), char in _CLOSING
        outside, inside = (
            (outside and between) or (inside and closes),
            (outside and char in _OPENING) or (inside and not closes),
        )
    return outside and bool(text.strip())


def no_speech_limit(found: Evidence) -> float:
    """The limit for p(no speech) of a text: lower for one that is a known invention or doubted, higher for another that
    had the time to be said. A limit of 1, which disables the guard, and that of a chosen phrase stay."""
    limit = found.no_speech_limit
    if limit >= 1 or found.chosen:
        return limit
    if is_invention(found.text) or echoes(found.text, found.prompt) or found.avg_logprob < DOUBTED_LOGPROB:
        return min(limit, DOUBTED_LIMIT)
    return limit + PLAUSIBLE_LIMIT if found.clear_s >= least_s(found.text) else limit


def is_invented(text: str, clear_s: float, no_speech_prob: float, prompt: str = "", avg_logprob: float = 0.0) -> bool:
    """Whether the text is a known invention or a part of the prompt, and either the voice is too short for it and the
    model is not sure of speech or of the text, or there is voice, as of an instrument, and the model doubts speech and
    text. A spoken "Thank you." passes: it takes at least 0.24 s, while a voice just below the threshold has no clear
    frames, and the model does not doubt it."""
    if not (is_invention(text) or echoes(text, prompt)):
        return False
    doubted = avg_logprob < DOUBTED_LOGPROB
    if clear_s < least_s(text):
        return doubted or no_speech_prob > SURE_SPEECH
    return doubted and no_speech_prob > DOUBTED_SPEECH


def may_be_invented(text: str, no_speech_prob: float, avg_logprob: float) -> bool:
    """Whether a guard could reject the text of a window, however much voice there is: the model doubts that anyone
    speaks or the text, or the text is known to be invented."""
    return no_speech_prob > DOUBTED_SPEECH or avg_logprob < DOUBTED_LOGPROB or is_invention(text)


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
