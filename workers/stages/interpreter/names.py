"""Labels that are only names: the texts that stand for them, and what is added to their cosines. Pure.

A name is too short for a sentence encoder to place it well. English names are therefore compared in several wordings,
which are made without a model: see `synonyms.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from golem_chain.shared.labels import MOST_PHRASINGS, spoken
from golem_chain.shared.records import Label
from golem_chain.workers.stages.interpreter.synonyms import alternatives

#: The best cosine of an unrelated text grows with the number of labels. Its 70 % quantile over 56 names from six sets
#: and as many texts out of scope is 0.12 + 0.055 ln(labels), within 0.01 from 1 to 56 labels.
_PER_LOG_LABELS = 0.05
#: What is added to the cosine of a name, so that one threshold fits sets of names and sets with phrasings.
_OFFSET = 0.12
#: The number of labels is taken to be within these: with fewer, too much would be accepted; more were not tried.
_FEWEST, _MOST = 4, 60
#: Texts made from the names of a set: encoding 2,000 of them takes one processor core 4 s, once.
_MOST_TEXTS = 2000
#: Labels that a namespace must precede: two that begin with the same word may be about the same thing.
_FEWEST_IN_NAMESPACE = 3


@dataclass(frozen=True)
class Wordings:
    """The texts of one label."""

    texts: tuple[str, ...]
    named: bool  # whether they were made from the label's name; False: phrasings, or a name in another language


def in_english(text: str, language: str | None) -> bool:
    """Whether a text is taken to be English, the language of the profiles' models: no other language is stated, and at
    least half of its letters are ASCII."""
    letters = [letter for letter in text if letter.isalpha()]
    return language in (None, "en") and 2 * sum(map(str.isascii, letters)) >= len(letters)


def wordings(labels: Sequence[Label], english: bool, known: Callable[[str], bool]) -> list[Wordings]:
    """The texts to compare with an utterance, for each label.

    Phrasings stand for themselves. An ASCII name becomes words, and with `english` also the same words with each
    replaced by its alternatives, as far as the limits on texts allow. `known` says whether a word is in the encoder's
    vocabulary: a first word that all names share and the encoder does not know (`HassTurnOn`, `HassTurnOff`) is left
    out.
    """
    said = {label.name: spoken(label.name).lower() for label in labels}
    prefix = _namespace(list(said.values()), known)
    most = max(1, min(MOST_PHRASINGS, _MOST_TEXTS // len(labels)))
    found = []
    for label in labels:
        if label.phrasings or not (english and label.name.isascii()):
            found.append(Wordings(label.phrasings or (spoken(label.name),), named=False))
        else:
            name = said[label.name].removeprefix(prefix)
            texts = dict.fromkeys((name, *alternatives(name)))
            found.append(Wordings(tuple(texts)[:most], named=True))
    return found


def offset(labels: int) -> float:
    """What to add to the cosine of a name in a set of so many labels."""
    return _OFFSET - _PER_LOG_LABELS * math.log(min(max(labels, _FEWEST), _MOST))


def _namespace(names: Sequence[str], known: Callable[[str], bool]) -> str:
    """The first word of all names with the space behind it, if it is a namespace and not a word; otherwise ""."""
    first = {name.partition(" ")[0] for name in names}
    if len(names) < _FEWEST_IN_NAMESPACE or len(first) > 1 or not all(" " in name for name in names):
        return ""
    (word,) = first
    return "" if known(word) else f"{word} "
