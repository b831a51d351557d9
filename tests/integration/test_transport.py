"""The delivery contract in real processes: kills, restarts, malformed messages, node names, idle latency."""

import base64
import json
import os
import signal
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.queues import STAGES
from tests.support.fleet import Fleet, descendants, lives

keys = Keys()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    with embedded.start(tmp_path_factory.mktemp("server"), appendonly=True, fsync="always") as running:
        yield running


def test_an_idle_worker_takes_a_lone_job_at_once(fleet: Fleet) -> None:
    fleet.box(BATCH_S=0)
    fleet.submit(["warm"])
    fleet.done(["warm"])
    took = []
    for n in range(15):
        fleet.settled()  # the box is idle again
        start = time.perf_counter()
        fleet.submit([f"j{n}"])
        while fleet.state(f"j{n}") != "SUCCESS":
            time.sleep(0.0005)
        took.append((time.perf_counter() - start) * 1000)
    print(f"a lone chain of three hops: {statistics.median(took):.1f} ms in the median")
    assert statistics.median(took) < 900  # woken, not polling: three polls of 1 s would show; 20 ms on an idle machine


def test_a_killed_worker_loses_nothing_and_its_successor_goes_on_within_three_seconds(fleet: Fleet) -> None:
    jobs = ["slow", *(f"j{n}" for n in range(11))]
    box = fleet.box(SLOW_S=0.5)
    fleet.submit(jobs)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    child = descendants(box.pid)[0]
    os.kill(box.pid, signal.SIGKILL)
    box.wait()
    before = len(fleet.log("batch"))
    start = time.monotonic()
    fleet.box(SLOW_S=0.5)
    fleet.until(lambda: len(fleet.log("batch")) > before)
    print(f"at work again {time.monotonic() - start:.2f} s after the start of the successor")
    assert (
        time.monotonic() - start < 12
    )  # 3 s on an idle machine, see `make chaos`; half the lease, so no lease expired
    assert not lives(child)
    fleet.done(jobs)
    assert len(fleet.log("end", stage="oracle")) == len(jobs)
    fleet.settled()


def test_the_messages_of_a_dead_box_are_taken_by_another_when_its_lease_is_over(fleet: Fleet) -> None:
    box = fleet.box("first", lease_s=5, SLOW_S=30)
    fleet.submit(["slow", "j"])
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    os.killpg(box.pid, signal.SIGKILL)
    start = time.monotonic()
    fleet.box("second", lease_s=5, SLOW_S=0)
    fleet.done(["slow", "j"])
    print(f"done by another box {time.monotonic() - start:.1f} s after the kill, with a lease of 5 s")
    assert time.monotonic() - start < 22  # shorter than with the default of 25 s
    fleet.settled()


def test_a_task_longer_than_the_lease_starts_once(fleet: Fleet) -> None:
    fleet.box("first", lease_s=5, SLOW_S=6.5)
    fleet.box("second", lease_s=5, SLOW_S=6.5)
    fleet.submit(["slow"])
    fleet.done(["slow"])
    assert len(fleet.log("batch", stage="interpreter")) == 1
    fleet.settled()


def test_a_call_that_fails_outside_of_any_message_ends_every_message(fleet: Fleet) -> None:
    fleet.box()
    fleet.submit(["heavy", "j0", "j1"])
    fleet.done(["j0", "j1"])
    fleet.until(lambda: fleet.log("failed", job="heavy"))
    assert "3 times" in fleet.log("failed")[0]["text"]
    assert "MemoryError" in fleet.log("failed")[0]["text"]
    fleet.settled()


def test_a_box_that_slept_longer_than_its_lease_takes_nothing_back_and_ends_nothing_twice(fleet: Fleet) -> None:
    first = fleet.box("first", lease_s=5, SLOW_S=2)
    fleet.submit(["slow"])
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    os.kill(first.pid, signal.SIGSTOP)  # its child continues and ends the stage
    fleet.box("second", lease_s=5, SLOW_S=2)
    fleet.done(["slow"])
    fleet.settled()  # the second also took the message and saw that the stage had ended
    os.kill(first.pid, signal.SIGCONT)
    fleet.submit(["after"])
    fleet.done(["after"])
    fleet.until(lambda: fleet.redis.keys("golem:box:first*"))  # its claim had expired and is renewed
    time.sleep(0.5)  # time for an erroneous event
    for stage in STAGES[1:]:
        assert len(fleet.log("end", stage=stage, job="slow")) == 1
    assert not fleet.log("failed")
    fleet.settled()


