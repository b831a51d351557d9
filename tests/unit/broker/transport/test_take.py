"""The bounds of the scripts that look at and take messages."""

import json

import pytest
import redis

from golem_chain.broker.keys import Keys
from golem_chain.broker.transport import scripts
from golem_chain.broker.transport.message import Taken
from golem_chain.broker.wire import WIRE
from tests.support.takes import peek, take

keys = Keys()


def test_a_flood_of_junk_is_buried_in_parts_and_the_list_of_dead_letters_stays_bounded(client):
    client.lpush(keys.queue("scribe"), *(f"junk {n}" for n in range(3000)))
    props = {"delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "scribe"}}
    message = json.dumps({"body": "", "headers": {"id": "job.scribe", "task": "golem.scribe"}, "properties": props})
    client.lpush(keys.queue("scribe"), message)
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
    rest = (keys.wire, WIRE, "bulk", "", "", keys.expiring, 0, keys.owner("me"), 10, 10)
    with pytest.raises(redis.ResponseError, match="too long"):
        client.eval(submit, 4, *touched, "digest", "record", "job", *written, message, "scribe", mark, *rest)
    assert not client.exists(keys.queue("scribe"))
