"""Telemetry reaches Redis, the timeline and the event stream, and failures to send it are harmless."""

import logging
from types import SimpleNamespace

import pytest
import redis
from kombu.exceptions import OperationalError

from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import status, timeline
from golem_chain.workers.child.celery_events import Announcer
from golem_chain.workers.child.telemetry import Telemetry
from golem_chain.workers.residency.spent import Served
from tests.support.residency import make

keys = Keys()


class Stream:
    """An app's event dispatcher that records events, or fails."""

    def __init__(self, fault=None):
        self.sent, self.fault = [], fault
        self.events = self

    def default_dispatcher(self, hostname):
        self.hostname = hostname
        return self

    def __enter__(self):
        if self.fault:
            raise self.fault
        return self

    def __exit__(self, *_):
        pass

    def send(self, type_, **fields):
        self.sent.append((type_, fields))


def watched(client, announce):
    """Return a residency of fake engines whose events go to a Telemetry."""
    residency, _, _ = make(a={"fail_above": 1}, b={})
    standing = Telemetry(client, "box", announce, keys)
    residency._tell, standing.residency = standing.on_event, residency
    return residency, standing


def test_every_load_unload_and_oom_is_told_in_three_places(client):
    stream = Stream()
    residency, _ = watched(client, Announcer(stream, "box").tell)
    with residency.use("a"):
        told = status.of_box({k.decode(): v.decode() for k, v in client.hgetall("golem:box:box").items()}, 0.0)
        assert told["resident"] == ["a"], "it is told while the model is in use"
    residency.ran_out("a", 2)
    kinds = ["load", "unload", "oom"]
    assert [type_ for type_, _ in stream.sent] == [f"golem-{kind}" for kind in kinds]
    assert [event["kind"] for event in timeline.read(client, 0, keys)] == kinds
    fields = stream.sent[0][1]
    assert {"stage", "model", "reason", "weights_bytes", "seconds", "allocated", "reserved", "free", "peak"} <= set(
        fields
    )
    told = status.of_box({k.decode(): v.decode() for k, v in client.hgetall("golem:box:box").items()}, fields["at"] + 9)
    assert (told["resident"], told["loads"], told["last_event"]["kind"]) == ([], 1, "oom")
    assert 8 < told["last_event_age_s"] <= 9


@pytest.mark.parametrize("fault", [OperationalError("away"), redis.ConnectionError("away"), ConnectionRefusedError()])
def test_an_event_stream_that_is_away_stops_no_load(client, caplog, fault):
    residency, _ = watched(client, Announcer(Stream(fault), "box").tell)
    with caplog.at_level(logging.WARNING), residency.use("a") as engine:
        assert engine.loaded
    assert "The load event was not sent to the event stream" in caplog.text


def test_where_redis_is_away_it_is_waited_for_once_an_event(caplog):
    asked = []

    def away(*args, **kwargs):
        asked.append(args)
        raise redis.ConnectionError("away")

    stream = Stream()
    residency, _ = watched(SimpleNamespace(xadd=away, hset=away, ttl=away), Announcer(stream, "box").tell)
    with caplog.at_level(logging.WARNING), residency.use("a") as engine:
        assert engine.loaded
    assert (len(asked), stream.sent) == (1, [])
    assert "The load event was not written to the timeline: away" in caplog.text


def told(client):
    fields = {key.decode(): value.decode() for key, value in client.hgetall("golem:box:box").items()}
    return status.of_box(fields, 0.0)


def test_a_box_counts_its_loads_unloads_and_switches_by_stage(client):
    residency, standing = watched(client, lambda _: None)
    for stage in ("a", "b", "a"):
        with residency.use(stage):
            pass
    residency.unload_all("idle")
    with residency.use("b"):
        pass
    standing.tell(residency)
    seen = told(client)
    assert (seen["loads_of"]["a"], seen["loads_of"]["b"], seen["loads"]) == (2, 2, 4)
    assert (seen["unloads_of"]["a"], seen["unloads_of"]["b"]) == (2, 1)
    assert seen["switches"] == 2, "after the idle unload nothing had to make room"
    assert (seen["unloads_of"]["scribe"], seen["ooms_of"]["scribe"]) == (0, 0)


def test_an_out_of_memory_is_counted_for_its_stage(client):
    residency, standing = watched(client, lambda _: None)
    with residency.use("a"):
        pass
    residency.ran_out("a", 2)
    standing.tell(residency)
    assert told(client)["ooms_of"]["a"] == 1


def test_a_batch_tells_how_long_each_of_its_jobs_waited(client):
    residency, standing = watched(client, lambda _: None)
    standing.on_batch("a", ["one", "two"], [1.23456, None], Served([], load_s=0.5, compute_s=0.25), 1.0, 100, residency)
    [event] = timeline.read(client, 0, keys)
    assert (event["jobs"], event["queued_s"]) == (["one"], [1.2346])
    assert (event["load_s"], event["compute_s"], event["size"]) == (0.5, 0.25, 1)