def test_a_box_that_slept_does_not_put_back_what_another_works_on(fleet: Fleet) -> None:
    first = fleet.box("first", lease_s=5, SLOW_S=30, stop_s=0)
    fleet.submit(["slow"])
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    os.kill(first.pid, signal.SIGSTOP)
    os.kill(descendants(first.pid)[0], signal.SIGSTOP)
    fleet.box("second", lease_s=5, SLOW_S=3)
    fleet.until(lambda: len(fleet.log("batch", stage="interpreter")) == 2)
    os.kill(first.pid, signal.SIGTERM)  # it will try to requeue its messages in hand
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(25) == 0  # within the 30 s of the message in hand
    fleet.done(["slow"])
    assert len(fleet.log("batch", stage="interpreter")) == 2
    assert len(fleet.log("end", stage="oracle")) == 1
    fleet.settled()


@pytest.mark.parametrize("stopped", ["in time", "too late"])
def test_sigterm_finishes_or_hands_back_uncounted(fleet: Fleet, stopped: str) -> None:
    jobs = ["slow", *(f"j{n}" for n in range(4))]
    slow = 0.5 if stopped == "in time" else 30
    box = fleet.box(SLOW_S=slow, stop_s=20 if stopped == "in time" else 0.2)
    fleet.submit(jobs)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    box.terminate()
    assert box.wait(25) == 0, fleet.said(box)
    assert not fleet.redis.exists("golem:unacked", "golem:box:box")
    if stopped == "in time":
        assert all(fleet.state(job, "interpreter") == "SUCCESS" for job in jobs)
    else:
        waiting = [json.loads(raw)["headers"]["id"] for raw in fleet.redis.lrange(keys.queue("interpreter"), 0, -1)]
        assert waiting == [f"{job}.interpreter" for job in reversed(jobs)]  # original order: the next one is last
        assert {int(count) for count in fleet.redis.hvals("golem:deliveries")} <= {0}
    fleet.box(SLOW_S=0)
    fleet.done(jobs)
    assert len(fleet.log("end", stage="oracle")) == len(jobs)
    fleet.settled()


def test_a_sigterm_to_the_whole_group_counts_no_delivery(fleet: Fleet) -> None:
    box = fleet.box(SLOW_S=30)
    fleet.submit(["slow", "j"])
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    os.killpg(box.pid, signal.SIGTERM)  # as some service managers do; this kills the child
    assert box.wait(25) == 0, fleet.said(box)
    assert fleet.redis.llen(keys.queue("interpreter")) == 2
    assert {int(count) for count in fleet.redis.hvals("golem:deliveries")} == {0}


def test_what_a_stranger_writes_into_a_queue_becomes_a_dead_letter_and_stops_nobody(fleet: Fleet) -> None:
    good: dict[str, Any] = {
        "body": "",
        "headers": {"id": "x", "task": "golem.scribe"},
        "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "golem", "routing_key": "scribe"}},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    strange = [
        b"no json",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe\x00",
        b'{"headers": null, "properties": 3}',
        b"[" * 2000,
        json.dumps(good | {"body": "bm8ganNvbg==", "properties": good["properties"] | {"body_encoding": "base64"}}),
        json.dumps(
            good | {"body": "!", "properties": good["properties"] | {"delivery_tag": "u", "body_encoding": "?"}}
        ),
        json.dumps(good | {"body": "{}", "properties": good["properties"] | {"delivery_tag": "v"}}),
        json.dumps(
            good
            | {
                "body": "[[], {}, {}]",
                "headers": {"id": "y", "task": "golem.unheard-of"},
                "properties": good["properties"] | {"delivery_tag": "w"},
            }
        ),
        json.dumps(good | {"body": "x" * 10, "properties": good["properties"] | {"delivery_tag": "z" * 9}}).encode()
        + b"\xff",
    ]
    box = fleet.box()
    fleet.submit(["before"])
    fleet.redis.lpush(keys.queue("scribe"), *strange)
    fleet.submit(["after"])
    fleet.done(["before", "after"])
    fleet.until(lambda: fleet.redis.llen("golem:dead") == len(strange))
    letters = [json.loads(raw.decode(errors="replace")) for raw in fleet.redis.lrange("golem:dead", 0, -1)]
    assert all(letter["queue"] == "scribe" and letter["why"] and letter["at"] > 1e9 for letter in letters)
    assert box.poll() is None
    assert len(fleet.log("batch", stage="scribe")) <= 2
    fleet.settled()


def hostile() -> list[str]:
    """Return messages of a job that does not exist, which parsers read differently or which cannot be booked."""
    body = base64.b64encode(json.dumps([["poison"], {}, {}]).encode()).decode()

    def message(tag: str, exchange: object = "golem", routing_key: str = "interpreter") -> dict[str, Any]:
        delivery = {"exchange": exchange, "routing_key": routing_key}
        return {
            "body": body,
            "headers": {"id": "p.interpreter", "task": "golem.interpreter"},
            "properties": {"delivery_tag": tag, "body_encoding": "base64", "delivery_info": delivery},
            "content-type": "application/json",
            "content-encoding": "utf-8",
        }

    return [
        json.dumps(message("nan"))[:-1] + ', "z": nan}',
        json.dumps(message("hexadecimal"))[:-1] + ', "z": 0x10}',
        json.dumps(message("object", exchange={"a": 1})),
        json.dumps(message("elsewhere", routing_key="scribe")),
        json.dumps(message("\x00 a tag that cannot be named")),
        json.dumps(message("long" * 100)),
    ]


