"""What `golem bench many` counts, and what it makes of the figures."""

import pytest
import redis

from golem_chain.benchmarks.producer.many import Findings, targets
from golem_chain.benchmarks.producer.spending import Spent, spending


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
