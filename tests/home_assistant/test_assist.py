"""Real Home Assistant uses golem serve: it adds the server, speaks to it through Assist, and hears the reply.

HOME_ASSISTANT_PYTHON names the Python in which Home Assistant is installed; CONTRIBUTING.md says how. Real models run.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from golem_chain.broker.local.process import die_with_parent
from golem_chain.broker.pipeline import Pipeline
from golem_chain.shared.settings import Settings

PYTHON = os.environ.get("HOME_ASSISTANT_PYTHON")
pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not PYTHON, reason="HOME_ASSISTANT_PYTHON is not set: it names the Python of Home Assistant"),
    pytest.mark.timeout(900),
]
HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "samples"
CONFIG = """
homeassistant: {name: Test, latitude: 0, longitude: 0, elevation: 0, unit_system: metric, time_zone: UTC}
http: {server_host: 127.0.0.1, server_port: %d}
api:
config:
websocket_api:
assist_pipeline:
"""
#: How much longer than golem submit a command may take, seconds.
MORE_S = 0.15


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """A program that runs until the end of the tests."""

    def __init__(self, words, log, env=None):
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                env=os.environ | (env or {}),
                cwd=log.parent,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def until(self, condition, within_s=120):
        end = time.monotonic() + within_s
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True  # 401 without a token
    except OSError:
        return False
    return True


class Assist:
    """A pipeline of a running Home Assistant, and the system behind it."""

    def __init__(self, folder, server, log):
        self.folder, self.log = folder, log
        self.golem = [sys.executable, "-m", "golem_chain.broker.cli"]
        self.env = {"GOLEM_REDIS_URL": server.url, "GOLEM_MODELS": "bundled"}
        self.pipeline = Pipeline(Settings.read(_env_file=None, redis_url=server.url))
        self.said = {name: self._wav(name) for name in ("lights-on", "timer", "silence")}
        self.said["too long"] = self._wav("lights-on", 5)

    def _wav(self, name, times=1):
        path = self.folder / f"{name}-{times}.wav"
        sound, rate = soundfile.read(SAMPLES / f"{name}.flac", dtype="int16")
        soundfile.write(path, np.tile(sound, times), rate, subtype="PCM_16")
        return path

    def connect(self, url, port):
        self.process = subprocess.Popen(
            [PYTHON, HERE / "assist.py", url, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        self.found = self._read()

    def _read(self):
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def speak(self, *names, vad=False):
        """Speak these samples at once and return what each run gave."""
        asked = {"paths": [str(self.said[name]) for name in names], "vad": vad}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return self._read()

    def submit(self, name):
        """Run golem submit --wait and return how long that took."""
        began = time.perf_counter()
        words = [*self.golem, "submit", self.said[name], "--wait", "--json", "--lane", "interactive"]
        subprocess.run(words, env=os.environ | self.env, check=True, capture_output=True)
        return time.perf_counter() - began

    def ask(self, name):
        """Run the same through the Python API and return how long that took."""
        began = time.perf_counter()
        job = self.pipeline.submit(self.said[name], lane="interactive")
        assert [outcome.state for outcome in self.pipeline.wait([job])] == ["done"]
        return time.perf_counter() - began

    def worked_s(self, jobs):
        """Return what loading and computing cost the newest jobs."""
        outcomes = [self.pipeline.outcome(one.job) for one in self.pipeline.mine(0, jobs)]
        return sum(run.load_s + run.compute_s for one in outcomes if one for run in one.stages.values())


@pytest.fixture(scope="module")
def assist(start_server, tmp_path_factory):
    """A queue, a worker with real models, golem serve, and Home Assistant with an Assist pipeline that uses it."""
    folder = tmp_path_factory.mktemp("assist")
    config, http, ours, wyoming = folder / "config", free_port(), free_port(), free_port()
    config.mkdir()
    (config / "configuration.yaml").write_text(CONFIG % http)
    server, programs = start_server(folder), []
    made = Assist(folder, server, folder / "home-assistant.log")
    try:
        user = [PYTHON, "-m", "homeassistant", "--script", "auth", "-c", config, "add", "golem", "golem-golem"]
        subprocess.run(user, check=True, capture_output=True)
        serve = [*made.golem, "serve", "--port", ours, "--wyoming-port", wyoming]
        hass = [PYTHON, "-m", "homeassistant", "-c", config, "--skip-pip"]
        for name, words in (("worker", [*made.golem, "worker"]), ("serve", serve), ("home-assistant", hass)):
            limit = {"GOLEM_AUDIO_MAX_S": "10"} if name == "serve" else {}
            programs.append(Program(words, folder / f"{name}.log", made.env | limit))
        programs[1].until(lambda: answers(f"http://127.0.0.1:{ours}/ready"))
        programs[2].until(lambda: answers(f"http://127.0.0.1:{http}/api/"))
        made.connect(f"http://127.0.0.1:{http}", wyoming)
        yield made
        made.process.communicate(timeout=30)
    finally:
        made.pipeline.close()
        for one in reversed(programs):
            one.stop()
        server.stop()


def test_the_server_is_added_as_speech_to_text_and_as_a_conversation_agent(assist):
    assert assist.found["entry"] == {"type": "create_entry", "title": "golem-chain"}
    assert assist.found["entities"] == {"stt": "stt.golem_chain", "conversation": "conversation.golem_chain"}


def test_a_command_is_heard_and_answered_twice_in_a_row(assist):
    for vad in (True, False):
        (told,) = assist.speak("lights-on", vad=vad)
        assert told["text"] == "Please turn on the lights in the kitchen."
        assert told["type"] == "action_done"
        assert "light" in told["reply"]


def test_two_at_once_are_each_answered(assist):
    lights, timer = assist.speak("lights-on", "timer")
    assert "light" in lights["reply"]
    assert "timer" in timer["reply"]


def test_silence_is_no_command(assist):
    assert assist.speak("silence") == [{"error": "stt-no-text-recognized"}]


def test_a_recording_that_is_refused_is_an_error_and_the_next_one_is_heard(assist):
    assert assist.speak("too long") == [{"error": "stt-stream-failed"}]
    assert assist.speak("timer")[0]["text"] == "Set a timer for five minutes."


def test_a_reply_comes_about_as_soon_as_that_of_golem_submit(assist):
    def spoken(name):
        return assist.speak(name)[0]["answer_s"]

    ways = {"Assist": (spoken, 2), "golem submit --wait": (assist.submit, 1), "Pipeline": (assist.ask, 1)}
    whole: dict[str, list[float]] = {way: [] for way in ways}
    beside: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(8):
        for way, (run, jobs) in ways.items():
            whole[way].append(run("lights-on"))
            beside[way].append(whole[way][-1] - assist.worked_s(jobs))
    for way in ways:
        median_s, beside_s = statistics.median(whole[way]), statistics.median(beside[way])
        print(f"{way}: {median_s:.3f} s, of which {beside_s:.3f} s beside loading and computing (medians)")
    assert statistics.median(beside["Assist"]) < statistics.median(beside["golem submit --wait"]) + MORE_S
