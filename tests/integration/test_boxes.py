"""Several boxes in real processes: they specialise, publish their claims, and take over from a dead box."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.workers.parent.node_name import node_name
from tests.support.fleet import Fleet

keys = Keys()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    with embedded.start(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_two_boxes_specialise_and_when_one_is_killed_the_other_takes_its_queue(fleet: Fleet) -> None:
    boxes = [fleet.box(name, LOAD_S=0.15, BATCH_S=0.02) for name in ("first", "second")]
    fleet.until(lambda: len(fleet.redis.keys("golem:box:*")) == 2)
    jobs = [f"j{n}" for n in range(40)]
    for job in jobs:
        fleet.submit_heard([job])  # two stages
        time.sleep(0.05)  # a stream, not a backlog
    fleet.done(jobs)
    loads = fleet.log("load")
    assert 2 <= len(loads) <= 4, loads  # one each; up to two more on a busy machine
    assert len({event["pid"] for event in loads}) == 2
    holds = {stage: fleet.redis.zrange(keys.claim(stage), 0, -1) for stage in STAGES}
    assert sum(map(len, holds.values())) == 2
    fleet.settled()

    os.killpg(boxes[0].pid, signal.SIGKILL)
    jobs = [f"k{n}" for n in range(10)]
    fleet.submit_heard(jobs)
    took = fleet.done(jobs)
    print(f"{len(loads)} loads for 40 jobs; ten more done {took:.1f} s after a box was killed")
    assert took < 18  # without waiting for the lease of 25 s to expire
    fleet.until(lambda: not any(b"first" in box for stage in STAGES for box in _claims(fleet, stage)))


def _claims(fleet: Fleet, stage: str) -> list[bytes]:
    """Return the claims that have not expired."""
    return list(fleet.redis.zrangebyscore(keys.claim(stage), time.time() - scripts.HOLD_S, "+inf"))


def test_a_box_tells_its_queue_and_what_it_is_pinned_to_and_strikes_it_out_when_it_stops(fleet: Fleet) -> None:
    box = fleet.box("pinned", queues="oracle,scribe")
    key = f"golem:box:{node_name('pinned')}"
    fleet.submit(["j"])
    fleet.until(lambda: fleet.state("j", "scribe") == "SUCCESS")
    fleet.until(lambda: json.loads(fleet.redis.hget(key, "queue") or "null") == "scribe")
    told = {field.decode(): json.loads(value) for field, value in fleet.redis.hgetall(key).items() if field in _TELLS}
    assert told["queues"] == ["scribe", "oracle"]
    assert time.time() - told["since"] < 300
    assert 0 < fleet.redis.ttl(key) <= 3
    assert _claims(fleet, "scribe") == [node_name("pinned").encode()]
    box.terminate()
    assert box.wait(60) == 0, fleet.said(box)
    assert not _claims(fleet, "scribe")
    assert not fleet.redis.exists(key)


_TELLS = {b"queue", b"queues", b"since"}
