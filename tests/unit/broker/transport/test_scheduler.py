"""The scheduler: single decisions, and a box that follows them in simulated time."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport.scheduler import (
    BOUNDS,
    EMPTY_LOOK_S,
    LEFT_ALONE_S,
    LOOK_S,
    STARVED_S,
    STARVING_S,
    decide,
    listens,
    patience_s,
)
from golem_chain.broker.transport.view import Line, Move, Prefer, View, Waiting

PREFERS: tuple[Prefer, ...] = ("throughput", "latency", "balanced")
BATCH = dict.fromkeys(STAGES, 8)
COST = dict.fromkeys(STAGES, 0.15)


def view(depths, resident=(), current=None, dwell=0.0, prefer="balanced", ages=(0.0,) * 3, servers=(0,) * 3, **more):
    lines = [
        Line(stage, depth, age, age, others)
        for stage, depth, age, others in zip(STAGES, depths, ages, servers, strict=True)
    ]
    return View(lines, BATCH, frozenset(resident), current, dwell, COST, prefer, **more)


depths = st.tuples(*[st.integers(0, 100)] * 3)
ages = st.tuples(*[st.floats(0, 5000)] * 3)
views = st.builds(
    lambda depths, ages, current, dwell, prefer: view(depths, {current}, current, dwell, prefer, ages),
    depths,
    ages,
    st.sampled_from(STAGES),
    st.floats(0, 1000),
    st.sampled_from(PREFERS),
)


@given(views)
def test_a_lone_box_takes_something_if_and_only_if_something_waits(seen):
    move = decide(seen)
    assert (move is not None) == any(line.depth for line in seen.lines)
    if move:
        line = next(line for line in seen.lines if line.queue == move.queue)
        assert move.take_n == min(line.depth, seen.most_of(line))


@given(views)
def test_it_never_switches_without_a_reason(seen):
    move = decide(seen)
    if move is None or move.queue == seen.current:
        return
    here = next(line for line in seen.lines if line.queue == seen.current)
    there = next(line for line in seen.lines if line.queue == move.queue)
    bounds = BOUNDS[seen.prefer]
    long_enough = seen.dwell_s >= bounds.dwell * 0.15 and there.waited_s >= bounds.wait * 0.15
    starving = there.waited_s > min(max(bounds.starve * 0.15, STARVING_S), STARVED_S)
    assert here.depth == 0 or long_enough or starving


def test_a_take_of_the_oracle_holds_several_batches_where_nobody_waits_for_them():
    def taken(**more):
        move = decide(view((0, 0, 50), {"oracle"}, "oracle", **more))
        return move and move.take_n

    assert [taken(prefer=prefer) for prefer in PREFERS] == [32, 8, 16]
    assert taken(prefer="throughput", servers=(0, 0, 1)) == 8
    seen = view((0, 0, 50), {"oracle"}, "oracle")
    hurried = [replace(seen.lines[0], interactive=Waiting(1)), *seen.lines[1:]]
    assert replace(seen, lines=hurried).most_of(seen.lines[2]) == 8


def test_it_stays_while_there_is_work_for_the_loaded_model():
    assert decide(view((3, 50, 50), {"scribe"}, "scribe")) == Move("scribe", 3)


def test_it_leaves_when_the_dwell_is_over_and_another_has_waited_long_enough():
    far = view((50, 50, 0), {"scribe"}, "scribe", dwell=0.8, ages=(1, 0.5, 0))
    assert decide(far) == Move("interpreter", 8)
    assert decide(view((50, 50, 0), {"scribe"}, "scribe", dwell=0.8, ages=(1, 0.1, 0))) == Move("scribe", 8)
    assert decide(view((50, 50, 0), {"scribe"}, "scribe", dwell=0.3, ages=(1, 0.5, 0))) == Move("scribe", 8)


def test_what_one_batch_would_finish_is_finished_before_it_leaves():
    assert decide(view((5, 50, 0), {"scribe"}, "scribe", dwell=0.8, ages=(1, 0.5, 0))) == Move("scribe", 5)


def test_downstream_comes_first_and_upstream_for_throughput():
    assert decide(view((5, 5, 5))) == Move("oracle", 5)
    assert decide(view((5, 5, 5), prefer="throughput")) == Move("scribe", 5)


def test_a_move_between_loaded_models_is_free():
    assert decide(view((50, 3, 0), {"scribe", "interpreter"}, "scribe")) == Move("interpreter", 3)


def test_a_queue_that_other_boxes_serve_is_left_to_them_unless_it_is_deep_or_nobody_takes_from_it():
    served = {"servers": (1, 0, 0)}
    assert decide(view((8, 0, 0), **served)) is None
    assert decide(view((9, 0, 0), **served)) == Move("scribe", 8)
    assert decide(view((1, 0, 0), **served, ages=(LEFT_ALONE_S, 0, 0))) == Move("scribe", 1)


def test_a_box_with_work_helps_others_only_where_far_more_waits_for_each_server():
    stay = {"resident": {"scribe"}, "current": "scribe", "dwell": 9, "ages": (1, 1, 0)}
    assert decide(view((20, 60, 0), **stay, servers=(0, 1, 0))) == Move("scribe", 8)
    assert decide(view((20, 100, 0), **stay, servers=(0, 1, 0))) == Move("interpreter", 8)
    assert decide(view((20, 3, 0), **stay, servers=(1, 0, 0))) == Move("interpreter", 3)


def test_a_box_in_a_stream_lingers_and_a_lone_box_or_a_lone_job_never_waits():
    idle = {"resident": {"scribe"}, "current": "scribe", "idle_s": 0.1, "ages": (0, 0.1, 0)}
    assert decide(view((0, 1, 0), **idle, gap_s=0.04, servers=(0, 0, 1))) is None
    assert decide(view((0, 1, 0), **idle, gap_s=0.04)) == Move("interpreter", 1)
    assert decide(view((0, 1, 0), **idle, servers=(0, 0, 1))) == Move("interpreter", 1)
    assert decide(view((0, 1, 0), **{**idle, "idle_s": 0.6}, gap_s=0.04, servers=(0, 0, 1))) == Move("interpreter", 1)


crowds = st.builds(
    lambda depths, ages, servers, held, idle, gap, prefer: view(
        depths, held[:1], held[0] if held else None, 0.0, prefer, ages, servers, idle_s=idle, gap_s=gap
    ),
    depths,
    ages,
    st.tuples(*[st.integers(0, 5)] * 3),
    st.lists(st.sampled_from(STAGES), max_size=1),
    st.floats(0, 2),
    st.floats(0, 2),
    st.sampled_from(PREFERS),
)


@given(crowds)
def test_a_box_that_leaves_work_to_others_looks_again_when_its_reason_is_over(seen):
    if decide(seen) is not None:
        return
    assert 0 < patience_s(seen) <= (LOOK_S if any(line.depth for line in seen.lines) else EMPTY_LOOK_S)
    later = [replace(line, oldest_s=line.oldest_s + 1, unserved_s=line.unserved_s + 1) for line in seen.lines]
    if any(line.depth for line in later):  # no box took from it for longer than every bound
        assert decide(replace(seen, lines=later, idle_s=seen.idle_s + 1)) is not None


@given(crowds)
def test_a_box_is_not_woken_for_what_it_leaves_to_others(seen):
    heard = listens(seen)
    for line in seen.lines:
        assert (line.queue in heard) == (not line.depth and (line.queue in seen.resident or not line.servers))


@dataclass
class Box:
    """A simulated box with memory for one model; jobs arrive in the first queue and pass through the chain."""

    prefer: Prefer
    load_s: float = 0.15
    job_s: float = 0.02
    now: float = 0.0
    queues: dict[str, deque[Any]] = field(default_factory=lambda: {stage: deque() for stage in STAGES})
    served: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    current: str | None = None
    since: float = 0.0
    loads: int = 0
    done: list[Any] = field(default_factory=list)
    longest: float = 0.0

    def add(self, n=1, stage=STAGES[0], at=None):
        self.queues[stage].extend([self.now if at is None else at] * n)

    def step(self):
        lines = [
            Line(q, len(line), self.now - line[0] if line else 0.0, self.now - self.served[q])
            for q, line in self.queues.items()
        ]
        resident = frozenset({self.current} if self.current else ())
        cost = dict.fromkeys(STAGES, self.load_s)
        move = decide(View(lines, BATCH, resident, self.current, self.now - self.since, cost, self.prefer))
        if move is None:
            return False
        if move.queue != self.current:
            self.current, self.since = move.queue, self.now
            self.loads += 1
            self.now += self.load_s
        self.longest = max(self.longest, *(line.waited_s for line in lines))
        self.now += self.job_s * move.take_n
        self.served[move.queue] = self.now
        for _ in range(move.take_n):
            self.queues[move.queue].popleft()
        after = STAGES.index(move.queue) + 1
        if after < len(STAGES):
            self.add(move.take_n, STAGES[after])
        else:
            self.done += [self.now] * move.take_n
        return True


@given(depths)
def test_a_backlog_of_any_size_costs_three_loads_for_throughput(waiting):
    box = Box("throughput")
    for stage, n in zip(STAGES, waiting, strict=True):
        box.add(n, stage)
    while box.step():
        pass
    assert len(box.done) == sum(waiting)
    assert box.loads <= 3


@pytest.mark.parametrize("prefer", PREFERS)
def test_a_small_backlog_costs_three_loads_whatever_is_preferred(prefer):
    box = Box(prefer, load_s=0.15, job_s=0.001)
    box.add(60)
    while box.step():
        pass
    assert box.loads == 3


def test_the_first_job_of_an_overload_is_done_within_five_times_its_unloaded_time():
    box = Box("balanced")
    arrivals = deque(n / 60 for n in range(600))
    while not box.done:
        while arrivals and arrivals[0] <= box.now:
            box.add(at=arrivals.popleft())
        if not box.step():
            box.now += 0.001
    assert box.done[0] <= 5 * 3 * (0.15 + 0.02)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(("latency", "balanced")), st.tuples(*[st.integers(1, 8)] * 3))
def test_nobody_starves_however_the_messages_come(prefer, rates):
    """Every queue permanently receives more than the box can serve, and each is still served regularly."""
    box = Box(prefer)
    for _ in range(3000):
        for stage, rate in zip(STAGES, rates, strict=True):
            box.add(rate * 3, stage)
        box.step()
    worst = max(BOUNDS[prefer].starve * 0.15, STARVING_S)
    assert box.longest <= 2 * worst + 3 * (0.15 + 8 * 0.02)


# -- what was put off because it takes long


def put_off(seen, *places):
    return replace(seen, lines=[replace(line, put_off=n in places) for n, line in enumerate(seen.lines)])


def test_a_message_that_was_put_off_waits_until_no_later_stage_has_work():
    for resident in ("scribe", "interpreter", "oracle"):
        seen = put_off(view((1, 7, 2), {resident}, resident), 0)
        move = decide(seen)
        assert move is not None
        assert move.queue in ("interpreter", "oracle")
    assert decide(put_off(view((3, 0, 0), {"oracle"}, "oracle"), 0)) == Move("scribe", 3)


def test_a_message_that_was_put_off_does_not_wait_for_ever():
    seen = put_off(view((1, 7, 7), {"oracle"}, "oracle", ages=(STARVING_S + 1, 0.0, 0.0)), 0)
    assert decide(seen) == Move("scribe", 1)


@given(views, st.sets(st.integers(0, 2)))
def test_a_lone_box_always_takes_something_whatever_was_put_off(seen, places):
    move = decide(put_off(seen, *places))
    assert (move is not None) == any(line.depth for line in seen.lines)


def test_a_box_takes_what_was_put_off_if_others_serve_the_later_stages():
    seen = put_off(view((1, 2, 0), {"scribe"}, "scribe", servers=(0, 1, 0)), 0)
    assert decide(seen) == Move("scribe", 1)
