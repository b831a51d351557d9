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
"""

from collections.abc import Sequence

#: The most that an item of a group may cost, as a multiple of the group's cheapest.
SPREAD = 2.0
#: A later group that would take longer than this is put off, seconds. A hop through the queue takes 0.01 s.
LONG_S = 0.5


def groups(costs: Sequence[float]) -> list[list[int]]:
    """The indices of the items in the order in which to run them, in groups to run together. `costs` are finite and not
    negative, in any unit. Items of equal cost keep their order."""
    found: list[list[int]] = []
    for place in sorted(range(len(costs)), key=costs.__getitem__):
        if found and costs[place] <= SPREAD * costs[found[-1][0]]:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def puts_off(spent_s: float, cost: float, next_cost: float) -> bool:
    """Whether to put the next group off, after one of `cost` that took `spent_s`. Costs are summed over a group."""
    return spent_s * next_cost > LONG_S * cost
