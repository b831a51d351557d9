"""Prepares vocabularies for a checkpoint (spellings, tokens, prefix tree) and caches recent ones."""

import unicodedata
from collections.abc import Sequence

from golem_chain.shared.errors import BadVocabulary, LanguageRefused
from golem_chain.shared.records import Vocabulary
from golem_chain.shared.text import visible
from golem_chain.workers.stages.lru import Lru
from golem_chain.workers.stages.scribe.vocabulary.choice import Lexicon, Tree
from golem_chain.workers.stages.scribe.vocabulary.spellings import ENDS, spellings
from golem_chain.workers.stages.tokenizer import harmless
from golem_chain.workers.stages.transformers_types import Tokenizer

#: Maximum tokens of a prompt that lists the phrases, which are read for every window; about 60 words.
MOST_PROMPT = 200
#: Number of phrases in the cached vocabularies, about 2 kB each.
_KEPT = 20_000


class Lexicons:
    """Vocabularies tokenised for one checkpoint, with a cache."""

    def __init__(self, tokenizer: Tokenizer, *, english_only: bool, checkpoint: str, most_tokens: int) -> None:
        """`checkpoint`: its id, for errors; `most_tokens`: the maximum tokens of a phrase after the prompt."""
        self._tokenizer, self._english_only, self._checkpoint = tokenizer, english_only, checkpoint
        self._most_tokens = most_tokens
        self._kept: Lru[Vocabulary, Lexicon] = Lru(_KEPT)

    def of(self, vocabulary: Vocabulary, name: str) -> Lexicon:
        """Prepare a vocabulary; `name` is the recording's, for errors. Raises BadVocabulary, LanguageRefused."""
        found = self._kept.get(vocabulary)
        if found is None:
            found = self._prepare(vocabulary, name)
            self._kept.put(vocabulary, found, found.size)
        return found

    def _prepare(self, vocabulary: Vocabulary, name: str) -> Lexicon:
        phrases = (*vocabulary.phrases, *vocabulary.fillers)
        for phrase in phrases if self._english_only else ():
            if not _latin(phrase):
                raise LanguageRefused(
                    f"{name}: the phrase {_shown(phrase)} is not in Latin letters, but {self._checkpoint} is "
                    "English-only: set GOLEM_MODELS=multilingual, or GOLEM_SCRIBE_MODEL to a multilingual model such "
                    "as openai/whisper-tiny."
                )
        written = [(number, text) for number, phrase in enumerate(phrases) for text in spellings(phrase)]
        tokens = self._tokenizer([text for _, text in written], add_special_tokens=False, verbose=False)["input_ids"]
        spelled: list[list[list[int]]] = [[] for _ in phrases]
        for (number, _), one in zip(written, tokens, strict=True):
            if 0 < len(one) <= self._most_tokens:
                spelled[number].append(one)
        for phrase, found in zip(phrases, spelled, strict=True):
            if not found:
                raise BadVocabulary(
                    f"{name}: the phrase {_shown(phrase)} is too long for {self._checkpoint}: shorten it to at most "
                    f"{self._most_tokens} tokens."
                )
        tree = Tree.of((number, one) for number, found in enumerate(spelled) for one in found)
        longest = max(len(one) for found in spelled for one in found)
        prompts = self._prompts(vocabulary.phrases, min(MOST_PROMPT, self._most_tokens - longest - 1))
        return Lexicon(vocabulary, tree, tuple(min(map(len, found)) for found in spelled), prompts)

    def _prompts(self, phrases: Sequence[str], most: int) -> tuple[tuple[int, ...], ...]:
        """The phrases as sentences in a row, forwards and backwards; none if they are more than `most` tokens."""
        if len(phrases) > most:
            return ()
        said = [harmless(_sentence(phrase), self._tokenizer) for phrase in phrases]
        texts = dict.fromkeys("".join(order) for order in (said, said[::-1]))
        found = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(map(tuple, found)) if all(0 < len(one) <= most for one in found) else ()


def _sentence(phrase: str) -> str:
    """The phrase as Whisper writes a sentence, after the one before."""
    bare = phrase.strip()
    return f" {bare[:1].upper()}{bare[1:]}{'' if bare[-1:] in ENDS else '.'}"


def _shown(phrase: str) -> str:
    return f'"{visible(phrase, 60)}"'


def _latin(phrase: str) -> bool:
    """Whether at least half of the letters are Latin; true for a phrase without letters."""
    letters = [letter for letter in phrase if letter.isalpha()]
    return 2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) >= len(letters)
