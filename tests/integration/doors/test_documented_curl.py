"""What the pages about golem serve say to type works as it stands there."""

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from itertools import takewhile
from typing import Any

import pytest

from tests.support.paths import ROOT

ADDRESS = "http://127.0.0.1:8000"
#: The files that the pages name, as the fake engines hear them.
FILES = {
    "lights-on.flac": "turn lights_on",
    "music-stop.flac": "music_stop",
    "clip.wav": "yes",
    "meeting.flac": "sleep 2",
}
#: Quiet, and an error of the server is one of the command.
CURL = (
    "curl() { command curl -sS --fail-with-body --noproxy '*' --max-time 60 \"$@\"; }; KEY=none; set -e -o pipefail\n"
)

needs_curl = pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="curl or bash is missing")


def blocks(page, language):
    """The blocks of code of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs/how-to" / page).read_text(), re.M | re.S)


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def typed(script, door, folder):
    """Run a script in a shell; return what it printed."""
    command = CURL + script.replace(ADDRESS, door)
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_curl
def test_every_line_of_the_page_on_jobs_is_answered_in_its_order(door, folder):
    script = "".join(blocks("http.md", "sh"))
    shown = typed(script, door, folder)
    assert script.count("curl ") > 20
    assert '"state":"done"' in shown
    assert "event: group" in shown
    assert "-->" in shown
    assert (folder / "lights-on.vtt").read_text().startswith("WEBVTT")


@needs_curl
def test_every_curl_line_of_the_page_on_serving_is_answered(door, folder):
    lines = [line for block in blocks("serve.md", "sh") for line in block.replace("\\\n", " ").splitlines()]
    for line in lines:
        if line.startswith("curl "):
            typed(line, door, folder)


@needs_curl
def test_every_curl_line_of_the_page_on_metrics_is_answered(door, chain, folder):
    lines = [line for block in blocks("metrics.md", "sh") for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) == 5
    chain.outcomes([chain.pipeline.submit(b"yes", labels="a,b")])
    for line in lines:
        if "events" not in line:
            assert typed(line, door, folder)
            continue
        command = ["bash", "-c", CURL + line.replace(ADDRESS, door)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as following:
            assert following.stdout
            assert "event: batch\n" in list(takewhile(lambda one: one != "event: status\n", following.stdout))
            os.killpg(following.pid, signal.SIGTERM)


@needs_curl
@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("openai-clients.md", "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("curl ")
    ],
)
def test_every_curl_line_of_the_page_on_openais_clients_is_answered(door, folder, line):
    shown = typed(line, door, folder)
    if "srt" in line:
        assert "-->" in shown
    elif "stream" in line:
        assert "transcript.text.done" in shown
    else:
        json.loads(shown)


def test_the_program_for_openais_client_prints_words_events_intent_and_reply(door, folder, monkeypatch):
    monkeypatch.chdir(folder)
    shown = StringIO()
    names: dict[str, Any] = {}
    with redirect_stdout(shown):
        for block in blocks("openai-clients.md", "python"):
            exec(block.replace(ADDRESS, door), names)
    names["client"].close()
    assert shown.getvalue().splitlines() == [
        "yes",
        "transcript.text.delta",
        "transcript.text.done",
        "music_stop music_stop: yes",
    ]


def test_the_program_prints_states_words_and_intent(door, folder, monkeypatch):
    monkeypatch.chdir(folder)
    shown = StringIO()
    [program] = blocks("http.md", "python")
    with redirect_stdout(shown):
        exec(program.replace(ADDRESS, door), {})
    assert "event: job" in shown.getvalue()
    assert shown.getvalue().splitlines()[-1] == "done turn lights_on lights_on"
