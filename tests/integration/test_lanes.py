"""Lanes in real processes: order, the way back into the right lane, and what other releases left in hand."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.local import embedded
from golem_chain.broker.monitoring import invariants, snapshot_reader, status
from golem_chain.broker.queues import LANES, job_of
from golem_chain.broker.submission import Asked
from golem_chain.broker.transport import message
from golem_chain.shared.records import JobOptions, Lane, Transcript
from tests.support.fleet import Fleet
from tests.support.takes import BOX, lease, take

keys = Keys()


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.Server]:
    with embedded.start() as running:
        yield running


def lane(client, name: Lane, stage: str = "scribe") -> list[bytes]:
    """Return the messages of a lane, the next one first."""
    found: list[bytes] = client.lrange(keys.lane(stage, name), 0, -1)
    return found[::-1]


@pytest.fixture
def queued(client):
    """Three messages in each lane; returns them by lane, the next one first."""
    for name in LANES:
        client.lpush(keys.lane("scribe", name), *(message.text("scribe", f"{name}-{n}") for n in range(3)))
    return {name: lane(client, name) for name in LANES}


# -- the way back


def book(qos, taken) -> None:
    for one in taken:
        qos.channel.consumer_state.took(one.tag, one.delivery)


def test_what_is_given_back_is_at_the_head_of_its_lane_in_order_and_byte_for_byte(client, qos, queued):
    taken, _, _ = take(client, most=5)
    assert [one.lane for one in taken] == [*["interactive"] * 3, *["bulk"] * 2]
    book(qos, taken)
    client.delete(keys.wake("scribe"))
    assert qos.give_back() == 5
    assert {name: lane(client, name) for name in LANES} == queued
    assert client.zscore(keys.wake("scribe"), "work") is not None
    assert not client.exists(keys.unacked, keys.unacked_index)


def test_what_a_dead_worker_of_the_same_name_left_goes_back_into_its_lane(client, qos, queued):
    take(client, most=5)
    assert qos.settle() == 5
    for name in LANES:
        assert sorted(lane(client, name)) == sorted(queued[name])


def test_a_message_whose_lease_expired_goes_back_into_its_lane_and_then_runs_alone(client, qos, queued):
    taken, _, _ = take(client, most=5, box="other@there")
    for one in taken:
        client.zadd(keys.unacked_index, {one.tag: 1})
    qos.restore_visible()
    for name in LANES:
        assert sorted(lane(client, name)) == sorted(queued[name])
    again = [take(client)[0] for _ in range(5)]
    assert [[(one.lane, one.alone, one.delivery) for one in some] for some in again] == [
        *[[("interactive", True, 2)]] * 3,
        *[[("bulk", True, 2)]] * 2,
    ]


def test_an_interactive_message_that_cannot_be_handled_is_buried_under_the_name_of_its_queue(client, qos, queued):
    [one], _, _ = take(client, most=1)
    book(qos, [one])
    qos.bury(one.tag, "it cannot be handled")
    letter = json.loads(client.lindex(keys.dead, 0))
    assert (letter["queue"], letter["raw"].encode()) == ("scribe", queued["interactive"][0])


def test_what_a_worker_of_release_0_3_had_in_hand_goes_back_into_the_bulk_lane(client, qos, queued):
    [raw] = client.lrange(keys.lane("scribe", "bulk"), -1, -1)
    [one], _, _ = take(client, most=1, bulk=1)
    client.hset(keys.unacked, one.tag, b"scribe " + raw)  # as 0.3 wrote it
    book(qos, [one])
    qos.give_back()
    assert {name: lane(client, name) for name in LANES} == queued


@pytest.mark.parametrize("name", ["nowhere:interactive", ":interactive", "scribe:interactive:interactive", "scribe:x"])
def test_an_entry_of_no_lane_of_ours_becomes_a_dead_letter_and_fills_no_list(client, qos, name):
    client.hset(keys.unacked, "tag", f"{name} {{}}")
    client.zadd(keys.unacked_index, {"tag": 1})
    before = set(client.keys("*"))
    qos.restore_visible()
    assert json.loads(client.lindex(keys.dead, 0))["why"] == "cannot be requeued"
    assert set(client.keys("*")) - before == {keys.dead.encode()}


# -- what is known of the lanes


def test_the_status_and_the_doctor_see_both_lanes(client, settings, queued):
    taken, _, _ = take(client, most=4)
    assert len(taken) == 4
    shown = status.read(settings)["queues"]["scribe"]
    assert shown["waiting"] == 2
    assert {name: one["waiting"] for name, one in shown["lanes"].items()} == {"interactive": 0, "bulk": 2}
    seen = snapshot_reader.read(client, keys)
    assert seen.placed == {f"{name}-{n}" for name in LANES for n in range(3)}
    assert invariants.unrestorable(seen, 25) == {}
    client.hset(keys.unacked, taken[0].tag, "scribe:nowhere {}")
    assert list(invariants.unrestorable(snapshot_reader.read(client, keys), 25)) == [taken[0].tag]


def test_the_child_is_told_the_lane_of_a_message(client, queued):
    taken, _, _ = take(client, most=4)
    headers = [message.celery_message("scribe", one, BOX, None)["headers"] for one in taken]
    assert [one["lane"] for one in headers] == [*["interactive"] * 3, "bulk"]
    assert [one["lease"] for one in headers] == [list(lease(one)) for one in taken]


# -- workers


def submit_heard(fleet: Fleet, name: Lane, jobs: Sequence[str]) -> None:
    """Queue jobs that the Scribe has finished in a lane of the Interpreter."""
    for job in jobs:
        record, _ = fleet.pipeline._submitter.describe(Asked(job.encode()), JobOptions(lane=name), job, None)
        fleet.pipeline._jobs.register(record)
        stored = {"queued": "1", "transcript": Transcript(text=job).model_dump_json()}
        fleet.redis.hset(keys.job(job), mapping=stored)
    fleet.redis.lpush(keys.lane("interpreter", name), *(message.text("interpreter", job) for job in jobs))
    fleet.redis.zadd(keys.wake("interpreter"), {"work": 0})


def ran(fleet: Fleet, stage: str) -> list[str]:
    """Return the jobs that a stage has begun, in order."""
    return [job for event in fleet.log("batch", stage=stage) for job in event["jobs"]]


def test_one_interactive_job_among_ten_thousand_bulk_ones_waits_for_the_batch_that_runs(fleet: Fleet) -> None:
    submit_heard(fleet, "bulk", [f"first{n}" for n in range(40)])
    fleet.redis.lpush(keys.lane("interpreter", "bulk"), *(message.text("interpreter", f"b{n}") for n in range(10_000)))
    fleet.box(batch=4, BATCH_S=0.2)
    fleet.until(lambda: fleet.log("batch", stage="interpreter"))
    begun = len(fleet.log("batch", stage="interpreter"))
    submit_heard(fleet, "interactive", ["it"])
    fleet.until(lambda: "it" in ran(fleet, "interpreter"))
    batches = [event["jobs"] for event in fleet.log("batch", stage="interpreter")]
    at = next(n for n, jobs in enumerate(batches) if "it" in jobs)
    assert at <= begun + 1, "a batch may have begun while it was submitted"
    assert batches[at] == ["it"], "bulk that was taken with it runs after it"


def test_an_interactive_job_for_another_model_ends_the_stay_of_a_bulk_backlog(fleet: Fleet) -> None:
    jobs = [f"b{n}" for n in range(60)]
    fleet.submit(jobs)
    fleet.box(batch=4, BATCH_S=0.1, prefer="throughput")
    fleet.until(lambda: fleet.log("batch", stage="scribe"))
    submit_heard(fleet, "interactive", ["it"])
    fleet.until(lambda: ran(fleet, "interpreter"))
    assert ran(fleet, "interpreter")[0] == "it"
    assert len(ran(fleet, "scribe")) < 60
    fleet.done([*jobs, "it"])
    fleet.settled()


def test_a_killed_worker_loses_no_interactive_job_and_they_still_come_first(fleet: Fleet) -> None:
    box = fleet.box(batch=4, SLOW_S=30)
    submit_heard(fleet, "bulk", [f"b{n}" for n in range(20)])
    submit_heard(fleet, "interactive", ["slow", "i1"])
    fleet.until(lambda: "slow" in ran(fleet, "interpreter"))
    before = len(fleet.log("batch", stage="interpreter"))
    os.killpg(box.pid, signal.SIGKILL)
    box.wait()
    fleet.box(batch=4, SLOW_S=0)
    jobs = ["slow", "i1", *(f"b{n}" for n in range(20))]
    fleet.done(jobs)
    after = [event["jobs"] for event in fleet.log("batch", stage="interpreter")][before:]
    assert sorted(after[:2]) == [["i1"], ["slow"]], "first, and each alone"
    fleet.settled()


def test_a_worker_that_is_told_to_stop_hands_interactive_messages_back_into_their_lane(fleet: Fleet) -> None:
    box = fleet.box(batch=4, SLOW_S=30, stop_s=0.2)
    submit_heard(fleet, "interactive", ["slow", "i1"])
    fleet.until(lambda: "slow" in ran(fleet, "interpreter"))
    taken = ran(fleet, "interpreter")
    submit_heard(fleet, "bulk", ["b"])
    box.terminate()
    assert box.wait(25) == 0, fleet.said(box)
    waiting = [job_of(json.loads(raw)["headers"]["id"]) for raw in lane(fleet.redis, "interactive", "interpreter")]
    assert waiting[: len(taken)] == taken
    assert len(lane(fleet.redis, "bulk", "interpreter")) == 1
    assert {int(count) for count in fleet.redis.hvals(keys.deliveries)} <= {0}


def test_bulk_jobs_are_done_although_interactive_ones_come_without_a_pause(fleet: Fleet) -> None:
    """More interactive messages than the box can take, all for one stage, and bulk for another."""
    submit_heard(fleet, "interactive", [f"i{n}" for n in range(400)])
    fleet.submit(["b0", "b1"])
    start = time.monotonic()
    fleet.box(batch=4, BATCH_S=0.1, bulk_wait_s=1)
    fleet.until(lambda: set(ran(fleet, "scribe")) == {"b0", "b1"})
    print(f"bulk ran {time.monotonic() - start:.1f} s after the start of the worker")
    assert fleet.redis.llen(keys.lane("interpreter", "interactive")) > 100, "interactive work still waits"
    assert fleet.redis.hget(keys.served, keys.lane("scribe", "bulk"))
