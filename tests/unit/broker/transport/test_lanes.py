"""The two lanes of the queues: single decisions, and a box that follows them in simulated time."""

from collections import deque
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golem_chain.broker.queues import LANES, STAGES
from golem_chain.broker.transport.consumer_state import ConsumerState
from golem_chain.broker.transport.scheduler import BOUNDS, HELD_UP, HELD_UP_S, LOOK_S, STARVING_S, decide, patience_s
from golem_chain.broker.transport.view import Line, Move, Prefer, View, Waiting

BATCH = dict.fromkeys(STAGES, 8)
COST = dict.fromkeys(STAGES, 0.15)
PREFERS: tuple[Prefer, ...] = ("throughput", "latency", "balanced")


def view(interactive=(0, 0, 0), bulk=(0, 0, 0), ages=(0.0,) * 3, at="scribe", servers=(0,) * 3, **more):
    """A box that holds the model of `at`. `ages` are those of the interactive messages; bulk came just now."""
    lines = [
        Line(stage, n, 0.0, 0.0, others, interactive=Waiting(i, age, age))
        for stage, i, n, age, others in zip(STAGES, interactive, bulk, ages, servers, strict=True)
    ]
    return View(lines, BATCH, frozenset({at}), at, cost_s=COST, **more)


# -- single decisions


@pytest.mark.parametrize("prefer", PREFERS)
def test_an_interactive_message_comes_next_whatever_else_waits(prefer):
    seen = view((0, 1, 0), (500, 0, 500), prefer=prefer, gap_s=0.01, idle_s=0.0)
    assert decide(seen) == Move("interpreter", 1, "interactive")
    starving = [replace(line, oldest_s=5000.0, unserved_s=5000.0) for line in seen.lines]
    assert decide(replace(seen, lines=starving)) == Move("interpreter", 1, "interactive")


def test_a_take_of_interactive_messages_is_filled_up_with_bulk():
    assert decide(view((2, 0, 0), (500, 0, 0))) == Move("scribe", 8, "interactive")
    assert decide(view((2, 0, 0), (3, 500, 0))) == Move("scribe", 5, "interactive")


def test_a_switch_is_made_when_an_interactive_message_has_waited_as_long_as_it_costs():
    assert decide(view((1, 1, 0), ages=(0, 0.14, 0))) == Move("scribe", 1, "interactive")
    assert decide(view((1, 1, 0), ages=(0, 0.16, 0))) == Move("interpreter", 1, "interactive")


def test_the_interactive_message_furthest_downstream_comes_first_so_that_jobs_finish():
    assert decide(view((1, 1, 1), ages=(0.5, 0.3, 0.2))) == Move("oracle", 1, "interactive")
    assert decide(view((0, 1, 1), ages=(0, 0, 0))) == Move("oracle", 1, "interactive")
    assert decide(view((1, 9, 0), ages=(0.5, 0, 0), at="interpreter")) == Move("interpreter", 8, "interactive")


def test_an_interactive_lane_that_others_kept_waiting_for_ten_switches_comes_first():
    assert decide(view((1, 9, 0), ages=(1.6, 0, 0), at="interpreter")) == Move("scribe", 1, "interactive")


def test_interactive_messages_are_left_to_other_boxes_only_until_they_waited_as_long_as_a_switch_costs():
    seen = view((0, 1, 0), ages=(0, 0.05, 0), servers=(0, 1, 0))
    assert decide(seen) is None
    assert patience_s(seen) == pytest.approx(0.1)
    assert decide(view((0, 1, 0), (500, 0, 0), (0, 0.05, 0), servers=(0, 1, 0))) == Move("scribe", 8)
    assert decide(view((0, 1, 0), ages=(0, 0.16, 0), servers=(0, 1, 0))) == Move("interpreter", 1, "interactive")


def test_an_idle_box_looks_soon_at_queues_that_wake_others_only():
    """They may all be in the middle of a batch when an interactive message comes."""
    assert patience_s(view(servers=(0, 1, 0))) == LOOK_S
    assert patience_s(view()) > LOOK_S


def test_what_was_put_off_in_the_bulk_lane_holds_up_no_interactive_message():
    seen = view((1, 0, 0), (5, 9, 0))
    put_off = replace(seen, lines=[replace(line, put_off=True) for line in seen.lines])
    assert decide(put_off) == Move("scribe", 6, "interactive")


def test_an_interactive_message_that_was_put_off_waits_for_those_that_passed_it():
    seen = view((1, 1, 0))
    lines = [replace(line, interactive=replace(line.interactive, put_off=True)) for line in seen.lines[:1]]
    assert decide(replace(seen, lines=[*lines, *seen.lines[1:]])) == Move("interpreter", 1, "interactive")


