"""Runs a measurement in a process of its own, which reads a request from stdin and writes its findings to stdout."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from golem_chain.shared.errors import GolemError
from golem_chain.shared.json_object import JsonObject


def ask(module: str, request: JsonObject, machine: Mapping[str, str] | None = None) -> JsonObject:
    """Run `module` on a request and return what it found. `machine`: additional environment variables. Raises
    GolemError with the last line of its stderr."""
    command = [sys.executable, "-P", "-m", module]
    env = os.environ | (machine or {})
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no word"]
        raise GolemError(f"The measurement of {request.get('way', module)!r} ended with {last[0]}")
    found: JsonObject = json.loads(done.stdout[done.stdout.index("{") :])
    return found
