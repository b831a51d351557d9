"""golem listen against real processes: the command, a server, a worker with fake engines."""

import json
import os
import subprocess
import sys
import time

import pytest

from golem_chain.broker.listening.listener import News, Submit
from golem_chain.broker.listening.sender import Sender, System
from golem_chain.broker.listening.sound import wav
from golem_chain.broker.listening.voice import vowels
from golem_chain.shared.records import JobOptions, Outcome
from tests.support.paths import SAMPLES, python_path


@pytest.fixture
def sender(chain):
    """A sender for the running chain, whose engines take the bytes of a job for its words."""
    made = []

    def start():
        system = System(chain.settings, JobOptions(lane="interactive"), JobOptions(lane="interactive", stop="scribe"))
        made.append(Sender(system))
        return made[-1]

    yield start
    for one in made:
        one.close()


def news_of(sender, key, eventually):
    found: list[News] = []

    def ended():
        found.extend(one for one in sender.news() if not isinstance(one, str))
        return any(one.key == key and hasattr(one, "outcome") for one in found)

    eventually(ended)
    return [one for one in found if one.key == key]


def test_words_come_before_the_outcome_of_a_real_chain(chain, sender, eventually, monkeypatch):
    from golem_chain.broker.listening import sender as module

    monkeypatch.setattr(module, "wav", lambda pcm: pcm)
    one = sender()
    one.do(Submit(1, 1, b"turn it on", final=True))
    *_, over = news_of(one, 1, eventually)
    assert (over.outcome.state, over.outcome.transcript.text) == ("done", "turn it on")
    assert over.outcome.reply


def test_a_redis_that_restarts_loses_no_utterance(make_chain, eventually, monkeypatch):
    from golem_chain.broker.listening import sender as module

    monkeypatch.setattr(module, "wav", lambda pcm: pcm)
    chain = make_chain()
    one = Sender(System(chain.settings, JobOptions(lane="interactive"), JobOptions(stop="scribe")))
    try:
        one.do(Submit(1, 1, b"first", final=True))
        news_of(one, 1, eventually)
        chain.server.kill()
        one.do(Submit(2, 2, b"second", final=True))
        first, *_ = eventually(one.news)
        assert "Listening goes on" in str(first)
        chain.server.restart()
        *_, over = news_of(one, 2, eventually)
        assert over.outcome.transcript.text == "second"
    finally:
        one.close()


def listen(*args, stdin=b"", **env):
    return subprocess.run(
        [sys.executable, "-m", "golem_chain.broker.cli", "listen", *map(str, args)],
        input=stdin,
        capture_output=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": python_path(), "GOLEM_MODELS": "bundled"} | env,
    )


def test_a_closed_pipe_ends_the_command_without_a_traceback(chain, tmp_path):
    (tmp_path / "voice.wav").write_bytes(wav((vowels() + bytes(32_000)) * 3))
    with subprocess.Popen(
        [sys.executable, "-m", "golem_chain.broker.cli", "listen", "--from", tmp_path / "voice.wav", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | chain.env | {"PYTHONPATH": python_path()},
    ) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["event"] == "listening"
        process.stdout.close()
        said = process.stderr.read().decode()
        process.wait(60)
    assert process.returncode == 1
    assert "Traceback" not in said


@pytest.mark.models
@pytest.mark.timeout(280)
def test_a_sample_is_heard_by_a_system_of_our_own_while_it_is_said():
    began = time.monotonic()
    done = listen("--from", SAMPLES / "lights-on.flac", "--json")
    assert done.returncode == 0, done.stderr.decode()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in events if one["event"] != "partial"] == ["listening", "words", "final"]
    assert "lights" in events[-2]["text"].lower()
    outcome = Outcome.model_validate(events[-1])
    assert outcome.intent
    assert outcome.intent.label == "lights_on"
    assert outcome.reply
    assert time.monotonic() - began > 3.0, "at the speed of its speech"
