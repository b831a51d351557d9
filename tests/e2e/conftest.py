"""One run of the real chain over all recordings, shared by the tests that look at its outcomes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
TOOLS = DATA.parent / "tools"


def golem(*args, timeout=600, **env):
    """`golem ARGS` as a person types it; CompletedProcess with text."""
    return subprocess.run(
        [sys.executable, "-m", "broker.cli", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"GOLEM_MODELS": "bundled"} | env,
    )


def run_json(files, *args, timeout=600, **env):
    """Outcomes by file name, and the process, of `golem run --json`."""
    done = golem("run", "--json", *args, *files, timeout=timeout, **env)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(o["name"]).name: o for o in outcomes}, done


@pytest.fixture(scope="session")
def data():
    """The folder of recordings; skips where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no recordings: {DATA} is missing")
    return DATA


def manifest(folder):
    """The rows of a folder's manifest."""
    return [json.loads(line) for line in (DATA / folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def odd(data, tmp_path_factory):
    """The odd files, written afresh: (folder, rows); skips without ffmpeg."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed: it writes the odd containers")
    folder = tmp_path_factory.mktemp("odd")
    shutil.copytree(data / "odd" / "real", folder / "real")
    shutil.copy(data / "odd" / "base.wav", folder / "base.wav")
    subprocess.run([sys.executable, data / "odd" / "make_odd.py", folder / "out"], check=True, capture_output=True)
    return folder, manifest("odd")


@pytest.fixture(scope="session")
def heard(data):
    """All sentences, commands, non-speech and silent keyword clips in one run: outcomes by path, and the process."""
    files = [data / d / row["path"] for d in ("sentences", "commands", "nonspeech") for row in manifest(d)]
    files += [data / "keywords" / row["path"] for row in manifest("keywords") if row["label"] == "_silence_"]
    done = golem("run", "--json", "--max-new-tokens", "16", *files, timeout=900)  # short replies: time
    return {o["name"]: o for o in map(json.loads, done.stdout.splitlines())}, done
