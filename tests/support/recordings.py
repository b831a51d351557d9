"""Runs the command line on the recordings, for the end-to-end tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import DATA

TOOLS = DATA.parent / "tools"


def golem(*args, timeout=600, **env):
    """Run `golem ARGS` and return the CompletedProcess with text."""
    return subprocess.run(
        [sys.executable, "-m", "golem_chain.broker.cli", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"GOLEM_MODELS": "bundled"} | env,
    )


def run_json(files, *args, timeout=600, **env):
    """Run `golem run --json` and return the Outcomes by file name, and the process."""
    done = golem("run", "--json", *args, *files, timeout=timeout, **env)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(o["name"]).name: o for o in outcomes}, done


def manifest(folder):
    """Return the rows of a folder's manifest."""
    return [json.loads(line) for line in (DATA / folder / "manifest.jsonl").read_text().splitlines()]
