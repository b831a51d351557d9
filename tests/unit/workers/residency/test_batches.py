"""How a take is divided: bounds that hold for any costs, and for what the runner makes of them."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.residency import batches
from golem_chain.workers.residency.batches import LONG_S, QUICK_S, SPREAD, following, groups, in_lanes, puts_off
from golem_chain.workers.residency.runner import serve
from tests.support.residency import make

COSTS = st.lists(st.one_of(st.floats(0.01, 1e5), st.sampled_from([1.0, 2.0, 2.5, 4.0, 8.0])), max_size=40)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([], []),
        ([3], [[0]]),
        ([8, 1, 1, 1], [[1, 2, 3], [0]]),
        ([1, 8, 1, 1, 3, 1.5], [[0, 2, 3, 5], [4], [1]]),
        ([1, 2, 4, 8], [[0, 1], [2, 3]]),
        ([2, 1, 2.01], [[1, 0], [2]]),
    ],
)
def test_a_group_ends_before_an_item_that_costs_more_than_twice_its_cheapest(
    costs: list[float], expected: list[list[int]]
) -> None:
    assert groups(costs) == expected


@given(COSTS)
def test_every_item_is_in_exactly_one_group(costs: list[float]) -> None:
    assert sorted(chain(*groups(costs))) == list(range(len(costs)))


@given(COSTS)
def test_no_item_waits_for_one_that_costs_more_than_twice_as_much(costs: list[float]) -> None:
    before: list[float] = []
    for group in groups(costs):
        before += [costs[place] for place in group]
        assert all(max(before) <= SPREAD * costs[place] for place in group)


@given(COSTS)
def test_an_item_has_its_answer_after_four_times_its_own_cost(costs: list[float]) -> None:
    spent = 0.0
    for group in groups(costs):
        spent += max(costs[place] for place in group)
        assert all(spent <= 4 * costs[place] * (1 + 1e-9) for place in group)


@given(COSTS)
def test_padding_at_most_doubles_a_group(costs: list[float]) -> None:
    for group in groups(costs):
        own = [costs[place] for place in group]
        assert len(own) * max(own) <= SPREAD * sum(own) * (1 + 1e-9)


@given(st.floats(0.01, 1e5), st.integers(1, 40))
def test_items_of_equal_cost_stay_one_batch_in_their_order(cost: float, items: int) -> None:
    assert groups([cost] * items) == [list(range(items))]


@given(COSTS, st.integers(1, 9))
def test_the_runner_keeps_every_batch_within_the_memory_and_answers_cheap_items_first(
    costs: list[float], fit: int
) -> None:
    residency, engines, _ = make("1", 1000 + 10 * fit, a={"working": 10, "costs": dict(enumerate(costs))})
    given_out: list[int] = []
    served = serve(residency, "a", range(len(costs)), give=lambda place, *_: given_out.append(place))
    assert served.answers == [f"a({place})" for place in range(len(costs))]
    assert given_out == list(chain(*groups(costs)))
    batches: Sequence[int] = engines["a"].batches
    assert max(batches, default=0) <= fit
    assert len(batches) == sum(-(-len(group) // fit) for group in groups(costs)), "none is smaller than it must be"
    assert all(costs[one] <= costs[next_one] for one, next_one in pairwise(given_out))


def test_a_group_is_put_off_if_it_would_take_long_at_the_pace_of_the_one_before() -> None:
    assert not puts_off(0.1, 1.0, 4.9)
    assert puts_off(0.1, 1.0, 5.1)
    assert not puts_off(0.0, 1.0, 1e6), "no pace is known"
    assert LONG_S == 0.5


@pytest.mark.parametrize("may", [True, False])
def test_what_is_put_off_is_left_to_the_caller_and_only_where_it_may_be(may: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(batches, "puts_off", lambda spent_s, cost, next_cost: next_cost >= 8)
    residency, _, _ = make("1", 5000, a={"costs": dict(enumerate([8.0, 1.0, 1.0, 3.0, 20.0]))})
    given_out: list[int] = []
    served = serve(residency, "a", range(5), give=lambda place, *_: given_out.append(place), may_put_off=may)
    assert (given_out, served.put_off) == (([1, 2, 3], [0, 4]) if may else ([1, 2, 3, 0, 4], []))


@given(COSTS, st.sets(st.integers(0, 39)))
def test_no_item_shares_a_group_with_one_of_the_other_lane(costs: list[float], interactive: set[int]) -> None:
    first, bulk = in_lanes(costs, interactive)
    assert sorted(chain(*first)) == [place for place in range(len(costs)) if place in interactive]
    assert sorted(chain(*bulk)) == [place for place in range(len(costs)) if place not in interactive]


def test_an_item_that_fills_a_batch_by_itself_runs_alone() -> None:
    assert groups([100, 1, 120, 1], full_cost=100) == [[1, 3], [0], [2]]


@pytest.mark.parametrize(
    ("estimates_s", "go_on", "count"),
    [
        ([], True, 0),
        ([9.0, 9.0], False, 2),  # the interactive ones have left the chain
        ([0.05, 0.04, 0.02], True, 2),  # together they stay below the bound
        ([None], True, 0),
        ([QUICK_S], True, 0),
    ],
)
def test_bulk_follows_interactive_items_only_if_it_delays_none_of_them(
    estimates_s: list[float | None], go_on: bool, count: int
) -> None:
    assert following(estimates_s, go_on=go_on) == count
