"""Stored label sets on a real server: whose they are, how many there can be, and how long they are kept."""

import pytest

from golem_chain.broker.jobs.label_sets import KEPT_S, SET_MOST_BYTES, SETS_MOST, LabelSets
from golem_chain.broker.keys import Keys
from golem_chain.shared.errors import BadLabels
from golem_chain.shared.labels import parse_labels

keys = Keys()


@pytest.fixture
def sets(client):
    return LabelSets(client, keys, "me")


def test_a_set_is_read_as_it_was_stored_and_by_its_owner_only(client, sets):
    labels = parse_labels('lights="turning on the lights|lamps",stop')
    sets.put("kitchen", labels)
    assert sets.get("kitchen") == labels
    assert sets.names() == ["kitchen"]
    other = LabelSets(client, keys, "somebody else")
    assert (other.get("kitchen"), other.names(), other.drop("kitchen")) == (None, [], False)
    assert sets.drop("kitchen")
    assert sets.get("kitchen") is None


def test_sets_expire_a_while_after_the_last_use(client, sets):
    sets.put("kitchen", parse_labels("a,b"))
    client.expire(keys.label_sets("me"), 10)
    sets.get("kitchen")
    assert client.ttl(keys.label_sets("me")) > KEPT_S - 60


def test_the_number_and_the_size_of_sets_are_bounded(sets):
    for n in range(SETS_MOST):
        sets.put(f"set-{n}", parse_labels("a"))
    with pytest.raises(BadLabels, match="delete one"):
        sets.put("one more", parse_labels("a"))
    sets.put("set-0", parse_labels("b"))
    phrases = "|".join("x" * 250 + str(n) for n in range(30))
    many = ",".join(f'label{n}="{phrases}"' for n in range(30))
    large = parse_labels(many).model_copy(update={"prompt": "p" * SET_MOST_BYTES})
    with pytest.raises(BadLabels, match="KiB as JSON"):
        sets.put("set-0", large)
    assert sets.get("set-0") == parse_labels("b")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"labels": []}', b"\xff"])
def test_a_set_that_cannot_be_read_counts_as_none(client, sets, body):
    client.hset(keys.label_sets("me"), "odd", body)
    assert sets.get("odd") is None
