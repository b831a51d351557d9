"""What fits where is decided by the worker's own functions."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.benchmarks.large.fits import ROOMS, Need, batch_in, cell, planned, together
from golem_chain.shared.errors import ModelAboveBudget
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.stages.stub import StubEngine
from tests.support.residency import FakeMemory


def need(weights, per_item, most=16):
    return Need("oracle", "a model", "bfloat16", weights, planned(lambda batch: batch * per_item, most))


@given(st.integers(1, 1000), st.integers(1, 200), st.integers(1, 2000))
def test_a_batch_fits_and_the_next_larger_one_does_not(weights, per_item, room):
    batch = batch_in(need(weights, per_item), room)
    assert weights + batch * per_item <= room or batch == 0
    assert batch == 16 or weights + (batch + 1) * per_item > room


@pytest.mark.parametrize("room", [99, 100])
def test_what_the_table_refuses_a_worker_refuses(room):
    engines = {"oracle": StubEngine("oracle", weights_bytes=90, working=10)}
    residency = Residency(engines, FakeMemory(engines), "1", room)
    asked = need(90, 10)
    if batch_in(asked, room):
        with residency.use("oracle", 1):
            assert residency.resident == ("oracle",)
    else:
        with pytest.raises(ModelAboveBudget), residency.use("oracle", 1):
            pass
        assert cell(asked, room).startswith("refused")


@pytest.mark.parametrize(
    ("room", "expected"),
    [(290 + 10, "all three stay"), (299, "they take turns"), (110, "they take turns"), (109, "refused: oracle")],
)
def test_what_stays_together_is_what_a_worker_keeps(room, expected):
    weights = {"scribe": 90, "interpreter": 100, "oracle": 100}
    chain = [Need(stage, stage, "8 bit", size, {1: 10}) for stage, size in weights.items()]
    assert together(chain, room) == expected.replace("oracle", "interpreter, oracle")
    engines = {stage: StubEngine(stage, weights_bytes=size, working=10) for stage, size in weights.items()}
    residency = Residency(engines, FakeMemory(engines), "auto", room)
    for stage in (*weights, *weights):
        with suppress(ModelAboveBudget), residency.use(stage):
            pass
    assert (len(residency.resident) == 3) == (expected == "all three stay")


def test_a_chain_stays_only_if_its_second_round_evicts_nothing():
    first_needs_most = [
        Need("scribe", "a", "8 bit", 100, {1: 50}),
        Need("interpreter", "b", "8 bit", 100, {1: 10}),
        Need("oracle", "c", "8 bit", 100, {1: 10}),
    ]
    assert together(first_needs_most, 310) == "they take turns"
    assert together(first_needs_most, 350) == "all three stay"


def test_a_card_has_less_room_than_a_budget_of_its_size():
    assert ROOMS["budget of 2 GiB"] < ROOMS["card of 4 GB"] < ROOMS["budget of 4 GiB"]
