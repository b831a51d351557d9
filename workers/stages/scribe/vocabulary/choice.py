"""Pure: the phrases of a job as a tree of tokens, and which of them was said, from log-probabilities."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from golem_chain.shared.records import Candidate, Choice, Vocabulary
from golem_chain.workers.stages.scribe.vocabulary.spellings import key

UNKNOWN = "unknown"
#: A phrase is allowed so much less log-probability for each token beyond its first: long ones are spelled in more ways,
#: and heard with more small faults.
PER_TOKEN = 1.0
#: From this posterior on a phrase is sure.
SURE = 0.9
#: A margin is told up to this: phrases further behind are not computed to the end.
MOST_MARGIN = 10.0
#: How many phrases a choice names beside its answer, and the least posterior of those behind the first.
MOST_CANDIDATES = 5
LEAST_POSTERIOR = 0.001
_DECIMALS = 4


@dataclass(frozen=True)
class Tree:
    """Token sequences by what they begin with: what two of them share is computed once. Node 0 is the empty one."""

    children: tuple[dict[int, int], ...]  # node → token → node
    ends: tuple[tuple[int, ...], ...]  # node → the phrases that are complete there

    @classmethod
    def of(cls, sequences: Iterable[tuple[int, Sequence[int]]]) -> "Tree":
        """From (phrase, tokens) pairs; a phrase may have several, and several phrases may share one."""
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
        """The phrases that this very sequence is a spelling of."""
        node: int | None = 0
        for token in tokens:
            node = self.children[node].get(token) if node is not None else None
        return self.ends[node] if node is not None else ()


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary made ready for one checkpoint: phrases first, fillers behind them."""

    vocabulary: Vocabulary
    tree: Tree
    lengths: tuple[int, ...]  # tokens of the shortest spelling of each phrase and filler

    @property
    def size(self) -> int:
        """Phrases and fillers."""
        return len(self.vocabulary.phrases) + len(self.vocabulary.fillers)

    @cached_property
    def known(self) -> dict[str, int]:
        """The number of each phrase and filler by what its spellings have in common."""
        both = (*self.vocabulary.phrases, *self.vocabulary.fillers)
        return {key(phrase): number for number, phrase in reversed(list(enumerate(both)))}


@dataclass(frozen=True)
class Free:
    """What was heard without the vocabulary."""

    text: str
    tokens: tuple[int, ...]
    logprob: float  # natural, of the tokens and <|endoftext|>, nothing suppressed


@dataclass(frozen=True)
class Limits:
    """When nothing of a vocabulary was said, natural logarithms."""

    floor: float  # the least log-probability of a phrase of one token, its minus left out
    margin: float  # by how much the free text may be likelier than the phrase


def choose(lexicon: Lexicon, scores: Sequence[float], free: Free, limits: Limits) -> Choice:
    """The phrase that was said, or `unknown`.

    `scores`: the log-probability of each phrase and filler, summed over its spellings. The free text is one more way to
    write the phrase that it equals but for case, marks and numbers.

    What stands for all that the vocabulary lacks: its fillers, which together are expected as often as one phrase; the
    floor; and the free text at `margin` below its own log-probability, if that text is no phrase. The likeliest of
    phrases and these wins.
    """
    scores = _with_free(lexicon, scores, free)
    count = len(lexicon.vocabulary.phrases)
    ranked = sorted(range(count), key=lambda number: -scores[number])
    best = ranked[0]
    beyond = -limits.floor - PER_TOKEN * (lexicon.lengths[best] - 1)
    if key(free.text) not in lexicon.known:
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


def softmax(values: Sequence[float]) -> list[float]:
    """Shares of log-probabilities; -inf has none."""
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
