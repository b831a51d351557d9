"""The word error rate's two parts: text normalisation and edit distance. All functions are pure.

English is normalised like Whisper's own evaluation (Radford et al. 2022, appendix C): case, punctuation, titles,
numbers as digits. Each digit then counts as one word, so that "2 0 2 4", "2024" and "twenty twenty-four" are equal.
Contractions are kept, and British and American spellings differ. For other languages only case and punctuation are
normalised.
"""

import re
import unicodedata
from collections.abc import Sequence

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_SPELLED = (
    (r"\bmr\b\.?", "mister"), (r"\bmrs\b\.?", "missus"), (r"\bdr\b\.?", "doctor"),
    (r"(?<=\d),(?=\d{3}\b)", ""), (r"\$(\d+)", r"\1 dollars"), (r"%", " percent"),
)  # fmt: skip
#: Languages written without spaces: characters count as words.
_LETTER_BY_LETTER = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue"})


def words(text: str, language: str | None = "en") -> list[str]:
    """Return the normalised words."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    if language in (None, "en"):
        for pattern, spelled in _SPELLED:
            text = re.sub(pattern, spelled, text)
    found = [word.strip("'") for word in re.sub(r"[^\w' ]+|_", " ", text).split()]
    found = [word for word in found if word]
    if language in _LETTER_BY_LETTER:
        return [letter for word in found for letter in word]
    return _digits(found) if language in (None, "en") else found


def edits(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Return the number of substitutions, insertions and deletions (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for line, wanted in enumerate(reference, 1):
        before, row[0] = row[0], line
        for column, found in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (wanted != found))
    return row[-1]


def _digits(raw: Sequence[str]) -> list[str]:
    """Convert number words to digits, and make each digit a word."""
    found: list[str] = []
    place = 0
    while place < len(raw):
        value, used = _number(raw[place:])
        if used:
            found += str(value)
        elif raw[place].isascii() and raw[place].isdigit():
            found += raw[place]
        else:
            found.append(raw[place])
        place += used or 1
    return found


def _number(raw: Sequence[str]) -> tuple[int, int]:
    """Return the number that starts here and how many words it takes; 0 words if there is none.

    "two hundred and five" is one number, "twenty twenty four" and "one two" are two each: each part must be smaller
    than the one before.
    """
    total, below, room, used = 0, 0, 1000, 0  # room: exclusive upper bound of the next part

    for place, word in enumerate(raw):
        value = _NUMBERS.get(word)
        if value is not None and value < room and (value or not used):
            below += value
            room = 10 if value >= 20 else 0
        elif word == "hundred" and 0 < below < 100:
            below, room = below * 100, 100
        elif word in _SCALES and below:
            total, below, room = total + below * _SCALES[word], 0, 1000
        elif word == "and" and used and raw[place - 1] in _SCALES and _NUMBERS.get("".join(raw[place + 1 : place + 2])):
            continue
        else:
            break
        used = place + 1
    return total + below, used
