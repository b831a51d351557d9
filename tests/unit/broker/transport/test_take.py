"""The bounds of the script that takes messages."""

import json

from golem_chain.broker import keys
from golem_chain.broker.transport import scripts


def take(client):
    touched = ["scribe", keys.wake("scribe"), keys.UNACKED, keys.UNACKED_INDEX, keys.HOLDERS, keys.DELIVERIES]
    touched += [keys.CRASHES, keys.DEAD, keys.DYING, keys.SERVED, keys.claim("scribe")]
    return client.eval(scripts.TAKE, len(touched), *touched, 8, 3, "box", -1)


def test_a_flood_of_junk_is_buried_in_parts_and_the_list_of_dead_letters_stays_bounded(client):
    client.lpush("scribe", *(f"junk {n}" for n in range(3000)))
    props = {"delivery_tag": "tag", "delivery_info": {"exchange": "", "routing_key": "scribe"}}
    message = json.dumps({"body": "", "headers": {"id": "job.scribe", "task": "golem.scribe"}, "properties": props})
    client.lpush("scribe", message)
    tags: list[bytes] = []
    buried, dropped = 0, 0
    while not tags:
        assert client.zscore(keys.wake("scribe"), "work") is not None or not buried, "the next call comes at once"
        _, tags, letters, forgotten = take(client)
        assert letters <= 100
        buried, dropped = buried + letters, dropped + len(forgotten)
        assert client.llen(keys.DEAD) == buried - dropped <= scripts.DEAD_MOST
    assert (tags, buried, client.llen("scribe")) == ([b"tag"], 3000, 0)
    assert client.llen(keys.DEAD) == scripts.DEAD_MOST
