"""Metrics: rates, calibration and thresholds. All functions are pure."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

#: Bounds of the search for a temperature: cosines need about 0.01, logits about 1. Perfectly separable utterances
#: would otherwise drive it to 0.
COLDEST, WARMEST = 0.005, 100.0
#: Maximum share of utterances in scope that a chosen threshold may turn into `unknown`.
MOST_LOST = 0.08


def rate(of: Sequence[bool]) -> float | None:
    """Return the share of true values with four decimals, None for an empty sequence."""
    return round(_share(of), 4) if of else None


def calibration_error(chances: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error: the mean difference of score and accuracy over bins of equal width.
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""
    error = 0.0
    for number in range(bins):
        inside = [place for place, chance in enumerate(chances) if min(int(chance * bins), bins - 1) == number]
        error += abs(sum(chances[place] - right[place] for place in inside))
    return error / max(len(chances), 1)


def softmax(evidence: Sequence[float], temperature: float) -> list[float]:
    """Return the scores for cosines or logits."""
    top = max(evidence)
    weights = [math.exp((value - top) / temperature) for value in evidence]
    total = sum(weights)
    return [weight / total for weight in weights]


def log_loss(evidence: Sequence[Sequence[float]], gold: Sequence[int], temperature: float) -> float:
    """Return the mean negative log-likelihood of the correct labels, in nats."""
    loss = 0.0
    for row, right in zip(evidence, gold, strict=True):
        top = max(row)
        loss += math.log(sum(math.exp((value - top) / temperature) for value in row)) - (row[right] - top) / temperature
    return loss / max(len(gold), 1)


def fit_temperature(evidence: Sequence[Sequence[float]], gold: Sequence[int]) -> float:
    """Return the softmax temperature with the lowest log loss, by golden-section search (convex in 1 / temperature)."""
    return math.exp(_lowest(lambda log: log_loss(evidence, gold, math.exp(log)), math.log(COLDEST), math.log(WARMEST)))


def cross_fitted(evidence: Sequence[Sequence[float]], gold: Sequence[int], folds: int = 5) -> list[list[float]]:
    """Return each utterance's scores at the temperature fitted without its fold; fold n has every fifth from n on."""
    found: list[list[float]] = [[] for _ in gold]
    for fold in range(folds):
        rest = [place for place in range(len(gold)) if place % folds != fold]
        fitted = fit_temperature([evidence[place] for place in rest], [gold[place] for place in rest])
        for place in range(fold, len(gold), folds):
            found[place] = softmax(evidence[place], fitted)
    return found


def rejection(inside: Sequence[float], outside: Sequence[float], threshold: float) -> tuple[float, float]:
    """Return the shares of utterances out of scope and in scope that a threshold turns into `unknown`."""
    return _share([best < threshold for best in outside]), _share([best < threshold for best in inside])


def choose_threshold(inside: Sequence[float], outside: Sequence[float], most_lost: float = MOST_LOST) -> float | None:
    """Return the threshold that rejects the most utterances out of scope while losing at most `most_lost` of those in
    scope: the middle of the optimal range. None if there are none out of scope or none in scope."""
    if not inside or not outside:
        return None
    edges = sorted({*inside, *outside})
    steps = [edges[0], *((low + high) / 2 for low, high in pairwise(edges))]  # the first step rejects nothing
    kept = [step for step in steps if rejection(inside, outside, step)[1] <= most_lost]
    most = max(rejection(inside, outside, step)[0] for step in kept)
    same = [step for step in kept if rejection(inside, outside, step)[0] == most]
    return math.floor((same[0] + same[-1]) / 2 * 1e4) / 1e4


def _share(of: Sequence[bool]) -> float:
    return sum(of) / max(len(of), 1)


def _lowest(value_at: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Return the minimum of a unimodal function, by golden-section search."""
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
