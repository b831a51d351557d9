"""Clock skew: with boxes two hours apart, leases and retry delays still hold, because no box's clock is used."""

import json
import time

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.pipeline import Pipeline
from tests.support.faults import LEASE_S, FaultInjector
from tests.support.fleet import Fleet
from tests.support.takes import peek

keys = Keys()

HOUR_S = 3600


@pytest.fixture(scope="module")
def skewed(redis_server, tmp_path_factory):
    """Two boxes, box0 an hour ahead and box1 an hour behind, and their fleet."""
    folder = tmp_path_factory.mktemp("skewed")
    fleet = Fleet(redis_server.url, folder)
    words = ("{url}", "{name}", f"lease_s={LEASE_S}")
    faults = FaultInjector(redis_server, folder, 2, "tests.support.sleeping_box", words, SLOW_S="3", skew_s=HOUR_S)
    try:
        fleet.until(lambda: len(list(fleet.redis.scan_iter("golem:box:*"))) == 2)
        yield fleet, faults
    finally:
        faults.stop()
        fleet.close()


def test_a_message_bears_the_servers_time_whatever_its_sender_believes(settings, client, monkeypatch):
    monkeypatch.setattr("golem_chain.broker.transport.channel.time", lambda: time.time() + HOUR_S)
    with Pipeline(settings) as pipeline:
        pipeline.submit(b"sound")
    seconds, _ = client.time()
    headers = json.loads(client.lindex(keys.queue("scribe"), 0))["headers"]
    assert abs(headers["sent_at"] - seconds) < HOUR_S / 2
    [line] = peek(client, "scribe")
    assert line.depth == 1
    assert 0 < line.oldest_s < HOUR_S / 2


def test_nobody_takes_a_task_that_is_at_work_and_a_retry_comes_after_its_own_delay(skewed):
    fleet, _ = skewed
    jobs = ["slow one", *(f"retry{n}" for n in range(8)), *(f"j{n}" for n in range(20))]
    fleet.submit(jobs)
    fleet.done(jobs)
    assert len(fleet.log("end", stage="oracle")) == len(jobs)
    assert sum("slow one" in event["jobs"] for event in fleet.log("batch", stage="interpreter")) == 1
    assert {round((event["t"] - time.time()) / HOUR_S) for event in fleet.log("batch")} == {-1, 1}  # both ran messages


def test_what_a_dead_box_had_is_taken_after_its_lease_and_not_after_an_hour_or_at_once(skewed):
    fleet, faults = skewed
    fleet.submit(["slow two"])
    fleet.until(lambda: [event for event in fleet.log("batch", stage="interpreter") if "slow two" in event["jobs"]])
    [first] = [event for event in fleet.log("batch", stage="interpreter") if "slow two" in event["jobs"]]
    faults.wires["box0" if first["t"] > time.time() else "box1"].cut()  # never mended
    [(_, renewed)] = fleet.redis.zrange(keys.unacked_index, 0, -1, withscores=True)
    waited_s = fleet.until(lambda: fleet.log("batch", stage="interpreter")[-1] != first)
    seconds, micros = fleet.redis.time()
    assert seconds + micros / 1e6 - renewed >= LEASE_S, "by the server's clock, which books the leases"
    assert waited_s < LEASE_S + 15
