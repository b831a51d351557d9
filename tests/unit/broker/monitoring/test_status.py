"""What a status costs, and which boxes it lists."""

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import status
from golem_chain.broker.queues import STAGES
from golem_chain.broker.transport import scripts
from golem_chain.workers.parent.node_name import NodeName
from tests.support.command_count import commands
from tests.support.takes import peek

keys = Keys()


@pytest.fixture
def box(client):
    """A box that has renewed its claim on its name, and on the first queue."""
    made = NodeName(client, "box@host", keys)
    made.take()
    assert made.renew({"queues": ["scribe"]}, holds=("scribe",))
    return made


def test_a_status_costs_the_same_however_many_keys_there_are(settings, client, box):
    with client.pipeline() as pipe:
        for n in range(5000):
            pipe.set(f"golem:job:{n}", "x")
        pipe.execute()
    with commands(client) as spent:
        told = status.read(settings)
    assert told["boxes"] == {"box@host": {"queues": ["scribe"], "in_hand": 0}}
    assert spent() < 40


def test_a_box_leaves_the_index_when_it_stops_or_is_known_to_be_dead(settings, client, box):
    assert client.zrange(keys.boxes, 0, -1) == [b"box@host"]
    box.release()
    assert not client.exists(keys.boxes, box.key)
    box.take()
    box.renew()
    host, pid = client.hmget(box.key, "host", "pid")
    assert client.eval(scripts.RELEASE_NAME, 2, box.key, keys.boxes, host, pid, box.node) == 1
    assert not client.exists(keys.boxes, box.key)
    assert status.read(settings)["boxes"] == {}


def test_names_that_were_not_heard_of_for_a_minute_leave_the_index_and_a_box_without_state_is_not_shown(
    settings, client, box
):
    now = client.time()[0]
    client.zadd(keys.boxes, {"long ago": now - 70, "just now": now - 10})
    box.renew()
    assert client.zrange(keys.boxes, 0, -1) == [b"just now", b"box@host"]
    assert 0 < client.ttl(keys.boxes) <= 60
    assert list(status.read(settings)["boxes"]) == ["box@host"]


def test_a_renewal_drops_the_claims_of_boxes_that_are_gone(client, box):
    def claim_of_a_dead_box():
        client.zadd(keys.claim("scribe"), {"dead@host": client.time()[0] - scripts.HOLD_S - 1})

    claim_of_a_dead_box()
    client.zadd(keys.claim("scribe"), {"live@host": client.time()[0]})
    box.renew(holds=("scribe",))
    assert set(client.zrange(keys.claim("scribe"), 0, -1)) == {b"box@host", b"live@host"}
    claim_of_a_dead_box()
    peek(client, *STAGES, box="box@host", holds=["scribe"])
    assert set(client.zrange(keys.claim("scribe"), 0, -1)) == {b"box@host", b"live@host"}
