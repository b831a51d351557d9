"""Repeats in a text of any script: the longest run of one phrase, and how long the text takes to say. Pure.

Letters count, words do not: Thai, Chinese, Japanese, Khmer, Lao and Burmese have no spaces between words. Tokens and
bytes say nothing about duration, since Whisper has 0.25 tokens for an English letter, 1.9 for a Bengali and 2.4 for a
Georgian one, and a letter takes one to four bytes.
"""

import unicodedata
import zlib
from dataclasses import dataclass

import numpy as np

#: What a letter counts, by the first code point of its block; 1 elsewhere. Fast speech then has 16 to 20 a second in
#: every script. A syllable of Han, Hangul, kana or Ethiopic is one letter, and about six are said in a second; the
#: vowels of Hebrew, Arabic and the Indic scripts are marks or not written, and marks do not count.
_WEIGHTS = (
    (0x0000, 1.0),
    (0x0590, 1.25),  # Hebrew, Arabic, Syriac
    (0x0900, 1.5),  # Devanagari to Sinhala
    (0x0E00, 1.25),  # Thai, Lao
    (0x0F00, 1.0),  # Tibetan
    (0x1000, 1.5),  # Burmese
    (0x10A0, 1.0),  # Georgian
    (0x1100, 1.0),  # single Korean letters
    (0x1200, 1.75),  # Ethiopic
    (0x13A0, 1.0),
    (0x1780, 1.5),  # Khmer
    (0x1800, 1.0),
    (0x3040, 2.0),  # kana
    (0x3100, 3.0),  # Bopomofo, Han
    (0xA000, 1.0),
    (0xAC00, 2.5),  # Hangul
    (0xD800, 1.0),
    (0xF900, 3.0),  # Han
    (0xFB00, 1.0),
    (0x20000, 3.0),  # Han
)
_STARTS = np.array([start for start, _ in _WEIGHTS])
_WEIGHT = np.array([weight for _, weight in _WEIGHTS])
#: A phrase is repeated if it stands this often in a row, or fewer times if it has many letters: a sentence.
LEAST_TIMES, SENTENCE_TIMES, SENTENCE_LETTERS = 4, 3, 20.0


@dataclass(frozen=True)
class Repeat:
    """The longest run of a phrase."""

    times: int
    share: float  # of the text's letters that are in the run


def letters(text: str) -> float:
    """The letters and digits of a text, weighted so that equally many a second are said in every script."""
    return float(_weights(_plain(text)).sum())


def longest_repeat(text: str) -> Repeat | None:
    """The run of one phrase that has the most letters, or None if no phrase is repeated. Case, punctuation and spaces
    do not count, so a phrase may begin and end anywhere."""
    plain = _plain(text)
    codes = np.array([ord(char) for char in plain], np.int64)
    weights = _weights(plain)
    total = weights.sum()
    found: Repeat | None = None
    for period in range(1, len(codes) // SENTENCE_TIMES + 1):
        breaks = np.flatnonzero(np.concatenate(([True], codes[period:] != codes[:-period], [True])))
        longest = int(np.argmax(np.diff(breaks)))
        start = int(breaks[longest])
        length = int(breaks[longest + 1]) - start - 1 + period
        times = length // period
        if times < SENTENCE_TIMES:
            continue
        sentence = weights[start : start + period].sum() >= SENTENCE_LETTERS
        share = float(weights[start : start + length].sum() / total) if total else 0.0
        if (times >= LEAST_TIMES or sentence) and (found is None or share > found.share):
            found = Repeat(times, share)
    return found


def redundancy(text: str) -> float:
    """How much the text repeats itself, by zlib: the ratio that openai/whisper compares with 2.4, with one byte for
    each different character. In UTF-8 every text in Devanagari or Thai compresses well, since its letters begin
    alike."""
    kinds = {char: n for n, char in enumerate(dict.fromkeys(text))}
    size = 1 if len(kinds) <= 256 else 2
    data = b"".join(kinds[char].to_bytes(size, "big") for char in text)
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _plain(text: str) -> str:
    """Letters, marks and digits in lower case."""
    return "".join(char for char in text.casefold() if unicodedata.category(char)[0] in "LMN")


def _weights(plain: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    codes = np.array([ord(char) for char in plain], np.int64)
    spoken = np.array([unicodedata.category(char)[0] != "M" for char in plain], np.float64)
    return _WEIGHT[np.searchsorted(_STARTS, codes, side="right") - 1] * spoken
