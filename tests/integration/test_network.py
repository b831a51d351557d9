"""Network faults: the messages of a disconnected box run once, there or elsewhere, and the box rejoins on its own."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.support.faults import LEASE_S, FaultInjector
from tests.support.fleet import Fleet
from tests.support.wire import Namespace, Wire

AWAY_S = 3.0


@pytest.fixture
def boxes_on(redis_server, tmp_path):
    """Start boxes on a fleet."""
    made: list[Callable[[], None]] = []

    def start(boxes, **given):
        fleet = Fleet(redis_server.url, tmp_path)
        words = ("{url}", "{name}", f"lease_s={LEASE_S}")
        faults = FaultInjector(redis_server, tmp_path, boxes, "tests.support.sleeping_box", words, **given)
        made.extend((faults.stop, fleet.close))
        fleet.until(lambda: len(list(fleet.redis.scan_iter("golem:box:*"))) == boxes)
        return fleet, faults

    yield start
    for end in made:
        end()


def starts(fleet, job):
    return [event for event in fleet.log("batch", stage="interpreter") if job in event["jobs"]]


def test_a_box_that_lost_its_connections_at_work_ends_the_work_once_and_goes_on(boxes_on):
    fleet, faults = boxes_on(1, SLOW_S="2")
    fleet.submit(["slow one", "j"])
    fleet.until(lambda: starts(fleet, "slow one"))
    faults.wires["box0"].cut()
    fleet.submit(["later"])
    with pytest.raises(AssertionError, match="not within"):
        fleet.done(["slow one"], AWAY_S)  # longer than the work, which ends without a network
    faults.wires["box0"].mend()
    fleet.done(["slow one", "j", "later"])
    assert len(starts(fleet, "slow one")) == 1
    fleet.settled()


def test_a_silence_longer_than_the_lease_gives_the_work_to_another_and_ends_it_once(boxes_on):
    spaces: dict[str, Any] = {}
    try:
        try:
            spaces |= {"box0": Namespace(0)}
            spaces |= {"box1": Namespace(1)}
        except OSError as exc:
            pytest.skip(f"no network namespaces with addresses of their own here: {exc}")
        fleet, _ = boxes_on(2, spaces=spaces, SLOW_S="2")
        fleet.submit(["slow one"])
        fleet.until(lambda: starts(fleet, "slow one"))
        held = fleet.redis.hvals("golem:holders")[0].decode().partition("@")[0]
        spaces[held].plug("down")
        fleet.done(["slow one"])
        spaces[held].plug("up")
        jobs = [f"j{n}" for n in range(40)]
        fleet.submit(jobs)
        fleet.done(jobs)
        assert len(fleet.log("end", job="slow one", stage="oracle")) == 1
        fleet.settled()
    finally:
        for space in spaces.values():
            space.close()


def test_a_slow_network_delays_each_byte_both_ways_and_keeps_their_order(redis_server):
    wire = Wire(redis_server.url)
    with redis.Redis.from_url(wire.url) as client:
        client.ping()
        wire.slow(0.1)
        began = time.monotonic()
        with client.pipeline(transaction=False) as pipe:
            for n in range(20_000):
                pipe.echo(n)
            assert pipe.execute() == [str(n).encode() for n in range(20_000)]
        assert 0.2 <= time.monotonic() - began < 2.0  # not once for each piece
        wire.mend()
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began < 0.1
    wire.close()
