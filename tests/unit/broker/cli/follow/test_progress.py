"""Progress of long recordings: stored in Redis once a second, shown while waiting."""

import io
import os
from typing import Any

import pytest
from rich.console import Console

from golem_chain.broker.cli.follow import progress
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
    monkeypatch.setattr(progress, "console", lambda stderr=True: out)
    with progress.Progress(1) as bars:
        bars.show({}, (750, 3300))
    assert "heard 12:30 of 55:00" in shown.getvalue()


@pytest.mark.parametrize("terminals", [(True, True), (True, False), (False, True), (False, False)])
def test_results_go_to_stdout_and_sentences_to_stderr_whichever_is_a_terminal(monkeypatch, capsys, terminals):
    files = io.StringIO(), io.StringIO()
    out, err = (
        Console(file=file, force_terminal=terminal, width=60) for file, terminal in zip(files, terminals, strict=True)
    )
    monkeypatch.setattr(progress, "console", lambda stderr=True: err if stderr else out)
    with progress.Progress(3) as screen:
        assert screen.live == any(terminals)
        screen.show({"scribe": 2})
        screen.print("a row")
        screen.line({"job": "j", "text": "[red]x[/red] " * 20})
        screen.tell("a sentence")
    printed = capsys.readouterr()
    shown_out, shown_err = files[0].getvalue() + printed.out, files[1].getvalue() + printed.err
    assert "a row" in files[0].getvalue()
    assert '{"job":"j","text":"' + "[red]x[/red] " * 20 + '"}\n' in shown_out, "one line, at any width"
    assert "golem: a sentence" in (shown_out if terminals == (True, True) else shown_err)
    assert ("heard" in shown_out) == terminals[0]
    assert ("heard" in shown_err) == (terminals == (False, True))


@pytest.mark.parametrize("piped", [True, False])
def test_a_pipe_has_no_bars_beside_it_and_a_file_has(monkeypatch, tmp_path, piped):
    """The reader of the pipe may print on the terminal of the bars."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe, (tmp_path / "file").open("w") as file:
        out, err = Console(file=pipe if piped else file), Console(file=io.StringIO(), force_terminal=True)
        monkeypatch.setattr(progress, "console", lambda stderr=True: err if stderr else out)
        with progress.Progress(1) as screen:
            assert screen.live == (not piped)
