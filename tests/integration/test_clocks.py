"""Boxes whose clocks differ by two hours: leases and the delays of retries hold, since no box's clock is believed."""

import time

import pytest
from road import Road
from weather import LEASE_S, Weather

HOUR_S = 3600


@pytest.fixture(scope="module")
def skewed(redis_server, tmp_path_factory):
    """Two boxes, box0 an hour ahead and box1 an hour behind, and the road on which they are."""
    folder = tmp_path_factory.mktemp("skewed")
    road = Road(redis_server.url, folder)
    words = ("{url}", "{name}", f"lease_s={LEASE_S}")
    weather = Weather(redis_server, folder, 2, "sleeping_box.py", words, SLOW_S="3", skew_s=HOUR_S)
    try:
        road.until(lambda: len(list(road.redis.scan_iter("golem:box:*"))) == 2)
        yield road, weather
    finally:
        weather.stop()
        road.close()


def test_nobody_takes_a_task_that_is_at_work_and_a_retry_comes_after_its_own_delay(skewed):
    road, _ = skewed
    jobs = ["slow one", *(f"retry{n}" for n in range(8)), *(f"j{n}" for n in range(20))]
    road.submit(jobs)
    road.done(jobs)
    assert len(road.log("end", stage="oracle")) == len(jobs)
    assert sum("slow one" in event["jobs"] for event in road.log("batch", stage="interpreter")) == 1
    assert {round((event["t"] - time.time()) / HOUR_S) for event in road.log("batch")} == {-1, 1}  # both had a share


def test_what_a_dead_box_had_is_taken_after_its_lease_and_not_after_an_hour_or_at_once(skewed):
    road, weather = skewed
    road.submit(["slow two"])
    road.until(lambda: [event for event in road.log("batch", stage="interpreter") if "slow two" in event["jobs"]])
    [first] = [event for event in road.log("batch", stage="interpreter") if "slow two" in event["jobs"]]
    weather.wires["box0" if first["t"] > time.time() else "box1"].cut()  # for good
    waited_s = road.until(lambda: road.log("batch", stage="interpreter")[-1] != first, 20)
    assert LEASE_S * 2 / 3 - 1 < waited_s < LEASE_S + 5