def test_a_message_that_parsers_read_differently_leaves_no_booking_and_stops_no_worker(fleet: Fleet) -> None:
    first = fleet.box("first", lease_s=5)
    fleet.submit(["before"])
    fleet.done(["before"])
    messages = hostile()
    fleet.redis.lpush(keys.queue("interpreter"), *messages)
    fleet.redis.zadd("golem:wake:interpreter", {"work": 0})
    fleet.until(lambda: fleet.redis.llen("golem:dead") == 2)  # those with a tag that cannot be booked
    fleet.settled()
    second = fleet.box("second", lease_s=5)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = fleet.box("first", lease_s=5)  # requeues what its predecessor had in hand
    fleet.submit(["after"])
    fleet.done(["after"])
    assert [box.poll() for box in (second, again)] == [None, None]


def test_a_booking_that_cannot_be_put_back_is_buried_and_others_are_put_back(fleet: Fleet) -> None:
    box = fleet.box("box", lease_s=5)
    fleet.submit(["before"])
    fleet.done(["before"])
    fleet.redis.hset("golem:unacked", mapping={"junk": "no queue", "number": "7", "good": "oracle {no json"})
    fleet.redis.zadd("golem:unacked-index", {"junk": 1, "number": 2, "good": 3})
    fleet.until(lambda: fleet.redis.llen("golem:dead") == 3)  # the valid one is requeued, then found malformed
    fleet.settled()
    whys = [json.loads(raw)["why"] for raw in fleet.redis.lrange("golem:dead", 0, -1)]
    assert whys.count("cannot be requeued") == 2
    assert whys.count("malformed") == 1
    assert box.poll() is None


def test_a_name_in_use_is_refused_in_one_sentence(fleet: Fleet) -> None:
    first = fleet.box("twin")
    fleet.until(lambda: any(b"twin" in key for key in fleet.redis.keys("golem:box:*")))
    second = fleet.box("twin")
    assert second.wait(60) == 1
    said = fleet.said(second)
    assert "is in use by a live worker" in said
    assert len(said.strip().splitlines()) == 1
    assert first.poll() is None


def test_a_worker_without_a_broker_says_so_in_one_sentence(fleet: Fleet) -> None:
    fleet.url = "redis://:secret@127.0.0.1:1/0"
    box = fleet.box()
    assert box.wait(60) == 1
    said = fleet.said(box)
    assert "Redis at redis://***@127.0.0.1:1/0 cannot be reached" in said
    assert "secret" not in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("away_s", [0.3, 3.0])
def test_a_restart_of_redis_loses_nothing_and_repeats_nothing(
    fleet: Fleet, server: embedded.Server, away_s: float
) -> None:
    """The shorter downtime ends within the batch, the longer one after it."""
    jobs = ["slow", *(f"j{n}" for n in range(11))]
    fleet.box(SLOW_S=2.5, lease_s=5)
    fleet.submit(jobs)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    fleet.redis.config_set("appendfsync", "always")
    fleet.redis.set("any", "write")  # everything before it is on disk
    server.kill()
    time.sleep(away_s)  # downtime
    server.restart()
    fleet.done(jobs)
    for stage in STAGES[1:]:
        assert sorted(event["job"] for event in fleet.log("end", stage=stage)) == sorted(jobs)
    assert not fleet.log("failed")
    fleet.settled()


def test_two_boxes_share_the_work_and_nothing_runs_twice(fleet: Fleet) -> None:
    jobs = [f"j{n}" for n in range(100)]
    fleet.box("first")
    fleet.box("second")
    fleet.until(
        lambda: sum(fleet.redis.hexists(box, "queues") for box in fleet.redis.keys("golem:box:*")) == 2
    )  # running
    fleet.submit(jobs)
    fleet.done(jobs)
    assert len(fleet.log("end")) == 3 * len(jobs)
    assert len({event["pid"] for event in fleet.log("batch")}) == 2
    fleet.settled()


def test_a_pinned_box_serves_its_queues_only(fleet: Fleet) -> None:
    fleet.submit(["j"])
    fleet.box(queues="scribe,interpreter")
    fleet.until(lambda: fleet.state("j", "interpreter") == "SUCCESS")
    time.sleep(0.3)  # time for an erroneous take of the rest
    assert fleet.redis.llen(keys.queue("oracle")) == 1
    assert {event["stage"] for event in fleet.log("batch")} == set(STAGES[:2])
