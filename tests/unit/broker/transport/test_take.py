"""The bounds of the scripts that look at and take messages."""

import json
import math

import pytest
import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.transport import message, scripts
from golem_chain.broker.transport.message import Taken
from golem_chain.broker.wire import WIRE
from tests.support.takes import peek, take

keys = Keys()


def test_a_flood_of_junk_is_buried_in_parts_and_the_list_of_dead_letters_stays_bounded(client):
    client.lpush(keys.queue("scribe"), *(f"junk {n}" for n in range(3000)))
    props = {"delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "scribe"}}
    valid = json.dumps({"body": "", "headers": {"id": "job.scribe", "task": "golem.scribe"}, "properties": props})
    client.lpush(keys.queue("scribe"), valid)
    taken: list[Taken] = []
    buried, dropped = 0, 0
    while not taken:
        assert client.zscore(keys.wake("scribe"), "work") is not None or not buried, "the next call comes at once"
        taken, letters, forgotten = take(client)
        assert letters <= 100
        buried, dropped = buried + letters, dropped + len(forgotten)
        assert client.llen(keys.dead) == buried - dropped <= scripts.DEAD_MOST
    assert ([one.tag for one in taken], buried, client.llen(keys.queue("scribe"))) == (["tag"], 3000, 0)
    assert client.llen(keys.dead) == scripts.DEAD_MOST


def test_a_look_does_not_decode_a_message_that_is_too_large_to_be_ours(client):
    queue = keys.queue("scribe")
    known = []
    for padding in (0, 100_000):  # a forged one of 64 MB would hold up the server for seconds at every look
        told = {"headers": {"sent_at": client.time()[0] - 100, "padding": "x" * padding}, "properties": {}}
        client.lpush(queue, json.dumps(told))
        [line] = peek(client, "scribe")
        known.append((line.depth, line.oldest_s >= 100))
        client.delete(queue)
    assert known == [(1, True), (1, False)]


@pytest.mark.parametrize(("message", "mark"), [("x" * 65_537, "mark"), ("message", "x" * 65)])
def test_a_producer_cannot_hold_up_the_server_with_a_long_message_or_placeholder(client, message, mark):
    submit = scripts.load("submit", "golem_chain.broker.jobs")
    touched = (keys.job("job"), keys.outcome("job"), keys.vault_leaving, keys.vault_ended)
    written = (keys.audio("job"), keys.queue("scribe"), keys.wake("scribe"))
    rest = (keys.wire, WIRE, "bulk", "", "", keys.expiring, 0, keys.owner("me"), 10, 10, "me")
    with pytest.raises(redis.ResponseError, match="too long"):
        client.eval(submit, 4, *touched, "digest", "record", "job", *written, message, "scribe", mark, *rest)
    assert not client.exists(keys.queue("scribe"))


# -- lanes


def push(client, lane, *jobs, at=1.5, **fields):
    """Queue messages for the Scribe; the first one is the next. `at`: when they were sent."""
    texts = [message.text("scribe", job, **fields).replace(f'"{message.SENT_AT_MARK}"', str(at)) for job in jobs]
    client.lpush(keys.lane("scribe", lane), *texts)


def jobs(taken):
    return [one.id.partition(".")[0] for one in taken]


def test_interactive_messages_are_taken_first_and_bulk_fills_up(client):
    push(client, "bulk", "b1", "b2", "b3")
    push(client, "interactive", "i1", "i2")
    taken, _, _ = take(client, most=4)
    assert [(one.lane, job) for one, job in zip(taken, jobs(taken), strict=True)] == [
        ("interactive", "i1"),
        ("interactive", "i2"),
        ("bulk", "b1"),
        ("bulk", "b2"),
    ]
    assert client.zscore(keys.wake("scribe"), "work") is not None, "b3 waits for the next idle worker"
    assert jobs(take(client)[0]) == ["b3"]


def test_one_interactive_message_behind_ten_thousand_bulk_ones_is_taken_next(client):
    push(client, "bulk", *(f"b{n}" for n in range(10_000)))
    push(client, "interactive", "i")
    assert jobs(take(client)[0]) == ["i", *(f"b{n}" for n in range(7))]


def test_a_turn_of_bulk_keeps_its_part_of_the_take_and_interactive_messages_fill_it_up(client):
    push(client, "bulk", *(f"b{n}" for n in range(9)))
    push(client, "interactive", *(f"i{n}" for n in range(9)))
    assert jobs(take(client, most=5, bulk=3)[0]) == ["b0", "b1", "b2", "i0", "i1"]
    assert jobs(take(client, most=8, bulk=3)[0]) == ["b3", "b4", "b5", *(f"i{n}" for n in range(2, 7))]


def test_a_message_that_must_run_alone_is_taken_alone_and_never_with_an_interactive_one(client):
    push(client, "bulk", "b1")
    push(client, "bulk", "again", retries=1)
    push(client, "bulk", "b2", "b3")
    push(client, "interactive", "i1")
    push(client, "interactive", "lone", alone=True)
    push(client, "interactive", "i2")
    takes = []
    while taken := take(client)[0]:
        takes.append(jobs(taken))
    assert takes == [["i1"], ["lone"], ["i2", "b1"], ["again"], ["b2", "b3"]]


def test_a_turn_of_bulk_is_not_skipped_because_its_message_must_run_alone(client):
    push(client, "bulk", "long", alone=True)
    push(client, "interactive", "i")
    assert jobs(take(client, bulk=4)[0]) == ["long"]


def test_a_look_tells_depth_age_and_last_take_of_each_lane(client):
    now = client.time()[0]
    push(client, "bulk", "b1", "b2", "b3", at=now - 100)
    push(client, "interactive", "i1", "i2", at=now - 50)
    client.hset(keys.served, keys.lane("scribe", "interactive"), now - 7)
    scribe, oracle = peek(client, "scribe", "oracle")
    assert (scribe.depth, scribe.interactive.depth, scribe.total) == (3, 2, 5)
    assert (scribe.oldest_s, scribe.interactive.oldest_s) == pytest.approx((100, 50), abs=2)
    assert scribe.unserved_s == math.inf
    assert scribe.interactive.unserved_s == pytest.approx(7, abs=2)
    assert oracle.total == 0
    take(client, "scribe", most=2)
    [after] = peek(client, "scribe")
    assert after.interactive.unserved_s < 2
    assert after.unserved_s == math.inf, "the take had no bulk message"


def test_a_look_knows_what_was_put_off_in_each_lane(client):
    push(client, "bulk", "b")
    push(client, "interactive", "i")
    for lane in ("interactive", "bulk"):
        tag = json.loads(client.lindex(keys.lane("scribe", lane), -1))["properties"]["delivery_tag"]
        client.hset(keys.crashes, tag, message.PUT_OFF)
        [line] = peek(client, "scribe")
        assert (line.interactive.put_off, line.put_off) == (True, lane == "bulk")


def test_junk_in_the_interactive_lane_is_buried_in_parts_and_keeps_no_bulk_message_from_being_taken(client):
    client.lpush(keys.lane("scribe", "interactive"), *(f"junk {n}" for n in range(3000)))
    push(client, "bulk", "b")
    taken, buried, _ = take(client)
    assert (jobs(taken), buried) == (["b"], 50)
    push(client, "interactive", "i")
    while not (taken := take(client)[0]):
        assert client.llen(keys.dead) <= scripts.DEAD_MOST
    assert (jobs(taken), client.exists(keys.lane("scribe", "interactive"))) == (["i"], 0)
    assert json.loads(client.lindex(keys.dead, 0))["queue"] == "scribe"


@pytest.mark.parametrize(
    "told",
    [
        "no json",
        '{"headers": 3}',
        {"task": "golem.oracle"},
        {"id": "j.oracle"},
        {"id": "a b.scribe"},
        {"id": ["j.scribe"]},
    ],
)
def test_a_hostile_message_of_the_interactive_lane_is_no_more_welcome_than_one_of_bulk(client, told):
    raw = json.loads(message.text("scribe", "j"))
    raw["headers"] |= told if isinstance(told, dict) else {}
    client.lpush(keys.lane("scribe", "interactive"), json.dumps(raw) if isinstance(told, dict) else told)
    taken, buried, _ = take(client)
    assert (taken, buried) == ([], 1)
    assert not client.exists(keys.unacked)


def test_the_same_message_in_both_lanes_is_taken_once(client):
    told = message.text("scribe", "j")
    for lane in ("bulk", "interactive"):
        client.lpush(keys.lane("scribe", lane), told)
    taken, buried, _ = take(client)
    assert ([one.lane for one in taken], buried) == (["interactive"], 0)
    assert not client.exists(keys.lane("scribe", "bulk")), "the copy is dropped"


def test_a_message_delivered_too_often_is_buried_from_either_lane_under_the_name_of_its_queue(client):
    for lane in ("bulk", "interactive"):
        push(client, lane, lane)
        taken, buried, _ = take(client, deliveries=0)
        assert (taken, buried) == ([], 1)
        assert json.loads(client.lindex(keys.dying, 0))["queue"] == "scribe"
