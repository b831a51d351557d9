"""golem doctor says if webhooks wait and nobody delivers them, or if some were given up."""

import pytest

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import webhooks
from golem_chain.broker.monitoring.webhooks import LATE_S, Waiting

keys = Keys()


def test_a_system_without_webhooks_is_ok(settings, client):
    assert webhooks.read(client, keys) == Waiting()
    assert [one.state for one in webhooks.check(Waiting())] == ["ok"]


@pytest.mark.parametrize(
    ("waiting", "state", "says"),
    [
        (Waiting(entries=3, late_s=LATE_S - 1), "ok", "No webhook waits"),
        (Waiting(entries=3, late_s=LATE_S + 1), "warning", "3 ends wait in the outbox"),
        (Waiting(dead=1), "warning", "1 webhook was given up"),
        (Waiting(dead=2), "warning", "2 webhooks were given up"),
    ],
)
def test_what_waits_too_long_or_was_given_up_is_a_warning_with_a_remedy(waiting, state, says):
    [found] = webhooks.check(waiting)
    assert (found.state, bool(found.remedy)) == (state, state == "warning")
    assert says in found.message


def test_the_oldest_entry_and_the_longest_due_message_count_and_what_is_due_later_does_not(settings, client):
    seconds, _ = client.time()
    client.zadd(keys.webhooks, {"https://later": seconds + 1000})
    assert webhooks.read(client, keys).late_s == 0
    client.xadd(keys.outbox, {"job": "j", "url": "u"}, id=f"{(seconds - 200) * 1000}-0")
    client.xadd(keys.outbox, {"job": "k", "url": "u"})
    client.lpush(keys.webhooks_dead, "msg_1")
    found = webhooks.read(client, keys)
    assert (found.entries, found.dead) == (2, 1)
    assert found.late_s == pytest.approx(200, abs=30)
    client.zadd(keys.webhooks, {"https://late": seconds - 500})
    assert webhooks.read(client, keys).late_s == pytest.approx(500, abs=30)
