"""One run of the real chain on all recordings, shared by the tests of its Outcomes."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import DATA
from tests.support.recordings import golem, manifest


@pytest.fixture(scope="session")
def data():
    """The folder of recordings; skips if it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no recordings: {DATA} is missing")
    return DATA


@pytest.fixture(scope="session")
def odd(data, tmp_path_factory):
    """Newly written unusual files: (folder, rows); skips without ffmpeg."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed: it writes the odd containers")
    folder = tmp_path_factory.mktemp("odd")
    shutil.copytree(data / "odd" / "real", folder / "real")
    shutil.copy(data / "odd" / "base.wav", folder / "base.wav")
    subprocess.run([sys.executable, data / "odd" / "make_odd.py", folder / "out"], check=True, capture_output=True)
    return folder, manifest("odd")


@pytest.fixture(scope="session")
def heard(data):
    """All sentences, commands, non-speech and silent keyword clips in one run: Outcomes by path, and the process."""
    files = [data / d / row["path"] for d in ("sentences", "commands", "nonspeech") for row in manifest(d)]
    files += [data / "keywords" / row["path"] for row in manifest("keywords") if row["label"] == "_silence_"]
    done = golem("run", "--json", "--max-new-tokens", "16", *files, timeout=900)  # short replies save time
    return {o["name"]: o for o in map(json.loads, done.stdout.splitlines())}, done
