"""Eviction and batch size, which are pure functions: tables and properties, no device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.workers.residency.eviction import Held, evict, largest_batch

A, B, C = Held("a", 10, 1.0), Held("b", 20, 2.0), Held("c", 30, 3.0)


@pytest.mark.parametrize(
    ("wanted", "weights", "working", "resident", "budget", "mode", "gone"),
    [
        ("a", 10, 5, [], 100, "1", ()),
        ("a", 10, 5, [A], 100, "1", ()),
        ("a", 10, 5, [B], 100, "1", ("b",)),
        ("a", 10, 5, [B], 100, "0", ("b",)),
        ("a", 10, 5, [C, B], 100, "auto", ()),
        ("a", 10, 5, [C, B], 50, "auto", ("b",)),
        ("a", 10, 5, [C, B], 20, "auto", ("b", "c")),
        ("b", 20, 1, [A, B, C], 51, "auto", ("a",)),
    ],
)
def test_the_plan_unloads_what_the_table_says(wanted, weights, working, resident, budget, mode, gone):
    plan = evict(wanted, weights, working, resident, budget, mode)
    assert plan.fits
    assert plan.evict == gone


def test_a_model_above_the_budget_is_refused_and_nothing_is_unloaded():
    plan = evict("a", 90, 20, [B, C], 100, "1")
    assert not plan.fits
    assert plan.evict == ()
    assert plan.need_bytes == 110


sizes = st.integers(1, 100)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), sizes, sizes), unique_by=lambda t: t[0]),
    st.sampled_from("abcdefg"),
    sizes,
    sizes,
    st.integers(1, 300),
)
def test_what_stays_and_what_is_wanted_never_pass_the_budget(resident, wanted, weights, working, budget):
    held = [Held(stage, bytes_, used) for stage, bytes_, used in resident]
    plan = evict(wanted, weights, working, held, budget, "auto")
    stays = [h for h in held if h.stage not in plan.evict and h.stage != wanted]
    if plan.fits:
        assert sum(h.weights_bytes for h in stays) + weights + working <= budget
    if plan.evict:  # no unnecessary eviction: without the last one the model would not fit
        last = next(h for h in held if h.stage == plan.evict[-1])
        assert sum(h.weights_bytes for h in [*stays, last]) + weights + working > budget


@given(st.integers(1, 64), st.integers(0, 2000), st.integers(1, 100))
def test_the_largest_batch_fits_and_the_next_does_not(asked, free, each):
    n = largest_batch(asked, free, lambda n: n * each)
    assert 1 <= n <= asked
    assert n * each <= free or n == 1
    assert n == asked or (n + 1) * each > free
