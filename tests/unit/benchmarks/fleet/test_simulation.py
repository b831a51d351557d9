"""Several boxes with the real scheduler in simulated time: they specialise, share work, and no queue starves."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golem_chain.benchmarks.fleet.arrivals import arrivals
from golem_chain.benchmarks.fleet.costs import MEASURED, SLEEPING, read
from golem_chain.benchmarks.fleet.simulation import Fleet, dedicated
from golem_chain.broker.queues import LANES, STAGES
from golem_chain.broker.transport.scheduler import HELD_UP, HELD_UP_S, LEFT_ALONE_S, LINGER_S, LOOK_S, STARVING_S
from golem_chain.shared.errors import BadRequest

ONE_MODEL = 1000.0
UNLOADED_S = 3 * (0.15 + 0.02)
TAKE_S = 0.15 + 8 * 0.02  # the longest take


def fleet(boxes, **given):
    return Fleet([ONE_MODEL] * boxes, SLEEPING, **given)


def test_three_boxes_specialise_under_a_stream():
    result = fleet(3).run(arrivals("poisson", 25, 60, seed=1))
    assert len(result.loads) <= 6
    assert result.loads_after(5) <= 1
    assert fleet(3, policy="round robin").run(arrivals("poisson", 25, 60, seed=1)).loads_after(5) > 300


@pytest.mark.parametrize("prefer", ["throughput", "balanced"])
def test_four_boxes_drain_a_backlog_almost_four_times_as_fast_as_one(prefer):
    took = [fleet(boxes, prefer=prefer).run([0.0] * 1000).ended_s for boxes in (1, 4)]
    assert took[0] / took[1] >= 3.8


@given(st.integers(1, 500))
def test_a_backlog_of_any_size_costs_one_box_three_loads_for_throughput(jobs):
    assert len(fleet(1, prefer="throughput").run([0.0] * jobs).loads) == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 300), st.sampled_from(["throughput", "latency", "balanced"]))
def test_a_backlog_costs_no_more_loads_for_more_boxes_than_one_of_each_model_for_each(boxes, jobs, prefer):
    result = fleet(boxes, prefer=prefer).run([0.0] * jobs)
    if prefer == "throughput" or jobs <= 8:
        assert len(result.loads) <= 3 * boxes
    assert len(result.latencies) == jobs


def test_the_first_job_of_an_overload_is_done_within_five_times_its_unloaded_time():
    for boxes in (1, 2, 3):
        assert fleet(boxes).run(arrivals("poisson", 60, 20, seed=1)).first_s <= 5 * UNLOADED_S


class Watched(Fleet):
    """Records the longest wait of a queue from which no box took, by lane."""

    def __init__(self, *args, **given):
        super().__init__(*args, **given)
        self.longest = dict.fromkeys(LANES, 0.0)

    def _fill(self, taken, queue, lane, most):
        if (line := self._queues[queue, lane]) and len(taken) < most:
            waited_s = self.now - max(line[0][0], self._served[queue, lane])
            self.longest[lane] = max(self.longest[lane], waited_s)
        super()._fill(taken, queue, lane, most)


streams = st.builds(
    lambda rate, seconds, pattern, seed: arrivals(pattern, rate, seconds, seed) or [0.0],
    st.floats(0.5, 80),
    st.floats(1, 15),
    st.sampled_from(["poisson", "bursty", "daily"]),
    st.integers(0, 9),
)


@settings(max_examples=40, deadline=None)
@given(streams, st.integers(1, 5), st.sampled_from(["latency", "balanced"]), st.data())
def test_nobody_starves_and_no_boxes_leave_a_queue_to_each_other_for_ever(times, boxes, prefer, data):
    """Also if some boxes claim queues and never take from them, because they died or hang."""
    run = Watched([ONE_MODEL] * boxes, SLEEPING, prefer=prefer)
    for stage in STAGES:
        run._claims[stage].update(range(1000, 1000 + data.draw(st.integers(0, 3))))
    result = run.run(times)
    assert len(result.latencies) == len(times)  # all jobs are done
    assert run.longest["bulk"] <= STARVING_S + 3 * TAKE_S


@settings(max_examples=40, deadline=None)
@given(streams, st.floats(0, 1), st.integers(1, 5), st.data())
def test_no_lane_starves_whatever_the_boxes_and_the_shares_of_the_lanes(times, share, boxes, data):
    """As above. An interactive lane goes without a take for at most the ten switches after which it comes first and
    seven takes; a bulk lane for its own bound, and three times GOLEM_BULK_WAIT_S and two takes: see `test_lanes`."""
    run = Watched([ONE_MODEL] * boxes, SLEEPING, bulk_wait_s=2.0)
    for stage in STAGES:
        run._claims[stage].update(range(1000, 1000 + data.draw(st.integers(0, 3))))
    interactive = {job for job in range(len(times)) if (job * 0.618) % 1 < share}
    assert len(run.run(times, interactive).latencies) == len(times)
    assert run.longest["interactive"] <= max(HELD_UP * 0.15, HELD_UP_S) + 7 * TAKE_S
    assert run.longest["bulk"] <= STARVING_S + 3 * (2.0 + 2 * TAKE_S) + TAKE_S


@pytest.mark.parametrize("boxes", [1, 2, 4, 10])
def test_interactive_jobs_pass_a_backlog_and_cost_it_little(boxes):
    backlog, rate = 400 * boxes, 16.7 * boxes
    times = [0.0] * backlog + arrivals("poisson", 0.05 * rate, 0.7 * backlog / rate, 1)
    alone = fleet(boxes).run([0.0] * backlog)
    without, result = (fleet(boxes).run(times, range(first, len(times))) for first in (len(times), backlog))
    assert result.latency_s(0.95, backlog) <= 3 * (UNLOADED_S + TAKE_S)  # a batch that runs before each of its own
    assert result.latency_s(0.95, backlog) < without.latency_s(0.95, backlog) / 5
    assert max(result.latencies[:backlog]) <= 1.4 * alone.ended_s


def test_a_lone_interactive_job_waits_for_nobody():
    for boxes in (1, 2, 3, 10):
        [took] = fleet(boxes).run([0.0], {0}).latencies
        assert took == pytest.approx(UNLOADED_S + 3 * 0.005, abs=0.001)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["throughput", "latency", "balanced"]))
def test_a_job_that_only_dead_boxes_claim_waits_a_second_for_each_stage(jobs, boxes, dead, prefer):
    run = fleet(boxes, prefer=prefer)
    for stage in STAGES:
        run._claims[stage].update(range(1000, 1000 + dead))
    work_s = 3 * jobs * 0.02 + 3 * 0.5
    assert max(run.run([0.0] * jobs).latencies) <= 3 * (LEFT_ALONE_S + LINGER_S + LOOK_S) + work_s


def test_a_lone_job_waits_for_nobody():
    for boxes in (1, 2, 3, 10):
        [took] = fleet(boxes).run([0.0]).latencies
        assert took == pytest.approx(UNLOADED_S + 3 * 0.005, abs=0.001)


def test_boxes_that_hold_every_model_load_each_once():
    result = Fleet([2000.0] * 4, MEASURED).run(arrivals("poisson", 1.5, 300, seed=1))
    assert len(result.loads) <= 12


def test_dedicated_boxes_are_given_out_by_the_work_of_the_stages():
    assert list(dedicated(3, MEASURED, 8)) == [(stage,) for stage in STAGES]
    tenfold = [queue for (queue,) in dedicated(10, MEASURED, 8)]
    assert [tenfold.count(stage) for stage in STAGES] == [3, 4, 3]
    assert sum(map(len, dedicated(2, MEASURED, 8))) == 3


@pytest.mark.parametrize("pattern", ["poisson", "bursty", "daily"])
def test_jobs_come_at_the_given_rate_and_the_same_for_everybody(pattern):
    times = arrivals(pattern, 50, 3000, seed=3)
    assert times == arrivals(pattern, 50, 3000, seed=3) == sorted(times)
    assert len(times) == pytest.approx(150_000, rel=0.15)


def test_a_file_of_costs_is_read_or_refused_in_one_sentence(tmp_path):
    file = tmp_path / "costs.json"
    costs = {stage: {"load_s": 1, "batch_s": 0, "item_s": 0.5, "megabytes": 10} for stage in STAGES}
    file.write_text(json.dumps(costs))
    assert read(file)["oracle"].seconds(4) == 2.0
    file.write_text(json.dumps({"scribe": {}}))
    with pytest.raises(BadRequest, match="give each stage load_s, batch_s, item_s and megabytes"):
        read(file)
