"""A box whose network goes: what it had is done once, by itself or by another, and it takes part again by itself."""

import pytest
from road import Road
from weather import LEASE_S, Weather
from wire import Namespace

AWAY_S = 2.0


@pytest.fixture
def boxes_on(redis_server, tmp_path):
    """Starts boxes on a road."""
    made = []

    def start(boxes, **given):
        road = Road(redis_server.url, tmp_path)
        words = ("{url}", "{name}", f"lease_s={LEASE_S}")
        weather = Weather(redis_server, tmp_path, boxes, "sleeping_box.py", words, **given)
        made.extend((weather.stop, road.close))
        road.until(lambda: len(list(road.redis.scan_iter("golem:box:*"))) == boxes)
        return road, weather

    yield start
    for end in made:
        end()


def starts(road, job):
    return [event for event in road.log("batch", stage="interpreter") if job in event["jobs"]]


def test_a_box_that_lost_its_connections_at_work_ends_the_work_once_and_goes_on(boxes_on):
    road, weather = boxes_on(1, SLOW_S="1")
    road.submit(["slow one", "j"])
    road.until(lambda: starts(road, "slow one"))
    weather.wires["box0"].cut()
    road.submit(["later"])
    with pytest.raises(AssertionError, match="not within"):
        road.done(["slow one"], AWAY_S)
    weather.wires["box0"].mend()
    road.done(["slow one", "j", "later"])
    assert len(starts(road, "slow one")) == 1
    road.settled()


def test_a_silence_longer_than_the_lease_gives_the_work_to_another_and_ends_it_once(boxes_on):
    spaces = {}
    try:
        try:
            spaces |= {"box0": Namespace(0)}
            spaces |= {"box1": Namespace(1)}
        except OSError as exc:
            pytest.skip(f"no network namespaces with addresses of their own here: {exc}")
        road, _ = boxes_on(2, spaces=spaces, SLOW_S="1")
        road.submit(["slow one"])
        road.until(lambda: starts(road, "slow one"))
        held = road.redis.hvals("golem:holders")[0].decode().partition("@")[0]
        spaces[held].plug("down")
        road.done(["slow one"], LEASE_S + 10)
        spaces[held].plug("up")
        jobs = [f"j{n}" for n in range(40)]
        road.submit(jobs)
        road.done(jobs)
        assert len(road.log("end", job="slow one", stage="oracle")) == 1
        road.settled()
    finally:
        for space in spaces.values():
            space.close()
