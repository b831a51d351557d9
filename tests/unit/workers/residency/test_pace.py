"""A group is divided into steps of about a second, unless the smaller steps would cost throughput."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.residency.pace import LOSS, STEP_S, Pace, step_size

RATES = st.dictionaries(st.sampled_from([1, 2, 4, 8, 16]), st.floats(0.001, 10), min_size=1)
COSTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, 8),  # nothing is known: it runs whole, and is measured
        ({8: 0.1}, 8),  # 0.8 s
        ({8: 0.5}, 2),  # 4 s: half of it is taken to lose nothing, and half of that
        ({8: 0.5, 4: 0.6}, 8),  # batching pays: 4 would lose 20 %
        ({8: 0.5, 4: 0.52, 2: 0.6}, 4),
        ({8: 0.5, 4: 0.51, 2: 0.5, 1: 0.49}, 2),
        ({8: 3.0, 1: 3.0}, 1),  # no step is short enough: the shortest
        ({1: 0.5}, 8),  # larger than any that was measured
        ({8: 0.02, 1: 0.16}, 8),  # a card: eight take as long as one
    ],
)
def test_a_step_takes_a_second_unless_smaller_ones_lose_throughput(rates: dict[int, float], expected: int) -> None:
    assert step_size([1.0] * 8, rates) == expected


@given(COSTS, RATES)
def test_a_step_never_loses_more_than_its_share_by_what_was_measured(
    costs: list[float], rates: dict[int, float]
) -> None:
    size = step_size(costs, rates)
    assert 1 <= size <= len(costs)
    if size in rates and size < len(costs):
        assert rates[size] <= (1 + LOSS) * min(rates.values())


@given(COSTS, st.floats(0.0001, 10))
def test_where_size_does_not_matter_a_step_of_several_items_is_short(costs: list[float], rate: float) -> None:
    rates = dict.fromkeys((1, 2, 4, 8, 16, 32, 64), rate)
    size = step_size(costs, rates)
    assert size == 1 or rate * sum(costs[:size]) <= STEP_S


def test_a_device_where_batching_pays_tries_a_smaller_step_once() -> None:
    pace, sizes = Pace(), []
    for _ in range(50):
        size = pace.step_size([1.0] * 8)
        pace.learn(size, size, 1.2 + 0.1 * size)  # 2 s for eight, 1.3 s for one
        sizes.append(size)
    assert sizes[0] == 8
    assert len([size for size in sizes if size < 8]) == 1


def test_a_device_where_batching_does_not_pay_settles_on_short_steps() -> None:
    pace, sizes = Pace(), []
    for _ in range(20):
        size = pace.step_size([1.0] * 8)
        pace.learn(size, size, 0.4 * size)
        sizes.append(size)
    assert sizes[0] == 8
    assert set(sizes[1:]) == {2}


def test_a_size_that_was_slow_once_is_tried_again_later() -> None:
    pace = Pace()
    pace.learn(8, 8.0, 4.0)
    pace.learn(2, 2.0, 9.0)  # something else used the device
    pace.learn(4, 4.0, 9.0)
    tried = []
    for _ in range(120):
        tried.append(pace.step_size([1.0] * 8))
        pace.learn(tried[-1], tried[-1], 0.5 * tried[-1])
    assert tried[0] == 8
    assert 2 in tried


def test_an_estimate_is_of_what_was_measured() -> None:
    pace = Pace()
    assert pace.estimate_s([1.0]) is None
    pace.learn(4, 8.0, 0.8)
    assert pace.estimate_s([2.0, 3.0]) == pytest.approx(0.5)
    assert pace.estimate_s([1.0] * 9) == pytest.approx(0.9)
