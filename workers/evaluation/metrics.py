"""Pure: rates, calibration and thresholds, from what was answered and what was right."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

#: Bounds within which a temperature is looked for: cosines want hundredths, logits want ones. Utterances whose labels
#: are all told apart would have the coldest there is.
COLDEST, WARMEST = 0.005, 100.0
#: Of what is in scope, so much may be lost to `unknown` where a threshold is chosen.
MOST_LOST = 0.08


def rate(of: Sequence[bool]) -> float | None:
    """How many of them are true, of 1, with four places; None where there is nothing to count."""
    return round(_share(of), 4) if of else None


def calibration_error(chances: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """The expected calibration error: by how much the scores of answers differ from how often these are right, over
    bins of equal width. Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""
    error = 0.0
    for number in range(bins):
        inside = [place for place, chance in enumerate(chances) if min(int(chance * bins), bins - 1) == number]
        error += abs(sum(chances[place] - right[place] for place in inside))
    return error / max(len(chances), 1)


def softmax(evidence: Sequence[float], temperature: float) -> list[float]:
    """Scores from cosines or logits."""
    top = max(evidence)
    weights = [math.exp((value - top) / temperature) for value in evidence]
    total = sum(weights)
    return [weight / total for weight in weights]


def log_loss(evidence: Sequence[Sequence[float]], gold: Sequence[int], temperature: float) -> float:
    """Mean negative log-likelihood of the right labels, in nats."""
    loss = 0.0
    for row, right in zip(evidence, gold, strict=True):
        top = max(row)
        loss += math.log(sum(math.exp((value - top) / temperature) for value in row)) - (row[right] - top) / temperature
    return loss / max(len(gold), 1)


def fit_temperature(evidence: Sequence[Sequence[float]], gold: Sequence[int]) -> float:
    """The softmax temperature with the least loss. It is convex in 1 / temperature: a golden section finds it."""
    return math.exp(_lowest(lambda log: log_loss(evidence, gold, math.exp(log)), math.log(COLDEST), math.log(WARMEST)))


def cross_fitted(evidence: Sequence[Sequence[float]], gold: Sequence[int], folds: int = 5) -> list[list[float]]:
    """The scores of each utterance at the temperature that was fitted without its fold; every fifth is one fold."""
    found: list[list[float]] = [[] for _ in gold]
    for fold in range(folds):
        rest = [place for place in range(len(gold)) if place % folds != fold]
        fitted = fit_temperature([evidence[place] for place in rest], [gold[place] for place in rest])
        for place in range(fold, len(gold), folds):
            found[place] = softmax(evidence[place], fitted)
    return found


def rejection(inside: Sequence[float], outside: Sequence[float], threshold: float) -> tuple[float, float]:
    """Shares of what is out of scope and of what is in scope that are `unknown` below a threshold."""
    return _share([best < threshold for best in outside]), _share([best < threshold for best in inside])


def choose_threshold(inside: Sequence[float], outside: Sequence[float], most_lost: float = MOST_LOST) -> float | None:
    """The threshold that rejects most of what is out of scope, while it loses at most that share of what is in scope:
    the middle of the range that does so. None where nothing out of scope is known."""
    if not inside or not outside:
        return None
    edges = sorted({*inside, *outside})
    steps = [edges[0], *((low + high) / 2 for low, high in pairwise(edges))]  # at the first nothing is below
    kept = [step for step in steps if rejection(inside, outside, step)[1] <= most_lost]
    most = max(rejection(inside, outside, step)[0] for step in kept)
    same = [step for step in kept if rejection(inside, outside, step)[0] == most]
    return math.floor((same[0] + same[-1]) / 2 * 1e4) / 1e4


def _share(of: Sequence[bool]) -> float:
    return sum(of) / max(len(of), 1)


def _lowest(value_at: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Where a function with one valley is lowest, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = value_at(left), value_at(right)
    for _ in range(steps):
        if high - low < 1e-4:
            break
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = value_at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = value_at(right)
    return (low + high) / 2
