"""What `golem bench interactive` makes of its times, without a worker."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golem_chain.benchmarks.chain.clients import moments, own
from golem_chain.benchmarks.chain.interactive import Findings, Plan, Round, loss, percentile, tables, targets
from golem_chain.shared.records import Outcome, StageRun


def found(idle_s, busy_s, rounds):
    return Findings("a box", "recordings", Plan(), bulk_audio_s=100.0, idle_s=idle_s, busy_s=busy_s, rounds=rounds)


def test_the_95th_percentile_of_fifty_is_the_third_longest():
    assert percentile([float(n) for n in range(1, 51)], 0.95) == 48.0


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_its_share_does_not_exceed(values, share):
    value = percentile(values, share)
    assert value in values
    assert sum(one <= value for one in values) >= share * len(values)


def test_bulk_that_makes_room_for_the_commands_own_time_and_no_more_loses_nothing():
    assert loss([(100.0, 110.0, 10.0), (100.0, 107.0, 7.0)]) == pytest.approx(0)


def test_what_takes_longer_than_the_commands_own_time_is_a_loss():
    assert loss([(90.0, 110.0, 10.0)]) == pytest.approx(0.1)


def test_a_command_in_a_batch_of_bulk_jobs_owns_its_share():
    alone, shared = StageRun(compute_s=0.4, load_s=0.1), StageRun(compute_s=0.8, load_s=0.4, batch_size=4)
    assert own(Outcome(job="a", name="a", state="done", stages={"scribe": alone})) == pytest.approx(0.5)
    both = Outcome(job="a", name="a", state="done", stages={"scribe": alone, "oracle": shared})
    assert own(both) == pytest.approx(0.8)


def test_commands_keep_their_interval_and_each_round_begins_elsewhere():
    rounds = [list(islice(moments(number, 20.0), 4)) for number in range(1, 6)]
    for at in rounds:
        assert 0 <= at[0] < 20
        assert [b - a for a, b in pairwise(at)] == pytest.approx([20.0] * 3)
    assert len({at[0] for at in rounds}) == 5


def test_the_bound_follows_the_idle_box_of_the_same_run():
    slow = found([2.0, 2.0, 9.0], [5.1], [Round(100.0, 110.0, 1, 5.0)])
    assert slow.bound_s == pytest.approx(5.0)
    assert [target.met for target in targets(slow)] == [False, True]
    fast = found([2.0, 2.0, 9.0], [4.9], [Round(100.0, 120.0, 1, 5.0)])
    assert [target.met for target in targets(fast)] == [True, False]


def test_the_tables_show_the_bulk_work_with_and_without_the_commands_part():
    rounds = [Round(10.0, 25.0, 2, 5.0, alone_cpu_s=20.0, together_cpu_s=40.0)] * 2
    measured = found([1.0, 1.0], [2.0], rounds)
    measured.idle_cpu_s = 8.0
    bulk = list(tables(measured))[1]
    assert [row[1:] for row in bulk.rows] == [("20", "10.0", "40"), ("50", "4.0", "80"), ("40", "5.0", "64")]