def test_a_box_that_has_begun_with_messages_that_run_alone_goes_on_until_they_would_fill_a_batch():
    waits = view(bulk=(9, 2, 0))
    lines = [replace(waits.lines[0], put_off=True), *waits.lines[1:]]
    taken = [decide(replace(waits, lines=lines, alone_n=n)) for n in (0, 1, 7, 8)]
    assert [move and move.queue for move in taken] == ["interpreter", "scribe", "scribe", "interpreter"]


def test_bulk_that_interactive_work_held_up_for_too_long_gets_half_of_the_next_take():
    pressed = view((9, 0, 0), (0, 0, 9), bulk_wait_s=60, pressed_s=61)
    overdue = replace(pressed, lines=[replace(line, oldest_s=61, unserved_s=61) for line in pressed.lines])
    assert decide(overdue) == Move("oracle", 8, bulk_n=4)
    assert decide(pressed) == decide(replace(overdue, repaid=True)) == Move("scribe", 8, "interactive")
    assert decide(replace(overdue, pressed_s=59)) == Move("scribe", 8, "interactive"), (
        "it was held up by other bulk work"
    )
    one = replace(overdue, batch=dict.fromkeys(STAGES, 1))
    assert decide(one) == Move("oracle", 1, bulk_n=1)


def test_a_box_knows_for_how_long_interactive_work_has_decided():
    now = 0.0
    state = ConsumerState(lambda: now)

    def known():
        seen = state.view([Line("scribe", 1)], BATCH, "balanced", 60)
        return seen.pressed_s, seen.repaid, seen.alone_n

    state.takes(Move("scribe", 8, "interactive"))
    now = 5.0
    assert known() == (5, False, 0)
    state.takes(Move("scribe", 8, bulk_n=4), alone=True)
    assert known() == (5, True, 1)
    state.takes(Move("scribe", 8, "interactive"), alone=True)
    assert known() == (5, False, 2)
    state.takes(Move("scribe", 8))
    assert known() == (0, False, 0)


# -- a simulated box


class Box:
    """A box with memory for one model. What it finishes goes on to the next stage, in its lane."""

    def __init__(self, prefer: Prefer = "balanced", *, load_s=0.15, job_s=0.02, batch=8, bulk_wait_s=60.0):
        self.now, self.load_s, self.job_s = 0.0, load_s, job_s
        self.prefer, self.bulk_wait_s, self.batch = prefer, bulk_wait_s, dict.fromkeys(STAGES, batch)
        self.state = ConsumerState(lambda: self.now)
        self.state.cost_s = dict.fromkeys(STAGES, load_s)
        self.lanes: dict[tuple[str, str], deque[float]] = {where: deque() for where in product(STAGES, LANES)}
        self.served = dict.fromkeys(self.lanes, 0.0)
        self.longest: dict[str, float] = dict.fromkeys(LANES, 0.0)  # without a take while messages waited
        self.free = 0  # takes of bulk while nothing interactive waited

    @property
    def take_s(self):
        """The longest time that a take can last."""
        return self.load_s + self.batch["scribe"] * self.job_s

    def add(self, stage, lane, n=1):
        self.lanes[stage, lane].extend([self.now] * n)

    def _waiting(self, stage, lane):
        line = self.lanes[stage, lane]
        return Waiting(len(line), self.now - line[0] if line else 0.0, self.now - self.served[stage, lane])

    def step(self):
        """Take once, and return the move with the numbers of interactive and bulk messages; None: nothing waits."""
        lines = []
        for stage in STAGES:
            bulk, interactive = self._waiting(stage, "bulk"), self._waiting(stage, "interactive")
            lines.append(Line(stage, bulk.depth, bulk.oldest_s, bulk.unserved_s, interactive=interactive))
            for lane, seen in zip(LANES, (interactive, bulk), strict=True):
                self.longest[lane] = max(self.longest[lane], seen.waited_s if seen.depth else 0.0)
        move = decide(self.state.view(lines, self.batch, self.prefer, self.bulk_wait_s))
        if move is None:
            assert not any(self.lanes.values()), "a lone box takes something if anything waits"
            return None
        self.free += not any(line.interactive.depth for line in lines)
        depths = {lane: len(self.lanes[move.queue, lane]) for lane in LANES}
        bulk_n = min(depths["bulk"], move.bulk_n)
        interactive_n = min(depths["interactive"], move.take_n - bulk_n)
        bulk_n = min(depths["bulk"], move.take_n - interactive_n)
        self.state.takes(move)
        if move.queue not in self.state.resident:
            self.now += self.load_s
        self.now += self.job_s * (interactive_n + bulk_n)
        self.state.learned(frozenset({move.queue}), {})
        after = STAGES.index(move.queue) + 1
        for lane, n in (("interactive", interactive_n), ("bulk", bulk_n)):
            for _ in range(n):
                self.lanes[move.queue, lane].popleft()
            if n:
                self.served[move.queue, lane] = self.now
            if after < len(STAGES):
                self.add(STAGES[after], lane, n)
        return move, interactive_n, bulk_n


