"""What `golem bench many` counts, and what it makes of the figures."""

import pytest
import redis

from golem_chain.benchmarks.producer.many import SMALL, Findings, measure, same, tables, targets
from golem_chain.benchmarks.producer.spending import Spent, median, spending
from golem_chain.shared.settings import Settings


def test_only_the_commands_of_the_block_are_counted_with_those_inside_scripts(redis_server):
    with redis.Redis.from_url(redis_server.url) as client, redis.Redis.from_url(redis_server.url) as other:
        other.ping()
        with spending(client) as nothing:
            pass
        with spending(client) as some:
            other.set("bench:a", 1)
            other.eval("redis.call('GET', KEYS[1]) return redis.call('GET', KEYS[1])", 1, "bench:a")
        other.delete("bench:a")
    assert (nothing.commands, some.commands) == (0, 4)
    assert some.wall_s > 0


@pytest.mark.parametrize(("wall_s", "cpu_s", "met"), [(4.9, 0.4, [True, True]), (5.1, 0.6, [False, False])])
def test_ten_thousand_jobs_have_five_seconds_and_a_wait_a_twentieth_of_a_core(wall_s, cpu_s, met):
    found = Findings("a box", 10_000, 100_000, wait=Spent(wall_s=10.0, cpu_s=cpu_s))
    found.submits["one by one"] = [Spent(wall_s=wall_s)]
    assert [target.met for target in targets(found)] == met


def test_a_median_is_taken_of_each_figure_by_itself():
    assert median([Spent(1.0, 0.3, 0.0, 7), Spent(2.0, 0.2, 0.5, 5), Spent(9.0, 0.1, 0.4, 6)]) == Spent(
        2.0, 0.2, 0.4, 6
    )


@pytest.mark.parametrize(
    ("wall_s", "commands", "is_same"), [(0.0014, 4, True), (0.0021, 3, False), (0.0003, 30, False), (0.0009, 3, True)]
)
def test_a_large_group_may_take_neither_more_commands_nor_longer(wall_s, commands, is_same):
    assert same(Spent(0.001, commands=3), Spent(wall_s, commands=commands)) is is_same


def test_a_group_that_grows_dearer_is_named():
    found = Findings("a box", 10_000, 100_000, wait=Spent(10.0, 0.1))
    found.submits["together"] = [Spent(wall_s=4.0)]
    found.groups = {
        "status": {SMALL: Spent(0.001, commands=1), 100_000: Spent(0.001, commands=1)},
        "cancel": {SMALL: Spent(0.001, commands=1), 100_000: Spent(0.001, commands=100_000)},
    }
    assert list(targets(found))[-1][2:] == ("cancel", False)


def test_a_small_run_measures_all_of_it(redis_server):
    found = measure(Settings.read(_env_file=None), jobs=20, waiting=40, seconds=1, rounds=1, say=lambda _: None)
    assert [table.title for table in tables(found)][-1] == "Targets"
    assert all(costs[SMALL].commands > 0 for costs in found.groups.values())
    one_by_one, together = (found.submits[way][0].commands for way in ("one by one", "together"))
    assert one_by_one == pytest.approx(together, abs=20)
