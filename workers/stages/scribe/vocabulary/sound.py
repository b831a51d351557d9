"""How similar two spellings sound: letters as coarse sounds, and an edit distance that weighs them. Pure."""

import re
import unicodedata
from functools import lru_cache

_VOWELS = "aeiouаеиоуыэюя"
#: Spellings of one sound, in this order. Capitals: S as in ship, C as in chip, J as in gem, T as in thin.
_SOUNDS = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"[st]ion", "Sn"),
        (r"sch|sh", "S"),
        (r"tch|ch", "C"),
        (r"th", "T"),
        (r"ph", "f"),
        (r"dge?(?=[eiy])|j", "J"),
        (r"(?<=[aeiou])gh", ""),
        (r"^kn", "n"),
        (r"^wr", "r"),
        (r"qu", "kw"),
        (r"x", "ks"),
        (r"c(?=[eiy])", "s"),
        (r"[cq]k?", "k"),
        (r"(?<=[a-z]{2})e$", ""),
        (r"y", "i"),
        (rf"([{_VOWELS}])[{_VOWELS}]+", r"\1"),
        (r"(.)\1+", r"\1"),
    )
)
#: What a sound that one spelling lacks costs. Vowels, and consonants that many speakers leave out, count less.
_LACKING = dict.fromkeys(_VOWELS, 0.4) | {"h": 0.4, "r": 0.5, "w": 0.6}
#: Consonants that are told apart by little: voiced and voiceless, of one place, or of one manner.
_ALIKE = ("bp", "dtT", "gk", "vfT", "zs", "sS", "SCJ", "gJ", "mn", "lr", "wv", "wl", "bv", "kC", "tC", "dJ")
_OTHER = 1.0
#: What one sound for another costs.
_DIFFERS = {(a, b): 0.25 for a in _VOWELS for b in _VOWELS} | {
    (a, b): 0.4 for group in _ALIKE for a in group for b in group
}


@lru_cache(4096)
def sound(text: str) -> str:
    """The sounds of a text: letters and digits alone, without accents, words run together."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    found = "".join(letter for letter in plain if letter.isalnum())
    for pattern, one in _SOUNDS:
        found = pattern.sub(one, found)
    return found


def likeness(a: str, b: str, least: float = 0.0) -> float:
    """How alike two sounds are: 1 for the same, 0 for nothing in common. Below `least` it may be 0, which is found
    sooner."""
    lacking_a, lacking_b = _lacking(a), _lacking(b)
    weight_a, weight_b = sum(lacking_a), sum(lacking_b)
    most = max(weight_a, weight_b)
    room = (1 - least) * most  # the distance that leaves enough likeness
    if not most or abs(weight_a - weight_b) > room:
        return 0.0
    row = [0.0]
    for cost in lacking_b:
        row.append(row[-1] + cost)
    for letter, gone in zip(a, lacking_a, strict=True):
        before, left = row[0], row[0] + gone
        now = [left]
        for found, cost, above in zip(b, lacking_b, row[1:], strict=True):
            kept = above + gone
            if left + cost < kept:
                kept = left + cost
            if before < kept:  # else no change of the letter can be better
                change = before if letter == found else before + _DIFFERS.get((letter, found), _OTHER)
                if change < kept:
                    kept = change
            before, left = above, kept
            now.append(kept)
        if min(now) > room:
            return 0.0
        row = now
    return max(0.0, 1.0 - row[-1] / most)


@lru_cache(4096)
def _lacking(sounds: str) -> tuple[float, ...]:
    return tuple(_LACKING.get(letter, _OTHER) for letter in sounds)
