"""Where in a text a hotword may have been misheard, and which of these places get it. Pure.

The text is heard freely first. A hotword may replace words that sound like it, if the audio supports the changed text
nearly as well as the text: `rescoring.py` measures that. Bonuses along the way, as in a trie of hotwords, would have to
be taken back where the word does not come true, which takes a beam search ("Efficient Trie-based Biasing using K-step
Prediction for Rare Word Recognition", arXiv 2509.09196). To replace words of a greedy transcript afterwards is the way
of "Fast Context-Biasing for CTC and Transducer ASR models with CTC-based Word Spotter", arXiv 2406.07096.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from golem_chain.workers.stages.scribe.vocabulary.sound import likeness, sound

#: Words that sound less like a hotword are not tried. docs/hearing.md has the figures behind these five.
LEAST_LIKENESS = 0.45
#: How much less likely the audio may make the text with the hotword, natural logarithm: names are rare in what Whisper
#: was trained on. Less for words that were heard surely, at a log-probability above the limit.
MARGIN, MARGIN_IF_SURE, SURE = 10.0, 4.0, -1.0
#: And this much more for each token by which the hotword is longer than what it replaces.
MARGIN_PER_TOKEN = 1.0
#: The most candidates of a window, the most alike: each costs a row of the decoder.
MOST_CANDIDATES = 12
#: A hotword may have been heard as this many words more than it has.
_MORE_WORDS = 2
_POSSESSIVE = "'s"


@dataclass(frozen=True)
class Hotword:
    """A hotword for one checkpoint."""

    text: str
    tokens: tuple[int, ...]  # with the leading blank
    sound: str = field(default="")

    @classmethod
    def of(cls, text: str, tokens: Sequence[int]) -> "Hotword":
        """The hotword of a text and its tokens."""
        return cls(text, tuple(tokens), sound(text))


@dataclass(frozen=True)
class Place:
    """A word of a text: its tokens without punctuation around the end and without a possessive s."""

    start: int
    end: int
    next: int  # the first token of the next word
    text: str


@dataclass(frozen=True)
class Candidate:
    """A hotword in the place of tokens of the text."""

    hotword: Hotword
    start: int
    end: int
    likeness: float  # of the sounds, 0 to 1

    def spare(self, support: "Support") -> float:
        """How far the candidate is within what is allowed, natural logarithm; below 0 it is not taken."""
        margin = MARGIN_IF_SURE if support.heard > SURE else MARGIN
        longer = len(self.hotword.tokens) - (self.end - self.start)
        return support.gain + margin + MARGIN_PER_TOKEN * longer


class Support(NamedTuple):
    """What the audio says of a candidate, natural logarithm."""

    gain: float  # how much likelier the text becomes
    heard: float  # log-probability of the words that the hotword would replace


def places(tokens: Sequence[int], end: int, decode: Callable[[Sequence[int]], str]) -> list[Place]:
    """The words of a text that may have timestamps: these are above `end`, <|endoftext|>. A word begins with a blank,
    so scripts without blanks have none but the first."""
    found: list[Place] = []
    at = 0
    while at < len(tokens):
        start = at
        at += 1
        if tokens[start] >= end:
            continue
        while at < len(tokens) and tokens[at] < end and not decode(tokens[at : at + 1]).startswith(" "):
            at += 1
        last = at
        while last > start + 1 and _is_ending(decode(tokens[last - 1 : last])):
            last -= 1
        if text := decode(tokens[start:last]).strip():
            found.append(Place(start, last, at, text))
    return found


def candidates(words: Sequence[Place], hotwords: Iterable[Hotword]) -> list[Candidate]:
    """The hotwords that sound like words of the text, the most alike first. Words that spell a hotword stay."""
    hotwords = list(hotwords)
    found = []
    for part in _parts(words, {tuple(hotword.text.split()) for hotword in hotwords}):
        for first in range(len(part)):
            for last in range(first, min(first + max(map(_words, hotwords)) + _MORE_WORDS, len(part))):
                span = part[first : last + 1]
                sounds = sound(" ".join(word.text for word in span))
                for hotword in hotwords:
                    alike = likeness(hotword.sound, sounds, LEAST_LIKENESS)
                    if alike >= LEAST_LIKENESS and len(span) <= _words(hotword) + _MORE_WORDS:
                        found.append(Candidate(hotword, span[0].start, span[-1].end, alike))
    found.sort(key=lambda one: (-one.likeness, one.start, one.end))
    return found[:MOST_CANDIDATES]


def accepted(found: Sequence[Candidate], supports: Sequence[Support]) -> list[Candidate]:
    """The candidates to take, in the order of the text. Of two that overlap, the one that is further within what is
    allowed."""
    taken: list[Candidate] = []
    spare = [(one.spare(support), one) for one, support in zip(found, supports, strict=True)]
    for left, one in sorted(spare, key=lambda pair: -pair[0]):
        if left > 0 and all(one.end <= other.start or one.start >= other.end for other in taken):
            taken.append(one)
    return sorted(taken, key=lambda one: one.start)


def replaced(tokens: Sequence[int], taken: Sequence[Candidate]) -> tuple[int, ...]:
    """The tokens with the hotwords in their places; `taken` in the order of the text."""
    found: list[int] = []
    at = 0
    for one in taken:
        found += [*tokens[at : one.start], *one.hotword.tokens]
        at = one.end
    return (*found, *tokens[at:])


def _parts(words: Sequence[Place], spelled: set[tuple[str, ...]]) -> Iterator[list[Place]]:
    """The words that may be replaced, in runs: timestamps, and words that spell a hotword already, part them."""
    kept = {
        first + n
        for name in spelled
        for first in range(len(words))
        if tuple(word.text for word in words[first : first + len(name)]) == name
        for n in range(len(name))
    }
    part: list[Place] = []
    for number, word in enumerate(words):
        if part and (number in kept or part[-1].next != word.start):
            yield part
            part = []
        if number not in kept:
            part.append(word)
    if part:
        yield part


def _words(hotword: Hotword) -> int:
    return len(hotword.text.split())


def _is_ending(text: str) -> bool:
    """Whether a token at the end of a word is not a part of the name."""
    bare = text.strip()
    return bare == _POSSESSIVE or (bool(bare) and all(unicodedata.category(one)[0] == "P" for one in bare))
