"""Every key and channel of a system begins with its prefix, whatever the system does."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from golem_chain.broker.app import make_app
from golem_chain.broker.jobs.dead_letters import Letters
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import doctor, status, timeline

PREFIX = "Lab_1.a-b"


@pytest.fixture(scope="module")
def chain(make_chain):
    return make_chain(prefix=PREFIX, keep_s=120)


def test_every_key_and_channel_of_a_system_begins_with_its_prefix(chain):
    client: Redis = chain.client
    client.config_set("notify-keyspace-events", "KA")  # each change of a key is announced, also of those that vanish
    heard: set[str] = set()
    events: list[Any] = []
    app = make_app(chain.settings)
    with app, client.pubsub() as all_channels, app.connection_for_read() as connection:
        all_channels.psubscribe("*")
        receiver = app.events.Receiver(connection, handlers={"*": events.append})
        with receiver.consumer_context() as (listening, _, _):
            labels = ",".join(f'thing{n}="the speaker wants thing number {n}"' for n in range(200))
            jobs = [chain.pipeline.submit(text, labels=labels) for text in (b"thing7", b"silence", b"bad", b"die")]
            jobs.append(chain.pipeline.submit(b"yes", vocabulary=",".join(f"phrase number {n}" for n in range(200))))
            found = chain.outcomes(jobs)
            late = chain.pipeline.submit(b"sleep 30", labels="a,b")
            assert chain.pipeline.cancel(late).state == "cancelled"
            [letter] = Letters(client, Keys(PREFIX)).all()
            assert Letters(client, Keys(PREFIX)).retry(letter) == jobs[3]
            chain.outcomes([jobs[3]])
            [answer] = app.control.ping(timeout=60, limit=1)
            end = time.monotonic() + 60
            while not events and time.monotonic() < end:
                with suppress(TimeoutError):
                    listening.drain_events(timeout=0.2)
        while message := all_channels.get_message(timeout=1):
            if message["type"] == "pmessage":
                heard.add(message["channel"].decode())
    told = status.read(chain.settings)
    assert [found[job].state for job in jobs] == ["done", "done", "failed", "failed", "done"]
    assert list(told["boxes"]) == list(answer)
    assert told["dead"] == 1
    assert events
    assert timeline.read(client, 0, Keys(PREFIX))
    assert {one.state for one in doctor.of_redis(chain.settings) if one.check in ("workers", "live-jobs")} == {"ok"}
    changed = {name.partition("__:")[2] for name in heard if name.startswith("__keyspace@")}
    channels = {name for name in heard if not name.startswith("__key")}
    assert len(changed) > 20, json.dumps(sorted(changed))
    assert channels >= {f"{PREFIX}:ended", f"{PREFIX}:fanout:0.celery.pidbox"}
    names = {*changed, *channels, *(key.decode() for key in client.scan_iter())}
    strange = {name for name in names if not name.startswith(f"{PREFIX}:")}
    assert not strange
