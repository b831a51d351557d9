"""Arrival times of jobs: Poisson, bursty or daily. Seeded, so that every policy gets the same jobs."""

import math
import random
from collections.abc import Callable
from typing import Literal

Pattern = Literal["poisson", "bursty", "daily"]

#: (mean seconds, multiple of the mean rate): bursts are a sixth of the time and five sixths of the jobs.
_BURST, _LULL = (4.0, 5.0), (20.0, 0.2)


def arrivals(pattern: Pattern, rate: float, seconds: float, seed: int) -> list[float]:
    """Return arrival times in [0, seconds), ascending, with a mean of `rate` jobs per second.

    poisson: exponential gaps. bursty: a Poisson process with five times the rate in bursts (4 s on average) and a fifth
    of it in lulls (20 s on average). daily: a day compressed into `seconds`, from a tenth of the rate at night to
    almost twice the rate at noon.
    """
    draw = random.Random(seed)
    if pattern == "poisson":
        return _thinned(draw, rate, seconds, lambda _: 1.0, 1.0)
    if pattern == "daily":
        return _thinned(draw, rate, seconds, lambda at: 1 - 0.9 * math.cos(2 * math.pi * at / seconds), 1.9)
    return _bursts(draw, rate, seconds)


def _thinned(
    draw: random.Random, rate: float, seconds: float, shape: Callable[[float], float], most: float
) -> list[float]:
    """Lewis and Shedler's thinning (1979)."""
    at, times = 0.0, []
    while (at := at + draw.expovariate(rate * most)) < seconds:
        if draw.random() * most < shape(at):
            times.append(at)
    return times


def _bursts(draw: random.Random, rate: float, seconds: float) -> list[float]:
    at, times, burst = 0.0, [], False
    while at < seconds:
        lasts_s, times_rate = _BURST if burst else _LULL
        until = at + draw.expovariate(1 / lasts_s)
        while (at := at + draw.expovariate(rate * times_rate)) < min(until, seconds):
            times.append(at)
        at, burst = until, not burst
    return times
