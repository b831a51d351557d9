"""What docs/how-to/openai-clients.md says to type works as it stands there."""

import json
import re
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs/how-to/openai-clients.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def blocks(language):
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


COMMANDS = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clip.wav").write_text("yes, the lights_on")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_curl_line_is_answered(door, folder, command):
    assert command.startswith("curl ")
    typed = command.replace(ADDRESS, door).replace("curl ", "curl -sS --fail-with-body --noproxy '*' ", 1)
    done = subprocess.run(["bash", "-c", typed], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    if "srt" in command:
        assert "-->" in done.stdout
    elif "stream" in command:
        assert "transcript.text.done" in done.stdout
    else:
        json.loads(done.stdout)


def test_the_program_prints_words_intent_and_reply(door, folder, monkeypatch):
    monkeypatch.chdir(folder)
    shown = StringIO()
    names: dict[str, Any] = {}
    with redirect_stdout(shown):
        for block in blocks("python"):
            exec(block.replace(ADDRESS, door), names)
    names["client"].close()
    assert shown.getvalue().splitlines() == [
        "yes, the lights_on",
        "transcript.text.delta",
        "transcript.text.done",
        "lights_on lights_on: yes, the lights_on",
    ]
