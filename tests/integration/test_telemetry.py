"""Telemetry of a box whose child is computing: `golem status`, remote control, Celery's event stream."""

import contextlib
import io
import re
import threading
import time
from typing import Any

import pytest
from rich.console import Console

from golem_chain.broker.app import make_app
from golem_chain.broker.cli import tables
from golem_chain.broker.keys import Keys
from golem_chain.broker.monitoring import status, timeline

keys = Keys()


@pytest.fixture
def app(chain):
    """An app that only monitors, as Flower does."""
    app = make_app(chain.settings)
    yield app
    app.close()


@pytest.fixture
def busy(chain, tmp_path, eventually):
    """A running job that keeps the Scribe busy for as long as the test needs."""
    job = chain.pipeline.submit(f"until {tmp_path / 'enough'}".encode(), labels="a,b")
    eventually(
        lambda: [box for box in boxes(chain).values() if box.get("resident") == ["scribe"]],
        told=lambda: (boxes(chain), chain.log.read_text()),
    )
    yield job
    (tmp_path / "enough").touch()
    chain.outcomes([job])


def boxes(chain):
    return status.read(chain.settings)["boxes"]


def test_a_busy_box_answers_by_remote_control_with_what_it_holds(chain, app, busy):
    answers = app.control.inspect(timeout=60, limit=1)._request("golem_state")  # the only box replies
    assert chain.pipeline.outcome(busy) is None, "it was busy still"
    ((node, told),) = answers.items()
    assert node.startswith("test@")
    assert told["resident"] == ["scribe"]
    assert told["loads_of"]["scribe"] >= 1
    assert 0 < told["allocated"] <= told["peak"]
    assert told["budget"] > 0
    assert (told["last_event"]["kind"], told["last_event"]["stage"]) == ("load", "scribe")
    assert 0 <= told["last_event_age_s"] < 300
    assert not {"token", "host", "pid"} & told.keys(), "the claim on the name is nobody's concern"


def test_golem_status_shows_the_model_of_a_busy_box(chain, busy):
    shown = io.StringIO()
    out = Console(file=shown, width=160, markup=False, emoji=False, highlight=False)
    out.print(*tables.of_system(status.read(chain.settings)))
    assert chain.pipeline.outcome(busy) is None, "it was busy still"
    (line,) = [line for line in shown.getvalue().splitlines() if "load scribe" in line]
    assert "scribe (tiny, float32)" in line
    assert " MB of " in line
    assert re.search(r"load scribe, \d+ s ago", line)


def test_each_load_and_unload_reaches_the_event_stream(chain, app):
    seen: list[Any] = []
    ready = threading.Event()

    def listen():
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (listening, _, _):
                ready.set()
                end = time.monotonic() + 60
                while time.monotonic() < end and not {"golem-load", "golem-unload"} <= {e["type"] for e in seen}:
                    with contextlib.suppress(TimeoutError):
                        listening.drain_events(timeout=0.2)

    since = time.time()
    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(60)
    chain.outcomes([chain.pipeline.submit(b"hello", labels="a,b")])
    thread.join(65)
    told = [event for event in seen if event["type"].startswith("golem-")]
    kinds = [event["type"] for event in told]
    assert "golem-load" in kinds
    assert "golem-unload" in kinds
    for event in told:
        assert event["hostname"].startswith("test@")
        assert event["type"] == f"golem-{event['kind']}"
        assert {"stage", "reason", "seconds", "weights_bytes", "allocated", "reserved", "free", "peak"} <= event.keys()
        assert {"kind", "stage", "at", "reason"} <= event.keys()
    kept = [event for event in timeline.read(chain.client, since, keys) if event["kind"] in ("load", "unload")]
    assert [(e["kind"], e["at"]) for e in kept[: len(told)]] == [(e["kind"], e["at"]) for e in told]
