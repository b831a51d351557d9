"""A vocabulary's phrases as a token tree, and the choice among them from log-probabilities. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from golem_chain.shared.records import Candidate, Choice, Vocabulary
from golem_chain.workers.stages.scribe.vocabulary.spellings import key

UNKNOWN = "unknown"
#: The floor is this much lower for each token after the first: long phrases have more spellings, and more small errors
#: in recognition.
PER_TOKEN = 1.0
#: A phrase with at least this posterior is certain.
SURE = 0.9
#: Margins are capped at this value: phrases further behind are not scored to the end.
MOST_MARGIN = 10.0
#: Maximum number of candidates in a choice, and the minimum posterior of those after the first.
MOST_CANDIDATES = 5
LEAST_POSTERIOR = 0.001
#: Between these log-probabilities the best phrase is doubtful. Below, no phrase was said; above, it was.
LEAST_DOUBTFUL, MOST_DOUBTFUL = -8.0, -0.7
#: Without a prompt that lists them, phrases are less likely by up to this: added to floor and margin.
UNPROMPTED_FLOOR, UNPROMPTED_MARGIN = 3.0, 6.3
_DECIMALS = 4


@dataclass(frozen=True)
class Tree:
    """Token sequences as a prefix tree, so that shared prefixes are computed once. Node 0 is the empty sequence."""

    children: tuple[dict[int, int], ...]  # node → token → node
    ends: tuple[tuple[int, ...], ...]  # node → the phrases that are complete there

    @classmethod
    def of(cls, sequences: Iterable[tuple[int, Sequence[int]]]) -> "Tree":
        """Build from (phrase, tokens) pairs; a phrase may have several sequences, and phrases may share one."""
        children: list[dict[int, int]] = [{}]
        ends: list[tuple[int, ...]] = [()]
        for phrase, tokens in sequences:
            node = 0
            for token in tokens:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    ends.append(())
                node = children[node][token]
            if phrase not in ends[node]:
                ends[node] += (phrase,)
        return cls(tuple(children), tuple(ends))

    def complete(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The phrases that have exactly this token sequence as a spelling."""
        node: int | None = 0
        for token in tokens:
            node = self.children[node].get(token) if node is not None else None
        return self.ends[node] if node is not None else ()


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary tokenised for one checkpoint: phrases first, then fillers."""

    vocabulary: Vocabulary
    tree: Tree
    lengths: tuple[int, ...]  # tokens of the shortest spelling of each phrase and filler
    prompts: tuple[tuple[int, ...], ...] = ()  # the phrases as text that precedes the audio; none if they are too many

    @property
    def size(self) -> int:
        """Number of phrases and fillers."""
        return len(self.vocabulary.phrases) + len(self.vocabulary.fillers)

    @cached_property
    def known(self) -> dict[str, int]:
        """The index of each phrase and filler by the key that all its spellings share."""
        both = (*self.vocabulary.phrases, *self.vocabulary.fillers)
        return {key(phrase): number for number, phrase in reversed(list(enumerate(both)))}


@dataclass(frozen=True)
class Free:
    """The transcript without the vocabulary."""

    text: str
    tokens: tuple[int, ...]
    logprob: float  # natural, of the tokens and <|endoftext|>, without suppression


@dataclass(frozen=True)
class Limits:
    """Limits beyond which the answer is `unknown`, natural logarithms."""

    floor: float  # negated minimum log-probability of a phrase of one token
    margin: float  # how much likelier than the phrase the free text may be

    @property
    def unprompted(self) -> "Limits":
        """The limits for phrases that were scored without a prompt."""
        return Limits(self.floor + UNPROMPTED_FLOOR, self.margin + UNPROMPTED_MARGIN)


def choose(lexicon: Lexicon, scores: Sequence[float], free: Free, limits: Limits) -> Choice:
    """The phrase that was said, or `unknown`.

    `scores`: the log-probability of each phrase and filler, summed over its spellings. The free text counts as one more
    spelling of the phrase that it equals apart from case, punctuation and the form of numbers.

    The phrases compete with everything else: the fillers, whose prior together is that of one phrase; the floor; and
    the free text at `margin` below its own log-probability, unless it is a phrase. The likeliest wins.
    """
    limits = limits if lexicon.prompts else limits.unprompted
    scores = _with_free(lexicon, scores, free)
    count = len(lexicon.vocabulary.phrases)
    ranked = sorted(range(count), key=lambda number: -scores[number])
    best = ranked[0]
    beyond = -limits.floor - PER_TOKEN * (lexicon.lengths[best] - 1)
    if lexicon.known.get(key(free.text), count) >= count:  # a filler's text too: the prompt lists the phrases only
        beyond = max(beyond, free.logprob - limits.margin)
    rivals = [*(score - math.log(len(scores) - count) for score in scores[count:]), beyond]
    shares = softmax([*scores[:count], *rivals])
    said = all(scores[best] >= rival for rival in rivals)
    second = scores[ranked[1]] if count > 1 else -math.inf
    return Choice(
        phrase=lexicon.vocabulary.phrases[best] if said else UNKNOWN,
        posterior=round(shares[best] if said else sum(shares[count:]), _DECIMALS),
        margin=round(_within(scores[best] - second), _DECIMALS),
        free_margin=round(_within(scores[best] - free.logprob), _DECIMALS),
        candidates=tuple(
            Candidate(phrase=lexicon.vocabulary.phrases[number], posterior=round(shares[number], _DECIMALS))
            for place, number in enumerate(ranked[:MOST_CANDIDATES])
            if place == 0 or shares[number] >= LEAST_POSTERIOR
        ),
    )


def doubtful(scores: Sequence[float]) -> bool:
    """Whether the log-probabilities of the phrases leave doubt as to which was said, or whether one was."""
    best = max(scores)
    return LEAST_DOUBTFUL <= best < MOST_DOUBTFUL


def mean(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """The mean of two log-probabilities of each phrase; -inf if either is."""
    return [(a + b) / 2 for a, b in zip(one, other, strict=True)]


def softmax(values: Sequence[float]) -> list[float]:
    """The softmax of log-probabilities; the share of -inf is 0."""
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    total = sum(powers)
    return [power / total for power in powers]


def logaddexp(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    low, high = sorted((a, b))
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _within(margin: float) -> float:
    return min(max(margin, -MOST_MARGIN), MOST_MARGIN) if not math.isnan(margin) else 0.0


def _with_free(lexicon: Lexicon, scores: Sequence[float], free: Free) -> list[float]:
    found = list(scores)
    number = lexicon.known.get(key(free.text))
    if number is not None and number not in lexicon.tree.complete(free.tokens):
        found[number] = logaddexp(found[number], free.logprob)
    return found
