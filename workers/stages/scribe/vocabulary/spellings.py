"""The ways Whisper may spell a phrase: case, final punctuation, and numbers as digits or English words. Pure."""

import re
import unicodedata
from collections.abc import Iterator

#: Punctuation that may end a phrase.
ENDS = ".!?"
_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
_UNITS, _TENS = _NAMES.split()[:20], _NAMES.split()[20:]
_SMALL = {word: number for number, word in enumerate(_UNITS)}
_LARGE = {word: 10 * number for number, word in enumerate(_TENS, start=2)}
_SCALES = {"hundred": 100, "thousand": 1000}
#: Larger numbers are years, prices and telephone numbers, which are not read as one number.
LARGEST = 9999


def spellings(phrase: str) -> tuple[str, ...]:
    """All spellings of a phrase, with the leading blank that Whisper's tokens have; the first is the phrase itself.

    They combine: as typed or in lower case, with or without an initial capital; no punctuation, a full stop, an
    exclamation mark or a question mark at the end; numbers as typed, as digits or in words. In scripts without case,
    the leading blank may be missing, as in Chinese and Japanese.
    """
    bare = _bare(phrase)
    forms = dict.fromkeys((bare, in_digits(bare), in_words(bare)))
    cased = dict.fromkeys(
        variant for form in forms for low in (form, form.lower()) for variant in (low, low[:1].upper() + low[1:])
    )
    blanks = (" ", "") if unicodedata.category(bare[0]) == "Lo" else (" ",)
    return tuple(dict.fromkeys(blank + form + end for blank in blanks for form in cased for end in ("", *ENDS)))


def key(text: str) -> str:
    """The key that all spellings of a phrase share: letters and digits only, case-folded, numbers as digits."""
    folded = in_digits(unicodedata.normalize("NFKC", text).casefold()).replace("%", " percent")
    kept = "".join(letter for letter in folded if unicodedata.category(letter)[0] in "LNM")
    return kept or folded.strip()


def in_words(text: str) -> str:
    """Write numbers of up to four digits in English words: `5 minutes` → `five minutes`, `50%` → `fifty percent`."""
    text = re.sub(r"(?<=\d)\s?%", " percent", text)
    return re.sub(r"(?<![\w.,:])(?:0|[1-9]\d{0,3})(?![\w:]|[.,]\d)", lambda found: _word(int(found.group())), text)


def in_digits(text: str) -> str:
    """Write English number words as digits: `twenty five minutes` → `25 minutes`."""
    pieces = re.split(r"([A-Za-z]+)", text)  # words are at the odd indices
    found: list[str] = [pieces[0]]
    at = 1
    while at < len(pieces):
        number, end = _number(pieces, at)
        found.append(pieces[at] if number is None else str(number))
        found.append(pieces[end])
        at = end + 1
    return "".join(found)


def _bare(phrase: str) -> str:
    """The phrase without final punctuation, unless nothing else is left."""
    return phrase.strip().rstrip(ENDS + ",;:").rstrip() or phrase.strip()


def _word(number: int) -> str:
    if number < 20:
        return _UNITS[number]
    if number < 100:
        tens, rest = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[rest]}" if rest else "")
    name, scale = ("thousand", 1000) if number >= 1000 else ("hundred", 100)
    most, rest = divmod(number, scale)
    return f"{_word(most)} {name}" + (f" {_word(rest)}" if rest else "")


def _number(pieces: list[str], at: int) -> tuple[int | None, int]:
    """The number whose first word is at index `at` (None if there is none), and the index after its last word."""
    total = part = 0
    end, step = at + 1, ""
    for place, word in _run(pieces, at):
        kind, value = _kind(word)
        if not _follows(step, kind) or (kind == "unit" and step == "ten" and not 0 < value < 10):
            break
        if kind == "scale":
            total, part = (total + part * value, 0) if value == 1000 else (total, part * value)
        else:
            part += value
        end, step = place + 1, word if kind == "scale" else kind
    return (total + part, end) if step and total + part <= LARGEST else (None, at + 1)


def _run(pieces: list[str], at: int) -> Iterator[tuple[int, str]]:
    """The words from index `at` on that are separated only by a blank or a hyphen, with their indices."""
    while at < len(pieces):
        yield at, pieces[at].lower()
        if pieces[at + 1] not in (" ", "-"):
            return
        at += 2


def _kind(word: str) -> tuple[str, int]:
    for kind, known in (("unit", _SMALL), ("ten", _LARGE), ("scale", _SCALES)):
        if word in known:
            return kind, known[word]
    return "", 0


def _follows(step: str, kind: str) -> bool:
    """Whether `kind` may follow in a number; `step` is what came before: "", a kind, or the scale word."""
    return kind in {
        "": ("unit", "ten"),
        "unit": ("scale",),
        "ten": ("unit",),
        "hundred": ("unit", "ten"),
        "thousand": ("unit", "ten"),
    }.get(step, ())
