"""Checks of this machine: its models and device, which the workers' half looks at, and Flower's port."""

import errno
import http.client
import json
import socket
import subprocess
from importlib.util import find_spec

from golem_chain.broker.local.system import WORKERS, need_worker
from golem_chain.shared.errors import MissingExtra
from golem_chain.shared.finding import Finding
from golem_chain.shared.settings import Settings
from golem_chain.shared.text import visible

#: How long the workers' half may take, seconds: importing torch from a cold disk is most of it.
WORKERS_S = 120.0
#: How long Flower may take to answer, seconds.
FLOWER_S = 2.0


def check(settings: Settings) -> list[Finding]:
    """Return the findings."""
    return [*models(), flower(settings)]


def models() -> list[Finding]:
    """Ask the workers' half, in a process of its own: it imports torch."""
    try:
        need_worker()
    except MissingExtra:
        told = "The model libraries are not installed: this machine can submit jobs, but run no worker"
        return [Finding("models", "skipped", told)]
    try:
        done = subprocess.run(
            [*WORKERS, "doctor"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WORKERS_S,
            check=True,
        )
        return [Finding(**one) for one in json.loads(done.stdout)["checks"]]
    except subprocess.TimeoutExpired:
        why = f"did not end in {WORKERS_S:g} s"
    except subprocess.CalledProcessError as exc:
        lines = str(exc.stderr).strip().splitlines()
        why = f"ended with exit code {exc.returncode} ({visible(lines[-1], 300) if lines else 'no message'})"
    except (ValueError, KeyError, TypeError):
        why = "gave no readable answer"
    return [Finding("models", "wrong", f"The check of models and device {why}", "see GOLEM_DEBUG=1 golem models list")]


def flower(settings: Settings) -> Finding:
    """Flower's port is free, or Flower has it."""
    if find_spec("flower") is None:
        return Finding("flower", "skipped", "Flower is not installed")
    address, port = settings.flower_address, settings.flower_port
    try:
        socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            why = exc.strerror or "unknown address"
            return Finding(
                "flower", "warning", f"Flower cannot listen on {address} ({why})", "set GOLEM_FLOWER_ADDRESS"
            )
        if _is_flower(address, port):
            return Finding("flower", "ok", f"Flower is running on port {port}")
        return Finding("flower", "warning", f"Another program uses Flower's port {port}", "set GOLEM_FLOWER_PORT")
    return Finding("flower", "ok", f"Flower's port {port} is free")


def _is_flower(address: str, port: int) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - where Flower listens
    connection = http.client.HTTPConnection(host, port, timeout=FLOWER_S)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().read(10).strip() == b"OK"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
