"""The bounds of the scripts that look at and take messages."""

import json

import pytest
import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.transport import scripts
from golem_chain.broker.wire import WIRE

keys = Keys()


def take(client):
    touched = [
        keys.queue("scribe"),
        keys.wake("scribe"),
        keys.unacked,
        keys.unacked_index,
        keys.holders,
        keys.deliveries,
    ]
    touched += [keys.crashes, keys.dead, keys.dying, keys.served, keys.claim("scribe")]
    return client.eval(scripts.TAKE, len(touched), *touched, 8, 3, "box", -1, "scribe", "golem.scribe")


def test_a_flood_of_junk_is_buried_in_parts_and_the_list_of_dead_letters_stays_bounded(client):
    client.lpush(keys.queue("scribe"), *(f"junk {n}" for n in range(3000)))
    props = {"delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "scribe"}}
    message = json.dumps({"body": "", "headers": {"id": "job.scribe", "task": "golem.scribe"}, "properties": props})
    client.lpush(keys.queue("scribe"), message)
    rows: list[list[bytes]] = []
    buried, dropped = 0, 0
    while not rows:
        assert client.zscore(keys.wake("scribe"), "work") is not None or not buried, "the next call comes at once"
        rows, letters, forgotten = take(client)
        assert letters <= 100
        buried, dropped = buried + letters, dropped + len(forgotten)
        assert client.llen(keys.dead) == buried - dropped <= scripts.DEAD_MOST
    assert ([row[0] for row in rows], buried, client.llen(keys.queue("scribe"))) == ([b"tag"], 3000, 0)
    assert client.llen(keys.dead) == scripts.DEAD_MOST


def test_a_look_does_not_decode_a_message_that_is_too_large_to_be_ours(client):
    queue = keys.queue("scribe")
    touched = (queue, keys.claim("scribe"), keys.served, keys.crashes)
    seen = []
    for padding in (0, 100_000):  # a forged one of 64 MB would hold up the server for seconds at every look
        told = {"headers": {"sent_at": 1.5, "padding": "x" * padding}, "properties": {}}
        client.lpush(queue, json.dumps(told))
        seen.append(client.eval(scripts.PEEK, len(touched), *touched, "box", 0)[1:3])
        client.delete(queue)
    assert seen == [[1, b"1.500000"], [1, b""]]


@pytest.mark.parametrize(("message", "mark"), [("x" * 65_537, "mark"), ("message", "x" * 65)])
def test_a_producer_cannot_hold_up_the_server_with_a_long_message_or_placeholder(client, message, mark):
    submit = scripts.load("submit", "golem_chain.broker.jobs")
    touched = (keys.job("job"), keys.outcome("job"), keys.vault_leaving, keys.vault_ended)
    written = (keys.audio("job"), keys.queue("scribe"), keys.wake("scribe"))
    rest = (keys.wire, WIRE, "bulk", "", "", keys.expiring, 0, keys.owner("me"), 10, 10)
    with pytest.raises(redis.ResponseError, match="too long"):
        client.eval(submit, 4, *touched, "digest", "record", "job", *written, message, "scribe", mark, *rest)
    assert not client.exists(keys.queue("scribe"))
