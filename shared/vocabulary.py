"""Vocabularies and hotwords: validation, and the options `--vocabulary`, `--fillers` and `--hotwords`.

yes,no,"hello, world"     phrases; quotes are needed only around a comma
@phrases.txt              a file with one phrase per line
from-labels               the phrasings of the job's labels
"""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from golem_chain.shared.errors import BadRequest, BadVocabulary
from golem_chain.shared.labels import phrasings
from golem_chain.shared.records import HOTWORD_MOST, HOTWORDS_MOST, Choice, LabelSet, Vocabulary
from golem_chain.shared.text import visible

FROM_LABELS = "from-labels"
#: Limits on a vocabulary: within them a clip takes seconds, not minutes.
MOST_PHRASES = 10_000  # including fillers
LONGEST_PHRASE = 400  # characters
LONGEST_FILE = 8 << 20  # bytes
#: The answer if none of the phrases was said.
RESERVED = "unknown"


def parse_vocabulary(option: str | None, fillers: str | None = None) -> Vocabulary | None:
    """Parse and check the two options; None without a vocabulary. Raises BadVocabulary."""
    if option is None:
        if fillers is not None:
            raise BadVocabulary("--fillers needs a vocabulary: add --vocabulary.")
        return None
    labelled = option.strip() == FROM_LABELS
    return check_vocabulary(
        Vocabulary(
            phrases=() if labelled else _phrases(option, "vocabulary"),
            fillers=() if fillers is None else _phrases(fillers, "fillers"),
            from_labels=labelled,
        )
    )


def check_vocabulary(given: Vocabulary) -> Vocabulary:
    """Return the vocabulary in NFC, trimmed and without duplicates. Raises BadVocabulary if it exceeds a limit or has a
    phrase that cannot be said."""
    if not given.phrases and not given.from_labels:
        raise BadVocabulary("The vocabulary is empty: give at least one phrase, as in --vocabulary yes,no.")
    if given.phrases and given.from_labels:
        raise BadVocabulary("A vocabulary either lists phrases or takes them from the labels, not both.")
    count = len(given.phrases) + len(given.fillers)
    if count > MOST_PHRASES:
        raise BadVocabulary(f"The vocabulary has {count:,} phrases and fillers; the limit is {MOST_PHRASES:,}.")
    phrases = _once(given.phrases, "Phrase")
    spoken = {_same(phrase) for phrase in phrases}
    fillers = tuple(phrase for phrase in _once(given.fillers, "Filler") if _same(phrase) not in spoken)
    if RESERVED in spoken:
        raise BadVocabulary(f'The phrase "{RESERVED}" is reserved: remove it.')
    return Vocabulary(phrases=phrases, fillers=fillers, from_labels=given.from_labels)


def parse_hotwords(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Parse and check hotwords, a text as in `--hotwords` (`Ecobee,Kitchener`, `@names.txt`) or one text each; None
    without any. They are returned in NFC, trimmed and without duplicates. Raises BadRequest."""
    if given is None:
        return None
    try:
        found = _once(_phrases(given, "hotwords") if isinstance(given, str) else given, "Hotword", HOTWORD_MOST)
    except BadVocabulary as exc:
        raise BadRequest(exc.message) from None
    if not found:
        raise BadRequest("The hotwords are empty: give at least one name, as in --hotwords Ecobee,Kitchener.")
    if len(found) > HOTWORDS_MOST:
        raise BadRequest(f"There are {len(found):,} hotwords, the limit is {HOTWORDS_MOST}: give the likeliest names.")
    return found


def with_labels(given: Vocabulary, labels: LabelSet) -> Vocabulary:
    """Fill in the labels' phrasings if the vocabulary takes its phrases from them. Raises BadVocabulary."""
    if not given.from_labels:
        return given
    spoken = tuple(phrase for label in labels.labels for phrase in phrasings(label))
    return check_vocabulary(Vocabulary(phrases=spoken, fillers=given.fillers)).model_copy(update={"from_labels": True})


def label_shares(choice: Choice, labels: LabelSet) -> dict[str, float]:
    """The posterior of each label: the sum over its phrasings among the candidates, in their order."""
    names = {_same(phrase): label.name for label in reversed(labels.labels) for phrase in phrasings(label)}
    shares: dict[str, float] = {}
    for candidate in choice.candidates:
        if name := names.get(_same(candidate.phrase)):
            shares[name] = round(shares.get(name, 0.0) + candidate.posterior, 4)
    return shares


def _phrases(option: str, what: str) -> tuple[str, ...]:
    """Parse the phrases of an option or of the file it names; blank text gives none."""
    if option.strip().startswith("@"):
        return tuple(line for line in _read(Path(option.strip()[1:]), what).splitlines() if line.strip())
    try:
        rows = list(csv.reader(option.splitlines(), skipinitialspace=True))
    except csv.Error as exc:
        raise BadVocabulary(f"The {what} cannot be parsed ({exc}): put the phrases in a file, one per line.") from None
    return tuple(phrase for row in rows for phrase in row) if option.strip() else ()


def _read(path: Path, what: str) -> str:
    try:
        if not path.is_file():
            raise BadVocabulary(f"The {what} file {visible(str(path), 200)} does not exist or is not a file.")
        if path.stat().st_size > LONGEST_FILE:
            raise BadVocabulary(f"The {what} file {visible(str(path), 200)} is larger than {LONGEST_FILE >> 20} MiB.")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as exc:  # ValueError: UTF-8, and NUL in a path
        why = "it is not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else str(exc)
        raise BadVocabulary(f"The {what} file {visible(str(path), 200)} cannot be read: {why}.") from None


def _once(phrases: Iterable[str], what: str, longest: int = LONGEST_PHRASE) -> tuple[str, ...]:
    """The phrases in NFC and trimmed, without those that differ from an earlier one only in case or whitespace."""
    found: dict[str, str] = {}
    for place, phrase in enumerate(phrases, start=1):
        if len(phrase) > longest:
            raise BadVocabulary(f"{what} {place} has {len(phrase):,} characters; the limit is {longest}.")
        kept = " ".join(unicodedata.normalize("NFC", phrase).split())
        if not kept or not any(unicodedata.category(letter)[0] not in "PZ" for letter in kept):
            raise BadVocabulary(f'{what} {place} ("{kept}") has no letters or digits: remove it.')
        for letter in kept:
            if unicodedata.category(letter) in ("Cc", "Cs", "Cn", "Co"):
                raise BadVocabulary(f"{what} {place} contains the unprintable character {letter!a}: remove it.")
        found.setdefault(_same(kept), kept)
    return tuple(found.values())


def _same(phrase: str) -> str:
    """The key under which equivalent phrases are equal."""
    return " ".join(phrase.casefold().split())
