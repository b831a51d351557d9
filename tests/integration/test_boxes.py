"""Several boxes as real processes: they specialise, tell what they hold, and take over from one that vanished."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from road import Road

from golem_chain.broker import keys
from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.workers.parent.node_name import node_name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    with embedded.start(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_two_boxes_specialise_and_when_one_is_killed_the_other_takes_its_queue(road: Road) -> None:
    boxes = [road.box(name, LOAD_S=0.15, BATCH_S=0.02) for name in ("first", "second")]
    road.until(lambda: len(road.redis.keys("golem:box:*")) == 2)
    jobs = [f"j{n}" for n in range(40)]
    for job in jobs:
        road.submit([job], first=1)  # two stages
        time.sleep(0.05)
    road.done(jobs)
    loads = road.log("load")
    assert 2 <= len(loads) <= 4, loads  # one each; two more where the machine is busy
    assert len({event["pid"] for event in loads}) == 2
    holds = {stage: road.redis.zrange(keys.claim(stage), 0, -1) for stage in STAGES}
    assert sum(map(len, holds.values())) == 2
    road.settled()

    os.killpg(boxes[0].pid, signal.SIGKILL)
    jobs = [f"k{n}" for n in range(10)]
    road.submit(jobs, first=1)
    took = road.done(jobs)
    print(f"{len(loads)} loads for 40 jobs; ten more done {took:.1f} s after a box was killed")
    assert took < 8
    road.until(lambda: not any(b"first" in box for stage in STAGES for box in _claims(road, stage)), 8)


def _claims(road: Road, stage: str) -> list[bytes]:
    """Those that are believed."""
    return list(road.redis.zrangebyscore(keys.claim(stage), time.time() - scripts.HOLD_S, "+inf"))


def test_a_box_tells_its_queue_and_what_it_is_pinned_to_and_strikes_it_out_when_it_stops(road: Road) -> None:
    box = road.box("pinned", queues="oracle,scribe")
    key = f"golem:box:{node_name('pinned')}"
    road.submit(["j"])
    road.until(lambda: road.state("j", "scribe") == "SUCCESS")
    road.until(lambda: json.loads(road.redis.hget(key, "queue") or "null") == "scribe", 5)
    told = {field.decode(): json.loads(value) for field, value in road.redis.hgetall(key).items() if field in _TELLS}
    assert told["queues"] == ["scribe", "oracle"]
    assert time.time() - told["since"] < 30
    assert 0 < road.redis.ttl(key) <= 3
    assert _claims(road, "scribe") == [node_name("pinned").encode()]
    box.terminate()
    assert box.wait(5) == 0, road.said(box)
    assert not _claims(road, "scribe")
    assert not road.redis.exists(key)


_TELLS = {b"queue", b"queues", b"since"}
