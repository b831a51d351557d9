"""Divides a take into groups by cost, so that cheap items do not wait for expensive ones. Pure.

The rule: cheapest first; a group ends before the first item that costs more than `SPREAD` (2) times its cheapest.

    costs 1 8 1 1 3 1.5     ->  1 1 1 1.5  |  3  |  8        equal costs      ->  one group

What it bounds, with an item's own cost as the unit:

1. An item never waits for one that costs more than twice as much.
2. An item has its answer after at most 4 times its own cost, if a group costs as much as its dearest item, as on a
   device that computes a group at once. Its own group costs at most 2. The groups before it cost at most 2 together:
   each costs less than the cheapest item of the next one, and these more than double from group to group. No other
   `SPREAD` has a smaller bound.
3. Padding each item of a group to the dearest at most doubles the group's cost.

A group that would take long is put off, once some of the take have their answers: the box is then free to take these
through the next stages first.

A group may be too large for the memory. It then runs in parts, cheapest items first: 1 and 3 hold for the parts, and in
2 a group counts once for each part.

An item that fills the model's batches by itself, such as a long recording, gains nothing from company and runs alone.

Interactive items run first, in groups of their own, whatever else the take holds. Bulk follows at once only if it
delays none of them: they have left the chain, or it takes less than a hop through the queue.
"""

from collections.abc import Collection, Sequence
from math import inf

#: The most that an item of a group may cost, as a multiple of the group's cheapest.
SPREAD = 2.0
#: A later group that would take longer than this is put off, seconds. A hop through the queue takes 0.01 s.
LONG_S = 0.5
#: A group of bulk may precede the next stage of interactive items if it takes less than this, seconds.
QUICK_S = 0.1


def groups(costs: Sequence[float], full_cost: float = inf) -> list[list[int]]:
    """The indices of the items in the order in which to run them, in groups to run together. `costs` are finite and not
    negative, in any unit. Items of equal cost keep their order; one that costs at least `full_cost` runs alone."""
    found: list[list[int]] = []
    for place in sorted(range(len(costs)), key=costs.__getitem__):
        if found and costs[place] <= SPREAD * costs[found[-1][0]] and costs[place] < full_cost:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def puts_off(spent_s: float, cost: float, next_cost: float) -> bool:
    """Whether to put the next group off, after one of `cost` that took `spent_s`. Costs are summed over a group."""
    return spent_s * next_cost > LONG_S * cost


def in_lanes(
    costs: Sequence[float], interactive: Collection[int], full_cost: float = inf
) -> tuple[list[list[int]], list[list[int]]]:
    """The groups of the interactive items, which are at these places, and those of the others; see `groups`."""
    parts: list[list[list[int]]] = []
    for first in (True, False):
        places = [place for place in range(len(costs)) if (place in interactive) is first]
        parts.append([[places[n] for n in group] for group in groups([costs[place] for place in places], full_cost)])
    return parts[0], parts[1]


def following(estimates_s: Sequence[float | None], *, go_on: bool) -> int:
    """How many groups of bulk run right after the interactive items of their take. `estimates_s`: what each will take,
    None if not known; `go_on`: whether an interactive item has a next stage, for which this box is to be free."""
    if not go_on:
        return len(estimates_s)
    total_s = 0.0
    for n, estimate_s in enumerate(estimates_s):
        total_s += inf if estimate_s is None else estimate_s
        if total_s >= QUICK_S:
            return n
    return len(estimates_s)