def boxes(**given):
    return st.builds(
        Box,
        st.sampled_from(PREFERS),
        load_s=st.sampled_from((0.05, 0.15, 1.0)),
        job_s=st.sampled_from((0.02, 0.1, 0.5)),
        batch=st.sampled_from((1, 2, 8)),
        **given,
    )


rates = st.tuples(*[st.integers(0, 12)] * 3)


def held_up_s(box):
    return max(HELD_UP * box.load_s, HELD_UP_S)


@settings(max_examples=60, deadline=None)
@given(boxes(bulk_wait_s=st.sampled_from((1.0, 3.0))), rates, rates)
def test_no_lane_starves_under_interactive_work_without_a_pause(box, interactive, bulk):
    """More arrives in the lanes than the box can run. A bulk lane in which messages wait goes without a take for at
    most GOLEM_BULK_WAIT_S, an interactive one for ten switches (at least 1 s), and either for seven takes more: the one
    that runs, and two for each of the three queues, because turns of bulk and interactive work alternate."""
    assume(any(interactive))
    while box.now < 3 * max(box.bulk_wait_s, held_up_s(box)) + 16 * box.take_s:
        for stage, n, m in zip(STAGES, interactive, bulk, strict=True):
            box.add(stage, "interactive", n)
            box.add(stage, "bulk", m)
        assert box.step()
        assert not box.free
    assert box.longest["bulk"] <= box.bulk_wait_s + 7 * box.take_s
    assert box.longest["interactive"] <= held_up_s(box) + 7 * box.take_s


streams = st.lists(st.tuples(st.floats(0, 3), st.sampled_from(STAGES), st.integers(1, 30)), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(boxes(bulk_wait_s=st.sampled_from((1.0, 3.0))), streams, streams)
def test_no_lane_starves_however_the_messages_come(box, interactive, bulk):
    """Interactive work with pauses: bulk's own rules decide at least every GOLEM_BULK_WAIT_S, and then the queue that
    has starved longest comes first. A bulk lane goes without a take for at most the longer of the two bounds, and then
    for GOLEM_BULK_WAIT_S and two takes for each of the three queues. All jobs are done."""
    arrivals = []
    for lane, stream in (("interactive", interactive), ("bulk", bulk)):
        at = 0.0
        for gap, stage, n in stream:
            at += gap
            arrivals.append((at, stage, lane, n))
    todo = deque(sorted(arrivals))
    while todo or any(box.lanes.values()):
        while todo and todo[0][0] <= box.now:
            _, stage, lane, n = todo.popleft()
            box.add(stage, lane, n)
        if not box.step():
            box.now = todo[0][0]
    starve_s = min(max(BOUNDS[box.prefer].starve * box.load_s, STARVING_S), 3600.0)
    bound = max(starve_s, box.bulk_wait_s)
    assert box.longest["bulk"] <= bound + 3 * (box.bulk_wait_s + 2 * box.take_s) + box.take_s
    assert box.longest["interactive"] <= held_up_s(box) + 7 * box.take_s


@settings(max_examples=60, deadline=None)
@given(boxes(), rates, st.integers(0, 60), st.sampled_from(STAGES))
def test_a_lone_interactive_job_waits_for_the_batch_that_runs_at_each_of_its_stages(box, bulk, before, stage):
    """However much bulk waits, and for however long: its messages are in the next take, so that it is done after the
    batch that runs and one take for each stage."""
    assume(any(bulk))
    for _ in range(before):
        for one, n in zip(STAGES, bulk, strict=True):
            box.add(one, "bulk", n)
        box.step()
    box.add("scribe", "bulk", 9)
    box.now += 5000.0  # a long batch: all bulk is overdue, and starves
    box.add(stage, "interactive")
    for one in STAGES[STAGES.index(stage) :]:
        took = box.step()
        assert took is not None
        move, interactive_n, bulk_n = took
        assert (move.queue, move.lane, interactive_n) == (one, "interactive", 1)
        assert bulk_n == move.take_n - 1
    assert box.step()[0].lane == "bulk", "it goes back"


def test_a_backlog_costs_no_more_loads_because_there_are_lanes():
    """Interactive jobs alone are a backlog like any other: the model furthest downstream that has work stays. Bulk has
    a pilot, which has been through all stages before."""
    loads = {}
    for lane in LANES:
        box = Box(load_s=0.15, job_s=0.001)
        box.add("scribe", lane, 60)
        queues = []
        while took := box.step():
            queues.append(took[0].queue)
        loads[lane] = 1 + sum(one != other for one, other in pairwise(queues))
    assert loads == {"interactive": 3, "bulk": 3 + 3}
