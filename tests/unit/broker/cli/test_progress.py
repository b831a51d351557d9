"""Progress of long recordings: stored in Redis once a second, shown while waiting."""

import io
from typing import Any

import pytest
from rich.console import Console

from golem_chain.broker.cli import progress
from golem_chain.broker.jobs.records import Jobs
from golem_chain.broker.jobs.vault import Vault
from golem_chain.broker.keys import Keys
from golem_chain.shared.records import AudioRef, Handover, Job
from golem_chain.workers.child import requests

keys = Keys()


def test_seconds_heard_are_summed_over_the_recordings_that_are_being_heard(client):
    jobs = Jobs(client, keys)
    for job in ("a", "b", "done"):
        client.hset(f"golem:job:{job}", "job", "{}")
    jobs.tell_heard("a", 60.0, 600.0)
    jobs.tell_heard("b", 30.0, 100.0)
    jobs.tell_heard("done", 100.0, 100.0)
    client.hset("golem:job:done", "run:scribe", "{}")
    assert jobs.heard(["a", "b", "done", "queued"]) == (90.0, 700.0)


def test_a_recording_tells_how_far_it_is_at_most_once_a_second(settings, client, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("golem_chain.workers.child.requests.time.monotonic", lambda: now[0])
    (tmp_path / "a.wav").write_bytes(b"sound")
    allowed = settings.model_copy(update={"audio_root": (tmp_path,)})
    jobs = Jobs(client, keys)
    job = Job(id="a", name="a", audio=AudioRef(key=f"file:{tmp_path / 'a.wav'}", size_bytes=5), word_times=True)
    jobs.register(job)
    ask: Any = requests.RequestBuilder(allowed, Vault(allowed, client), jobs).of("scribe", Handover(job=job))
    assert ask.word_times
    ask.progress(5, 60)
    assert jobs.heard(["a"]) == (0, 0), "a recording that is done at once tells nothing"
    now[0] += 1.5
    ask.progress(20, 60)
    ask.progress(40, 60)
    assert jobs.heard(["a"]) == (20, 60)


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (63.9, "1:03"), (3903, "1:05:03")])
def test_times_are_shown_as_on_a_clock(seconds, shown):
    assert progress.clock(seconds) == shown


def test_the_bar_says_how_far_a_long_recording_is(monkeypatch):
    shown = io.StringIO()
    out = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "console", lambda: out)
    with progress.Progress(1) as bars:
        bars.show({}, (750, 3300))
    assert "heard 12:30 of 55:00" in shown.getvalue()
