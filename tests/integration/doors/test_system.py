"""The system's status and events, as the page reads them: shared by all listeners, resumable, without others' jobs."""

import json
import threading

import httpx
import pytest

from golem_chain.broker.doors.access import keys as keys_of_callers
from golem_chain.broker.doors.access.keyring import KeyRing
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import timeline
from golem_chain.shared.records import JobOptions
from tests.support.door import serving

keys = Keys()


class Stream:
    """An open stream of events: `next(kind)` returns the next one of a kind as (id, data)."""

    def __init__(self, answer):
        self.answer, self._lines = answer, answer.iter_lines()

    def __iter__(self):
        event = {}
        for line in self._lines:
            if line:
                name, _, text = line.partition(": ")
                event[name] = text
            elif "data" in event:
                yield event.get("event"), event.get("id"), json.loads(event["data"])
                event = {}

    def next(self, *kinds):
        return next(one for one in self if one[0] in kinds)


@pytest.fixture
def listen(door):
    """Opens streams of the system's events."""
    with httpx.Client(timeout=20) as client:
        opened = []

        def listening(**given):
            manager = client.stream("GET", f"{door}/v1/system/events", **given)
            answer = manager.__enter__()
            opened.append(manager)
            assert answer.status_code == 200, answer.read()
            return Stream(answer)

        yield listening
        for manager in opened:
            manager.__exit__(None, None, None)


def test_the_status_shows_queues_and_boxes(door, chain):
    chain.outcomes([chain.pipeline.submit(b"turn it on", labels="a,b")])
    told = httpx.get(f"{door}/v1/system").json()
    assert set(told["queues"]) == {"scribe", "interpreter", "oracle"}
    assert set(told["queues"]["scribe"]["lanes"]) == {"interactive", "bulk"}
    [(name, box)] = told["boxes"].items()
    assert name.startswith("test@")
    assert box["resident"]
    assert box["models"].keys() <= set(box["resident"])
    assert box["budget_bytes"] > 0
    assert box["loads"] >= 3
    assert not {"token", "host", "pid"} & box.keys()
    assert (told["in_hand"], told["dead"]) == (0, 0)


def test_events_come_as_they_happen_with_the_status_between_them(listen, chain):
    stream = listen()
    assert stream.next("status")[2]["queues"]
    job = chain.pipeline.submit(b"turn it on", labels="a,b")
    chain.outcomes([job])
    _, id, told = stream.next("batch")
    assert (told["stage"], told["jobs"], told["size"]) == ("scribe", [job], 1)
    assert told["seconds"] >= told["compute_s"] >= 0
    assert 0 <= told["queued_mean_s"] <= told["queued_max_s"] < 60
    assert id
    assert stream.next("status")[2]["boxes"]


def test_a_stream_resumes_after_the_id_that_its_client_saw(listen, chain):
    jobs = [chain.pipeline.submit(b"turn it on", labels="a,b") for _ in range(3)]
    chain.outcomes(jobs)
    first = [one for one, _ in zip(iter(listen(params={"last_s": 300})), range(6), strict=False)]
    assert [kind for kind, *_ in first if kind in ("batch", "load", "unload")]
    again = listen(headers={"last-event-id": first[1][1]})
    assert [one for one, _ in zip(iter(again), range(4), strict=False)] == first[2:6]
    by_query = listen(params={"after": first[1][1]})
    assert next(iter(by_query)) == first[2]


def test_each_event_comes_once_however_a_stream_begins(listen, chain):
    jobs = [chain.pipeline.submit(b"turn it on", labels="a,b") for _ in range(5)]
    stream = listen(params={"last_s": 1})
    chain.outcomes(jobs)
    last = chain.client.xrevrange(keys.events, count=1)[0][0].decode()
    seen = []
    for kind, id, _ in stream:
        seen += [id] if kind != "status" else []
        if id == last:
            break
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, key=lambda id: tuple(map(int, id.split("-"))))
    between = chain.client.xrange(keys.events, seen[0], last)
    assert seen == [id.decode() for id, _ in between], "none is missing"


@pytest.mark.parametrize("given", [{"params": {"last_s": -1}}, {"params": {"last_s": "x"}}, {"params": {"after": "x"}}])
def test_a_wrong_start_is_one_sentence(door, given):
    answer = httpx.get(f"{door}/v1/system/events", **given)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


class Keyed:
    """A door with the keys of two callers."""

    def __init__(self, settings):
        self.tokens = {name: keys_of_callers.make() for name in ("ann", "bob")}
        hashes = ",".join(f"{name}={keys_of_callers.hash_of(token)}" for name, token in self.tokens.items())
        self.settings = settings.model_copy(update={"api_keys": hashes})
        self.ring = KeyRing.of(self.settings)

    def headers(self, name):
        return {"authorization": f"Bearer {self.tokens[name]}"}

    def submit(self, chain, name, text):
        caller = self.ring and self.ring.caller_of(self.tokens[name])
        assert caller
        options = JobOptions(stop="interpreter")
        return chain.pipeline.submit_with(None, options, text=text, id=f"{name}-{text}", owner=caller.owner)


def test_a_key_sees_the_batches_of_all_and_the_jobs_of_its_own(chain):
    keyed = Keyed(chain.settings)
    with serving(keyed.settings) as url, httpx.Client(timeout=20) as client:
        jobs = {name: keyed.submit(chain, name, f"text{n}") for n, name in enumerate(("ann", "bob"))}
        chain.outcomes(jobs.values())
        for name, job in jobs.items():
            given = {"headers": keyed.headers(name), "params": {"last_s": 60}}
            with client.stream("GET", f"{url}/v1/system/events", **given) as answer:
                stream = Stream(answer)
                batches = []
                for kind, _, told in stream:
                    if kind == "status":
                        break
                    batches += [told] if kind == "batch" else []
            assert {one for told in batches for one in told["jobs"]} == {job}
            assert sum(told["size"] for told in batches) >= 2, "how many ran is no secret"
            assert told["dead"] is None, "only an operator sees the number of dead letters"
        assert client.get(f"{url}/v1/system/events").status_code == 401


def test_what_no_release_has_written_stops_no_stream(listen, chain):
    stream = listen()
    stream.next("status")
    for junk in ({"x": "y"}, {"event": "{"}, {"event": "[1]"}, {"event": '{"kind": 1}'}):
        chain.client.xadd(keys.events, junk)
    timeline.tell(chain.client, "box", {"kind": "batch", "jobs": None, "queued_s": ["x", None], "size": 2}, keys)
    assert stream.next("batch")[2] == {
        "kind": "batch", "jobs": [], "size": 2, "box": "box", "queued_mean_s": None, "queued_max_s": None
    }  # fmt: skip


def test_many_listeners_cost_the_server_what_one_does(listen, chain):
    from tests.support.command_count import commands

    streams = [listen() for _ in range(20)]
    for stream in streams:
        stream.next("status")
    with commands(chain.client) as count:
        threading.Event().wait(2.5)
        assert count() < 400, "the worker's own polling, and one poll of the status each second"
    for stream in streams:
        stream.next("status")
