"""Where a backlog begins, one job goes ahead of the others through all stages."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.consumer_state import PILOTS, ConsumerState
from golem_chain.broker.transport.scheduler import GATHER_S, PILOTED_BATCHES, decide, gathers_s, grows
from golem_chain.broker.transport.view import Line, Move, Prefer, View, Waiting

BATCH = dict.fromkeys(STAGES, 8)
MANY = PILOTED_BATCHES * 8 + 1


def view(depths, resident=(), current=None, prefer: Prefer = "balanced", servers=(0, 0, 0), **more):
    lines = [Line(stage, depth, 0.1, 0.1, n) for stage, depth, n in zip(STAGES, depths, servers, strict=True)]
    return View(lines, BATCH, frozenset(resident), current, 0.0, dict.fromkeys(STAGES, 0.15), prefer, **more)


@pytest.mark.parametrize("prefer", ["balanced", "latency"])
def test_a_backlog_on_a_box_that_had_nothing_to_do_begins_with_a_pilot(prefer):
    assert decide(view((MANY, 0, 0), prefer=prefer, fresh=True)) == Move("scribe", 8, pilot=True)
    assert decide(view((0, MANY, 0), prefer=prefer, fresh=True)) == Move("interpreter", 8, pilot=True)


@pytest.mark.parametrize(
    "seen",
    [
        view((MANY - 1, 0, 0), fresh=True),
        view((MANY, 0, 0)),
        view((MANY, 0, 0), prefer="throughput", fresh=True),
        view((MANY, 1, 0), fresh=True),
        view((0, 0, MANY), fresh=True),
        view((MANY, 0, 0), servers=(1, 0, 0), fresh=True),
        replace(view((MANY, 0, 0), fresh=True), lines=[Line("scribe", MANY, put_off=True), Line("oracle", 0)]),
    ],
    ids=["few", "in the middle", "throughput", "others ahead", "last stage", "another box has begun", "put off"],
)
def test_there_is_none_where_it_would_gain_nothing(seen):
    move = decide(seen)
    assert move is not None
    assert not move.pilot


def test_interactive_work_comes_before_it():
    seen = view((MANY, 0, 0), fresh=True)
    lines = [seen.lines[0], replace(seen.lines[1], interactive=Waiting(1, 1.0)), seen.lines[2]]
    assert decide(replace(seen, lines=lines)) == Move("interpreter", 1, "interactive")


def test_the_loaded_model_leaves_its_backlog_for_the_pilot_and_for_nothing_else():
    after = view((MANY, 1, 0), {"scribe"}, "scribe", pilot=True)
    assert decide(after) == Move("interpreter", 1, pilot=True)
    assert decide(replace(after, pilot=False)) == Move("scribe", 8)
    assert decide(view((MANY, 0, 1), {"interpreter"}, "interpreter", pilot=True)) == Move("oracle", 1, pilot=True)
    assert decide(view((MANY, 0, 1), {"scribe"}, "oracle", pilot=True)) == Move("scribe", 8), "it has arrived"
    assert decide(view((MANY, 1, 0), {"scribe"}, "scribe", servers=(0, 1, 0), pilot=True)) == Move("scribe", 8)


def test_a_box_that_finds_a_backlog_after_its_first_message_sends_that_one_ahead():
    state = ConsumerState()
    seen = [Line(stage, 0) for stage in STAGES]
    assert state.view(seen, BATCH, "balanced").fresh
    state.takes(Move("scribe", 8), count=PILOTS)
    assert state.view([Line("scribe", 9)], BATCH, "balanced").pilot
    state.takes(Move("scribe", 8), count=1)
    assert not state.view([Line("scribe", 9)], BATCH, "balanced").pilot


def test_a_backlog_begins_once_and_another_one_when_all_queues_were_empty():
    state = ConsumerState()
    busy, empty = [Line("scribe", MANY), Line("oracle", 0)], [Line("scribe", 0), Line("oracle", 0)]
    assert state.view(busy, BATCH, "balanced").fresh, "a box that has just started"
    state.takes(Move("scribe", 8, pilot=True), count=8)
    told = state.view(busy, BATCH, "balanced")
    assert (told.fresh, told.pilot) == (False, True)
    state.takes(Move("oracle", 1))
    state.took("tag", 1)
    assert not state.view(empty, BATCH, "balanced").fresh, "it still works on the last one"
    state.done("tag")
    state.view(empty, BATCH, "balanced")
    assert state.view(busy, BATCH, "balanced").fresh


# -- the rest of a burst


def first(depth: int, age: float) -> tuple[View, Line, Move]:
    seen = view((depth, 0, 0), fresh=True)
    line = replace(seen.lines[0], oldest_s=age)
    return seen, line, Move("scribe", min(depth, 8))


def test_a_lone_job_waits_for_five_milliseconds_and_a_burst_for_its_end():
    assert gathers_s(*first(1, 0.001), 0, 0.005) == pytest.approx(0.004)
    assert gathers_s(*first(1, 0.005), 1, 0.005) == 0
    assert gathers_s(*first(4, 0.005), 1, 0.005) == 0.005
    assert gathers_s(*first(4, 0.010), 4, 0.005) == 0
    assert gathers_s(*first(12, 0.010), 4, 0.005) == 0.005, "it may become a backlog"
    assert gathers_s(*first(3, 0.024), 2, 0.005) == pytest.approx(0.016), "a slow sender"


def test_a_burst_whose_end_is_not_in_sight_has_a_pilot_that_goes_on_once_it_is_a_backlog():
    seen, line, move = first(6, GATHER_S)
    assert gathers_s(seen, line, move, 5, 0.005) == 0
    assert [grows(line, before) for before in (0, 5, 6)] == [False, True, False]
    assert decide(replace(seen, grows=True)) == Move("scribe", 6, pilot=True)
    assert decide(seen) == Move("scribe", 6)
    assert decide(view((9, 1, 0), {"scribe"}, "scribe", pilot=True)) == Move("scribe", 8), "it was a few"


def test_for_throughput_a_batch_is_enough():
    seen, line, move = first(8, 0.001)
    assert gathers_s(replace(seen, prefer="throughput"), line, move, 4, 0.005) == 0


def test_neither_interactive_work_nor_a_pilot_waits_for_more():
    seen, line, _ = first(MANY, 0.001)
    assert gathers_s(seen, line, Move("scribe", 8, "interactive"), 0, 0.005) == 0
    assert gathers_s(seen, line, Move("scribe", 8, pilot=True), 0, 0.005) == 0


@given(st.integers(1, 100), st.integers(0, 100), st.floats(0, 1), st.booleans())
def test_no_message_waits_for_a_burst_for_longer_than_its_bound(depth, before, age, fresh):
    seen, line, move = first(depth, age)
    pause_s = gathers_s(replace(seen, fresh=fresh), line, move, before, 0.005)
    assert pause_s >= 0
    assert age + pause_s < GATHER_S + 0.005 or pause_s == 0
