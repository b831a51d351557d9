"""The criteria by which a form answers like float32: pure, over what both have answered.

| stage | what is compared | the form passes if |
|---|---|---|
| Scribe | texts of recordings | at most 0.5 % word errors against float32's text, and no text is emptied |
| Interpreter | labels and scores | labels equal where float32's margin is above 0.02, all scores within 0.02 |
| Oracle | next-token distributions | mean KL from float32's at most 0.002, likeliest tokens of replies 98.5 % equal |

An answer that is not finite fails, and so does a set that is too small to tell. A judgement may be asked for before all
is answered: what is counted only grows, and the reference fixes what it is divided by, so a failure is final.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from golem_chain.workers.evaluation.wer import edits, words

#: Scribe: edits per word of float32's text.
WORD_ERRORS = 0.005
#: Interpreter: how far float32's first answer must lie above the second for another label to count, and how far a score
#: may move.
MARGIN = 0.02
SCORE = 0.02
#: Oracle: mean KL divergence per token, nats; and the share of places in replies where the likeliest token is the same.
#: Inside a prompt no token is chosen, so that it does not matter there which of two is a hair more likely.
KL = 0.002
AGREEMENT = 0.985
#: The least that is compared: words, decisions, tokens. With fewer, one event weighs more than the limit allows.
LEAST_WORDS = 200
LEAST_DECISIONS = 140
LEAST_TOKENS = 500


@dataclass(frozen=True)
class Judgement:
    """What was found of a form so far."""

    failed: str = ""  # the reason, a clause; empty: nothing speaks against it
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """What the Scribe wrote for a recording."""

    text: str
    language: str | None  # as it was told or detected


@dataclass(frozen=True)
class Decision:
    """What the Interpreter decided on a text and a label set."""

    label: str
    score: float
    scores: Mapping[str, float]
    margin: float = 0.0  # how far the decision lies above the next one; the reference's counts


@dataclass(frozen=True)
class Compared:
    """A form's next-token distributions against the reference's, summed over the tokens of a prompt and its reply."""

    divergence: float  # KL, nats
    differing: int  # places in the reply where another token is the likeliest


def scribe(reference: Sequence[Heard], answers: Sequence[Heard]) -> Judgement:
    """Compare texts; `answers` may have fewer."""
    spoken = [words(one.text, one.language) for one in reference]
    count, wrong, emptied, differing = sum(map(len, spoken)), 0, 0, 0
    for there, here in zip(spoken, answers, strict=False):
        found = words(here.text, here.language)
        wrong += edits(there, found)
        emptied += bool(there) and not found
        differing += there != found
    rate = wrong / count if count else math.inf
    figures = {"word error rate": rate, "words": count, "texts that differ": differing, "emptied": emptied}
    if count < LEAST_WORDS:
        return Judgement(f"only {count} words were recognised, fewer than {LEAST_WORDS}", figures)
    if emptied:
        return Judgement(f"it empties {emptied} of {len(reference)} texts", figures)
    if rate > WORD_ERRORS:
        return Judgement(f"{rate:.2%} of the words differ, more than {WORD_ERRORS:.1%}", figures)
    return Judgement("", figures)


def interpreter(reference: Sequence[Decision], answers: Sequence[Decision]) -> Judgement:
    """Compare decisions; `answers` may have fewer."""
    flips, moved, largest = 0, 0, 0.0
    for there, here in zip(reference, answers, strict=False):
        flips += here.label != there.label and there.margin > MARGIN
        moved += here.label != there.label
        pairs = [(score, here.scores.get(name, math.nan)) for name, score in there.scores.items()]
        pairs += [(there.score, here.score)] if here.label == there.label else []
        largest = max([largest, *(_apart(one, other) for one, other in pairs)])
    count = len(reference)
    figures = {"decisions": count, "labels that differ": moved, "largest score difference": largest}
    if count < LEAST_DECISIONS:
        return Judgement(f"only {count} decisions were compared, fewer than {LEAST_DECISIONS}", figures)
    if flips:
        return Judgement(f"{flips} of {count} labels differ though float32 was sure", figures)
    if not largest <= SCORE:
        return Judgement(f"a score differs by {largest:.3f}, more than {SCORE}", figures)
    return Judgement("", figures)


def oracle(tokens: int, chosen: int, answers: Sequence[Compared]) -> Judgement:
    """Judge distributions. `tokens`: of all prompts and replies, whether compared yet or not; `chosen`: places in the
    replies."""
    divergence = sum(one.divergence for one in answers)
    differing = sum(one.differing for one in answers)
    mean = divergence / tokens if tokens else math.inf
    agreement = 1 - differing / chosen if chosen else 0.0
    figures = {"tokens": tokens, "of replies": chosen, "mean KL": mean, "top-1 agreement": agreement}
    if chosen < LEAST_TOKENS:
        return Judgement(f"only {chosen} tokens of replies were compared, fewer than {LEAST_TOKENS}", figures)
    if not mean <= KL:
        return Judgement(f"the mean KL divergence is {mean:.4f}, more than {KL}", figures)
    if not agreement >= AGREEMENT:
        return Judgement(f"the likeliest token is the same in {agreement:.1%}, less than {AGREEMENT:.1%}", figures)
    return Judgement("", figures)


def _apart(one: float, other: float) -> float:
    """The distance of two scores; infinite if either is not a number."""
    return abs(one - other) if math.isfinite(one) and math.isfinite(other) else math.inf
