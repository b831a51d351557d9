"""How many items of a group run in one step: measured throughput by the size of the step, and the choice. Pure.

An interactive job waits for the step that is running. So a step takes about a second, unless that costs throughput:
where batching pays, as on a card, or for the decoder of a small model on a CPU, a smaller step costs more than it is
worth.

    seconds per unit of cost: 8 items 0.50, 4 items 0.51, 2 items 0.60     group of 8 units of cost
    8 items take 4 s, too long -> 4 items take 2 s, still too long -> 2 items would lose 20 % -> 4 items
"""

from collections.abc import Mapping, Sequence

#: What a step may take, seconds; a group that takes less is never divided.
STEP_S = 1.0
#: The most that a smaller step may cost, as a share of the best measured throughput.
LOSS = 0.05
#: Weight of the latest measurement in the moving average.
_LATEST = 0.3
#: A measurement counts for this many later steps; then the size is tried again, in case the device was busy.
_VALID_STEPS = 100


def step_size(costs: Sequence[float], rates: Mapping[int, float]) -> int:
    """How many of the items with these costs to run first; at least 1. `rates`: seconds per unit of cost by size.

    Sizes are halved from the whole group on. A size that was not measured is taken to lose nothing, so that it is
    tried; a group larger than any that was measured runs whole, and is measured.
    """
    size = len(costs)
    if size < 2 or not rates or size > max(rates):
        return max(size, 1)
    best = min(rates.values())
    chosen = size
    while size >= 1:
        rate = _rate(size, rates)
        if rate <= (1 + LOSS) * best:
            chosen = size
            if rate * sum(costs[:size]) <= STEP_S:
                break
        size //= 2
    return chosen


def _rate(size: int, rates: Mapping[int, float]) -> float:
    """That of the size; else of the next larger one that was measured, which costs no less for each item."""
    return rates[min(one for one in rates if one >= size)]


class Pace:
    """The measured throughput of one stage in this process."""

    def __init__(self) -> None:
        self._rates: dict[int, float] = {}
        self._at: dict[int, int] = {}  # the number of the step in which a size was measured last
        self._steps = 0

    def learn(self, size: int, cost: float, spent_s: float) -> None:
        """A step of so many items that cost so much in all took `spent_s`, without a load."""
        if cost <= 0:
            return
        self._steps += 1
        rate = spent_s / cost
        self._rates[size] = rate + (1 - _LATEST) * (self._rates.get(size, rate) - rate)
        self._at[size] = self._steps
        for old in [one for one, at in self._at.items() if self._steps - at > _VALID_STEPS]:
            del self._rates[old], self._at[old]

    def step_size(self, costs: Sequence[float]) -> int:
        """How many of the items with these costs to run first; at least 1."""
        return step_size(costs, self._rates)

    def estimate_s(self, costs: Sequence[float]) -> float | None:
        """How long items with these costs will take together, seconds; None if nothing was measured."""
        if not self._rates:
            return None
        size = min(len(costs), max(self._rates))
        return _rate(size, self._rates) * sum(costs)
